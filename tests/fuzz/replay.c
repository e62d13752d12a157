/* replay - runs a fuzz target without libFuzzer: its seeds, and mutations of them that are the same each
 * time.
 *
 *     fuzz_NAME MUTATIONS FOLDER       each seed, and so many mutations of each
 *     fuzz_NAME MUTATIONS FILE NUMBER  that one mutation, in this process, for a debugger; 0 is the seed
 *
 * The work is done in a child, so that after a crash there is somebody left to say which input it was. */
#include "fuzz.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INPUT_MOST = 1 << 16, CHANGES_MOST = 6 };

struct input {
	uint8_t *bytes; /* INPUT_MOST of room */
	size_t size;
};

static void *must_have(void *what, const char *name)
{
	if (what == NULL || what == MAP_FAILED) {
		perror(name);
		exit(2);
	}
	return what;
}

static struct input read_input(const char *path)
{
	struct input input = {.bytes = must_have(malloc(INPUT_MOST), "memory")};
	FILE *file = must_have(fopen(path, "re"), path);
	input.size = fread(input.bytes, 1, INPUT_MOST / 2, file);
	(void)fclose(file);
	return input;
}

/* --- mutations ------------------------------------------------------------------------------------ */

static unsigned next(unsigned long *state, unsigned below)
{
	*state = *state * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(*state >> 33) % below;
}

static void insert(struct input *input, size_t at, const void *bytes, size_t len)
{
	if (input->size + len > INPUT_MOST)
		return;
	memmove(input->bytes + at + len, input->bytes + at, input->size - at);
	memmove(input->bytes + at, bytes, len);
	input->size += len;
}

static void cut(struct input *input, size_t at, size_t len)
{
	if (len > input->size - at)
		len = input->size - at;
	memmove(input->bytes + at, input->bytes + at + len, input->size - at - len);
	input->size -= len;
}

static void repeat(struct input *input, size_t at, size_t len)
{
	uint8_t copy[256];
	if (len > input->size - at)
		len = input->size - at;
	memcpy(copy, input->bytes + at, len);
	insert(input, at, copy, len);
}

/* What texts of ours are made of. */
static const char *const words[] = {
    "\n",
    "\r\n",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "0.5",
    "\"id\":",
    "\"type\":",
    "\"\"",
    "\xff",
    "\xc3",
    "=",
    "====",
};
enum { WORDS = sizeof words / sizeof words[0] };

static void change(struct input *input, unsigned long *state)
{
	size_t at = input->size > 0 ? next(state, (unsigned)input->size) : 0;
	const char *word = words[next(state, WORDS)];
	switch (next(state, 5)) {
	case 0:
		insert(input, at, word, strlen(word));
		break;
	case 1:
		cut(input, at, 1 + next(state, 16));
		break;
	case 2:
		repeat(input, at, 1 + next(state, 255));
		break;
	case 3:
		if (input->size > 0)
			input->bytes[at] = (uint8_t)next(state, 256);
		break;
	case 4:
		if (input->size > 0)
			input->bytes[at] ^= (uint8_t)(1u << next(state, 8));
		break;
	}
}

static void run(const struct input *seed, unsigned long number)
{
	struct input input = {.bytes = must_have(malloc(INPUT_MOST), "memory"), .size = seed->size};
	unsigned long state = number;
	memcpy(input.bytes, seed->bytes, seed->size);
	if (number > 0)
		for (unsigned n = 1 + next(&state, CHANGES_MOST); n > 0; n--)
			change(&input, &state);
	(void)LLVMFuzzerTestOneInput(input.bytes, input.size);
	free(input.bytes);
}

/* --- a folder of seeds ------------------------------------------------------------------------------ */

static bool try_seed(const char *path, unsigned long mutations)
{
	unsigned long *at = must_have(
	    mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
	    "memory");
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		struct input seed = read_input(path);
		for (*at = 0; *at <= mutations; ++*at)
			run(&seed, *at);
		free(seed.bytes);
		exit(0); /* through what a sanitizer does at the end */
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		fprintf(stderr, "failed (status %#x): %s, mutation %lu\n", (unsigned)status, path,
			*at);
	(void)munmap(at, sizeof *at);
	return status == 0;
}

static int try_folder(const char *folder, unsigned long mutations)
{
	DIR *dir = must_have(opendir(folder), folder);
	unsigned seeds = 0, failed = 0;
	for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		char path[4096];
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		seeds++;
		failed += !try_seed(path, mutations);
	}
	(void)closedir(dir);
	printf("%u seeds, %lu mutations of each, %u failed\n", seeds, mutations, failed);
	return seeds > 0 && failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: %s MUTATIONS FOLDER | MUTATIONS FILE NUMBER\n", argv[0]);
		return 64;
	}
	if (argc == 3)
		return try_folder(argv[2], strtoul(argv[1], NULL, 10));
	struct input seed = read_input(argv[2]);
	run(&seed, strtoul(argv[3], NULL, 10));
	free(seed.bytes);
	return 0;
}
