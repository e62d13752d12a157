/* A user brings along the groups that the system has for it, as a log-in would; a group alone changes the
 * group and nothing else. A number without an entry is allowed, because in a container there often is
 * none; then its group must be said. */
#include "settings/identity.h"

#include "base/memory.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GROUPS_MOST = 65536 }; /* NGROUPS_MAX of Linux */

static bool parse_number(const char *text, unsigned *ret_number)
{
	if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text))
		return false;
	errno = 0;
	unsigned long number = strtoul(text, NULL, 10);
	if (errno != 0 || number >= (uid_t)-1) /* -1 means "unchanged" to the kernel */
		return false;
	*ret_number = (unsigned)number;
	return true;
}

/* An entry with its texts. */
union entry {
	struct passwd user;
	struct group group;
};

struct looked_up {
	union entry entry;
	char *texts;
	size_t room;
	bool found;
};

/* Of getpwnam_r() and its kin: room for its texts is not known before. False: no memory. */
static bool make_room(struct looked_up *at)
{
	size_t room = at->room == 0 ? 1024 : 4 * at->room;
	char *texts = memory_grow(at->texts, room);
	if (texts == NULL)
		return false;
	at->texts = texts;
	at->room = room;
	return true;
}

enum { TEXTS_MOST = 16 << 20 }; /* of a group with a great many members */

static enum status look_up_group(const char *name, struct looked_up *at, struct error *why)
{
	struct group *found = NULL;
	int err = ERANGE;
	while (err == ERANGE && at->room < TEXTS_MOST) {
		if (!make_room(at))
			return error_set(why, ST_NOMEM, "out of memory");
		err = getgrnam_r(name, &at->entry.group, at->texts, at->room, &found);
	}
	at->found = found != NULL;
	return ST_OK;
}

static enum status find_group(const char *name, gid_t *ret_gid, struct error *why)
{
	unsigned number;
	struct looked_up at = {0};
	enum status st = look_up_group(name, &at, why);
	if (st == ST_OK && at.found)
		*ret_gid = at.entry.group.gr_gid;
	else if (st == ST_OK && parse_number(name, &number))
		*ret_gid = number;
	else if (st == ST_OK)
		st = error_set(why, ST_INVALID, "there is no group \"%s\"", name);
	memory_free(at.texts);
	return st;
}

static enum status copy_entry(const struct passwd *entry, struct identity *identity,
			      struct error *why)
{
	identity->uid = entry->pw_uid;
	identity->gid = entry->pw_gid;
	identity->name = memory_text(entry->pw_name);
	identity->home = memory_text(entry->pw_dir);
	if (identity->name == NULL || identity->home == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	return ST_OK;
}

/* By its name; NULL: by its number. */
static enum status look_up_user(const char *name, uid_t uid, struct looked_up *at,
				struct error *why)
{
	struct passwd *found = NULL, *entry = &at->entry.user;
	int err = ERANGE;
	at->room = 0;
	while (err == ERANGE && at->room < TEXTS_MOST) {
		if (!make_room(at))
			return error_set(why, ST_NOMEM, "out of memory");
		err = name != NULL ? getpwnam_r(name, entry, at->texts, at->room, &found)
				   : getpwuid_r(uid, entry, at->texts, at->room, &found);
	}
	at->found = found != NULL;
	return ST_OK;
}

static enum status use_user(const char *user, const char *group, struct looked_up *at,
			    struct identity *identity, struct error *why)
{
	unsigned number = 0;
	enum status st = look_up_user(user, 0, at, why);
	bool numeric = st == ST_OK && !at->found && parse_number(user, &number);
	if (numeric)
		st = look_up_user(NULL, number, at, why);
	if (st != ST_OK)
		return st;
	if (at->found)
		return copy_entry(&at->entry.user, identity, why);
	if (!numeric)
		return error_set(why, ST_INVALID, "there is no user \"%s\"", user);
	if (group == NULL)
		return error_set(why, ST_INVALID, "user %s is not known here: say its group, too",
				 user);
	identity->uid = number;
	return ST_OK;
}

static enum status find_user(const char *user, const char *group, struct identity *identity,
			     struct error *why)
{
	struct looked_up at = {0};
	enum status st = use_user(user, group, &at, identity, why);
	memory_free(at.texts);
	return st;
}

/* The same list that initgroups() would set. */
static enum status find_groups(struct identity *identity, struct error *why)
{
	int room = 16, n = room;
	for (;;) {
		gid_t *groups = memory_grow(identity->groups, (size_t)room * sizeof *groups);
		if (groups == NULL)
			return error_set(why, ST_NOMEM, "out of memory");
		identity->groups = groups;
		identity->groups[0] = identity->gid;
		identity->n_groups = 1;
		if (identity->name == NULL)
			return ST_OK;
		if (getgrouplist(identity->name, identity->gid, groups, &n) >= 0)
			break;
		if (room > GROUPS_MOST)
			return error_set(why, ST_INVALID, "user \"%s\" is in too many groups",
					 identity->name);
		n = room = room * 2;
	}
	identity->n_groups = (size_t)n;
	return ST_OK;
}

static enum status find(const char *user, const char *group, struct identity *identity,
			struct error *why)
{
	enum status st = ST_OK;
	identity->uid = geteuid();
	identity->gid = getegid();
	if (user != NULL)
		st = find_user(user, group, identity, why);
	if (st == ST_OK && group != NULL)
		st = find_group(group, &identity->gid, why);
	if (st == ST_OK && user != NULL)
		st = find_groups(identity, why);
	if (st != ST_OK)
		return st;
	identity->changes = identity->uid != geteuid() || identity->gid != getegid();
	if (identity->changes && geteuid() != 0)
		return error_set(why, ST_INVALID, "only root can run it as another %s",
				 identity->uid != geteuid() ? "user" : "group");
	return ST_OK;
}

enum status identity_find(const char *user, const char *group, struct identity *ret_identity,
			  struct error *why)
{
	struct identity identity = {0};
	enum status st = find(user, group, &identity, why);
	if (st != ST_OK)
		identity_fini(&identity);
	else
		*ret_identity = identity;
	return st;
}

void identity_fini(struct identity *identity)
{
	memory_free(identity->groups);
	memory_free(identity->name);
	memory_free(identity->home);
}
