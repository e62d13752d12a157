/* A configuration, as anybody may write one: read whole, and as ctl and enqueue read it. Byte 0x1e begins another
 * file, which the first may include as "b.conf". Whatever they say, they are read to an end, and no report
 * repeats the secret that is in the environment. */
#include "fuzz.h"

#include "base/must.h"
#include "settings/settings.h"
#include "sources/kind.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET "huntertwo" /* as plain as the words that may be repeated */

enum { NEXT_FILE = 0x1e };

struct scene {
	char folder[40], first[50], second[50];
};

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	must(close(fd) == 0);
}

static void set_up(struct scene *scene, const uint8_t *bytes, size_t size)
{
	const uint8_t *next = memchr(bytes, NEXT_FILE, size);
	size_t first = next != NULL ? (size_t)(next - bytes) : size;
	(void)setenv("SECRET", SECRET, 1);
	(void)unsetenv("UNSET");
	(void)snprintf(scene->folder, sizeof scene->folder, "/tmp/outfall-fuzz.XXXXXX");
	must(mkdtemp(scene->folder) != NULL);
	(void)snprintf(scene->first, sizeof scene->first, "%s/a.conf", scene->folder);
	(void)snprintf(scene->second, sizeof scene->second, "%s/b.conf", scene->folder);
	write_file(scene->first, bytes, first);
	if (next != NULL)
		write_file(scene->second, next + 1, size - first - 1);
}

static void tear_down(const struct scene *scene)
{
	(void)unlink(scene->first);
	(void)unlink(scene->second); /* most have none */
	must(rmdir(scene->folder) == 0);
}

static void check(enum status st, struct settings *settings, struct problems *problems)
{
	must((st == ST_OK) == (problems->errors == 0) && (st == ST_OK) == (settings != NULL));
	must(problems->count > 0 || problems->errors == 0);
	for (size_t i = 0; i < problems->count; i++) {
		must(problems->list[i].place.file != NULL);
		must(strstr(problems->list[i].text, SECRET) == NULL);
	}
	settings_destroy(settings);
	problems_free(problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct scene scene;
	struct problems problems;
	struct settings *settings = NULL;
	if (memmem(bytes, size, SECRET, strlen(SECRET)) != NULL)
		return 0; /* the fuzzer has learnt it and typed it as a word, which may be repeated */
	set_up(&scene, bytes, size);
	enum status st = settings_load(source_kinds, scene.first, &settings, &problems);
	check(st, settings, &problems);
	settings = NULL;
	st = settings_load_socket(source_kinds, scene.first, &settings, &problems);
	check(st, settings, &problems);
	settings = NULL;
	st = settings_load_queue(source_kinds, scene.first, "main/emails", &settings, &problems);
	check(st, settings, &problems);
	tear_down(&scene);
	return 0;
}
