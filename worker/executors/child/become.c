/* Numbers go as text, as all words of a command line do. Nothing here is secret: ps shows them, for the
 * moment that it takes.
 *
 * The kernel answers a change of user by forgetting the death signal, which is therefore asked for
 * afterwards; and by keeping the user's other processes from looking into this one. */
#include "executors/child/become.h"

#include "base/memory.h"
#include "executors/child/children.h"
#include "executors/child/spawn_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

enum word {
	WORD_COMMAND,
	WORD_PARENT,
	WORD_REPORT,
	WORD_UID,
	WORD_GID,
	WORD_GROUPS, /* "1,2,3"; "-": those of the worker */
	WORD_LIMITS, /* "RESOURCE=SOFT/HARD,..." */
	WORD_DIRECTORY,
	WORD_PATH,
	WORDS, /* the program's own come here */
};

enum { NUMBER_BYTES = 24, LIMIT_BYTES = 3 * NUMBER_BYTES };

struct become_words {
	char parent[NUMBER_BYTES], report[NUMBER_BYTES], uid[NUMBER_BYTES], gid[NUMBER_BYTES];
	char limits[SPAWN_LIMITS * LIMIT_BYTES];
	const char *directory; /* the profile's */
	char *groups;
};

static void put_number(char text[NUMBER_BYTES], uint64_t number)
{
	(void)snprintf(text, NUMBER_BYTES, "%" PRIu64, number);
}

static char *groups_text(const struct identity *as)
{
	if (as->groups == NULL)
		return memory_text("-");
	char *text = memory_take(as->n_groups * NUMBER_BYTES + 1);
	size_t len = 0;
	for (size_t i = 0; text != NULL && i < as->n_groups; i++)
		len += (size_t)sprintf(text + len, "%u,", (unsigned)as->groups[i]);
	if (text != NULL)
		text[len] = '\0';
	return text;
}

static void put_limits(struct become_words *words, const struct spawn_profile *profile)
{
	char *at = words->limits;
	for (unsigned i = 0; i < profile->n_limits; i++)
		at += sprintf(at, "%d=%" PRIu64 "/%" PRIu64 ",", profile->limits[i].resource,
			      (uint64_t)profile->limits[i].most.rlim_cur,
			      (uint64_t)profile->limits[i].most.rlim_max);
}

struct become_words *become_words_create(const struct spawn_profile *profile)
{
	struct become_words *words = memory_clear(1, sizeof *words);
	if (words == NULL)
		return NULL;
	put_number(words->parent, (uint64_t)getpid());
	put_number(words->uid, profile->as.uid);
	put_number(words->gid, profile->as.gid);
	put_limits(words, profile);
	words->directory = profile->directory != NULL ? profile->directory : "";
	words->groups = groups_text(&profile->as);
	if (words->groups != NULL)
		return words;
	become_words_destroy(words);
	return NULL;
}

void become_words_destroy(struct become_words *words)
{
	if (words == NULL)
		return;
	memory_free(words->groups);
	memory_free(words);
}

char **become_argv(struct become_words *words, const struct spawn *spawn, int report)
{
	size_t n = 0;
	while (spawn->argv[n] != NULL)
		n++;
	char **argv = memory_take((1 + WORDS + n + 1) * sizeof *argv);
	if (argv == NULL)
		return NULL;
	put_number(words->report, (uint64_t)report);
	argv[0] = (char *)BECOME_PROGRAM;
	char **word = argv + 1;
	word[WORD_COMMAND] = (char *)BECOME_COMMAND;
	word[WORD_PARENT] = words->parent;
	word[WORD_REPORT] = words->report;
	word[WORD_UID] = words->uid;
	word[WORD_GID] = words->gid;
	word[WORD_GROUPS] = words->groups;
	word[WORD_LIMITS] = words->limits;
	word[WORD_DIRECTORY] = (char *)words->directory;
	word[WORD_PATH] = (char *)spawn->path;
	memcpy(word + WORDS, spawn->argv, (n + 1) * sizeof *argv);
	return argv;
}

/* --- in the process ---------------------------------------------------------------------------------- */

static _Noreturn void become_fail(int report, enum become_step step)
{
	struct become_failure failure = {(int)step, errno};
	(void)!write(report, &failure, sizeof failure); /* the worker is gone: so be it */
	_exit(EX_OSERR);
}

static bool take_groups(const char *text)
{
	size_t n = 0;
	if (text[0] == '-')
		return true;
	gid_t *groups = memory_take((strlen(text) / 2 + 1) * sizeof *groups);
	if (groups == NULL)
		return false;
	for (char *end; *text != '\0'; text = end + 1)
		groups[n++] = (gid_t)strtoul(text, &end, 10);
	bool taken = setgroups(n, groups) == 0;
	memory_free(groups);
	return taken;
}

static bool take_user(char **word)
{
	uid_t uid = (uid_t)strtoul(word[WORD_UID], NULL, 10);
	gid_t gid = (gid_t)strtoul(word[WORD_GID], NULL, 10);
	return take_groups(word[WORD_GROUPS]) && setresgid(gid, gid, gid) == 0 &&
	       setresuid(uid, uid, uid) == 0;
}

static bool take_limits(const char *text)
{
	for (; *text != '\0'; text = strchr(text, ',') + 1) {
		int resource;
		uint64_t soft, hard;
		if (sscanf(text, "%d=%" SCNu64 "/%" SCNu64 ",", &resource, &soft, &hard) != 3)
			return false;
		struct rlimit most = {soft, hard};
		if (setrlimit((__rlimit_resource_t)resource, &most) != 0)
			return false;
	}
	return true;
}

int become_run(int argc, char **argv)
{
	char **word = argv;
	if (argc <= WORDS)
		return EX_USAGE;
	int report = atoi(word[WORD_REPORT]);
	(void)fcntl(report, F_SETFD, FD_CLOEXEC);
	if (!take_user(word))
		become_fail(report, BECOME_USER);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != atoi(word[WORD_PARENT])) /* it died before that, and no signal will come */
		_exit(EX_OSERR);
	if (word[WORD_DIRECTORY][0] != '\0' && chdir(word[WORD_DIRECTORY]) != 0)
		become_fail(report, BECOME_DIRECTORY);
	if (!take_limits(word[WORD_LIMITS]))
		become_fail(report, BECOME_LIMITS);
	(void)execv(word[WORD_PATH], argv + WORDS);
	become_fail(report, BECOME_EXEC);
}
