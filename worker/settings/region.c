/* Each piece is an allocation of its own on a chain. Packing pieces into large blocks would save
 * some microseconds once per start and would hide every overrun from the address sanitizer. */
#include "settings/region.h"

#include "base/memory.h"
#include "base/must.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct region_block {
	struct region_block *next;
	size_t bytes_taken;
	alignas(max_align_t) char bytes[];
};

void *region_take(struct region *region, size_t bytes)
{
	struct region_block *block = memory_clear(1, sizeof *block + bytes);
	must(block != NULL);
	block->next = region->blocks;
	block->bytes_taken = bytes;
	region->blocks = block;
	return block->bytes;
}

char *region_text(struct region *region, const char *text, size_t len)
{
	char *copy = region_take(region, len + 1);
	memcpy(copy, text, len);
	return copy;
}

char *region_print(struct region *region, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	must(len >= 0);
	char *text = region_take(region, (size_t)len + 1);
	(void)vsnprintf(text, (size_t)len + 1, fmt, again); /* measured just above */
	va_end(again);
	return text;
}

void region_free(struct region *region)
{
	while (region->blocks != NULL) {
		struct region_block *block = region->blocks;
		region->blocks = block->next;
		explicit_bzero(block->bytes, block->bytes_taken); /* some of it is secret */
		memory_free(block);
	}
}
