/* Limits only ever make less of what the worker itself may use: what the hard limit forbids is not asked
 * for, so that a worker without privileges can set them, too. The processor's limit is the one whose
 * soft value speaks first (SIGXCPU, which tells an operator why the job died); the hard one kills a second
 * later whoever did not listen. */
#include "executors/child/spawn_profile.h"

#include "base/must.h"
#include "executors/child/become.h"
#include "settings/settings.h"

#include <errno.h>
#include <sys/stat.h>

static enum status check_directory(const char *directory, struct error *why)
{
	struct stat st;
	if (directory == NULL)
		return ST_OK;
	if (stat(directory, &st) != 0)
		return error_add(why, error_system(why, errno, "%s", directory), "directory");
	if (!S_ISDIR(st.st_mode))
		return error_set(why, ST_INVALID, "directory: %s: not a directory", directory);
	return ST_OK;
}

static rlim_t lesser(rlim_t a, rlim_t b)
{
	return a < b ? a : b; /* RLIM_INFINITY is the greatest there is */
}

static void add_limit(struct spawn_profile *profile, int resource, rlim_t soft, rlim_t hard)
{
	struct rlimit ours;
	if (soft == 0)
		return;
	if (getrlimit((__rlimit_resource_t)resource, &ours) != 0)
		ours.rlim_max = RLIM_INFINITY;
	must(profile->n_limits < SPAWN_LIMITS);
	profile->limits[profile->n_limits].resource = resource;
	profile->limits[profile->n_limits++].most =
	    (struct rlimit){lesser(soft, ours.rlim_max), lesser(hard, ours.rlim_max)};
}

enum status spawn_profile_init(struct spawn_profile *profile,
			       const struct handler_settings *settings, struct error *why)
{
	const struct child_limits *limits = &settings->limits;
	rlim_t cpu_s = (limits->cpu_ms + 999) / 1000;
	*profile = (struct spawn_profile){
	    .directory = settings->directory,
	    .may_gain_privileges = settings->privileges == PRIVILEGES_MAY_GROW,
	    .user = settings->user != NULL ? settings->user : settings->group,
	};
	enum status st = check_directory(settings->directory, why);
	if (st == ST_OK)
		st = identity_find(settings->user, settings->group, &profile->as, why);
	if (st != ST_OK)
		return st;
	add_limit(profile, RLIMIT_AS, limits->memory_bytes, limits->memory_bytes);
	add_limit(profile, RLIMIT_CPU, cpu_s, cpu_s + 1);
	add_limit(profile, RLIMIT_NOFILE, limits->files, limits->files);
	add_limit(profile, RLIMIT_FSIZE, limits->file_bytes, limits->file_bytes);
	if (profile->as.changes)
		profile->becomes = become_words_create(profile);
	if (profile->as.changes && profile->becomes == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	return ST_OK;
}

void spawn_profile_fini(struct spawn_profile *profile)
{
	become_words_destroy(profile->becomes);
	identity_fini(&profile->as);
}
