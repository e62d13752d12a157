#include "commands/columns.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdarg.h>
#include <string.h>

enum { CELL_MOST = 200 };

static void put(struct columns *columns, const char *text)
{
	if (columns->count == columns->room) {
		size_t room = columns->room == 0 ? 64 : columns->room * 2;
		char **grown = memory_grow(columns->cells, room * sizeof *grown);
		if (grown == NULL)
			return;
		columns->cells = grown;
		columns->room = room;
	}
	struct text cell = {0};
	text_put_tame(&cell, span_text(text));
	text_put_literal(&cell, "\0");
	if (cell.failed)
		text_fini(&cell);
	columns->cells[columns->count++] = cell.bytes; /* allocated as all memory is */
}

void columns_init(struct columns *columns, unsigned right, const char *const *names)
{
	*columns = (struct columns){.right = right};
	for (; names[columns->n] != NULL; columns->n++)
		put(columns, names[columns->n]);
}

void columns_fini(struct columns *columns)
{
	for (size_t i = 0; i < columns->count; i++)
		memory_free(columns->cells[i]);
	memory_free(columns->cells);
	*columns = (struct columns){0};
}

void columns_put(struct columns *columns, const char *fmt, ...)
{
	char text[CELL_MOST];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap); /* cut is fine: it is for people */
	va_end(ap);
	put(columns, text);
}

static const char *cell(const struct columns *columns, size_t i)
{
	return columns->cells[i] != NULL ? columns->cells[i] : "";
}

/* Letters, not bytes. */
static int width_of(const char *text)
{
	int width = 0;
	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static int widest(const struct columns *columns, size_t column)
{
	int width = 0;
	for (size_t i = column; i < columns->count; i += columns->n) {
		int w = width_of(cell(columns, i));
		width = w > width ? w : width;
	}
	return width;
}

static void print_cell(const struct columns *columns, size_t i, int width, FILE *out)
{
	const char *text = cell(columns, i);
	int blank = width - width_of(text);
	bool last = i % columns->n == columns->n - 1;
	if (columns->right & (1u << (i % columns->n)))
		(void)fprintf(out, "%*s%s", blank, "", text);
	else
		(void)fprintf(out, "%s%*s", text, last ? 0 : blank, "");
	(void)fputs(last ? "\n" : "  ", out);
}

void columns_print(const struct columns *columns, FILE *out)
{
	int widths[COLUMNS_MOST];
	if (columns->count <= columns->n)
		return;
	for (size_t c = 0; c < columns->n && c < COLUMNS_MOST; c++)
		widths[c] = widest(columns, c);
	for (size_t i = 0; i < columns->count; i++)
		print_cell(columns, i, widths[i % columns->n], out);
}
