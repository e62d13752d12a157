/* changes - what one configuration says that another does not, and what of it a worker that runs can take over.
 *
 * Compared is what is written, or its default: "30s" is another text than "30000ms", and taking it over
 * changes nothing. What files say that are only named (secrets, certificates, plugins) is not looked at.
 *
 * Thread: the loop's.
 * Owns:   nothing; a change is valid during the call that tells of it.
 * Fails:  never. */
#ifndef OUTFALL_SETTINGS_CHANGES_H
#define OUTFALL_SETTINGS_CHANGES_H

#include "settings/document.h"
#include "settings/settings.h"
#include "settings/table.h"

enum change_kind { CHANGE_KEY, CHANGE_SECTION_CAME, CHANGE_SECTION_WENT };

struct change {
	enum change_kind kind;
	const struct section_row *section;
	const char *inside,
	    *title; /* the titles of its parent and its own; NULL where there is none */
	const struct key_row *key; /* of CHANGE_KEY */
	bool live;                 /* settings_adopt() takes it over */
	struct place place;        /* where it is said now; or, of a section that went, was */
};

/* A section as a change of that kind, for its name. */
struct change change_of_section(enum change_kind kind, const struct block *block);

typedef void change_seen(void *arg, const struct change *change);
void settings_compare(const struct settings *before, const struct settings *after,
		      change_seen *seen, void *arg);

/* Queues that only one of the two has: a block of `before` that went, one of `after` that came. Both
 * calls may take blocks out of `before` and put others in. */
struct queue_changes {
	void (*went)(void *arg, struct block *block);
	void (*came)(void *arg, const struct block *block);
	void *arg;
};
void settings_compare_queues(const struct settings *before, const struct settings *after,
			     const struct queue_changes *seen);

/* What is live in `after` becomes what `settings` says, for the sections that both have. Texts stay those
 * of `after`, which must outlive `settings` or the next call. */
void settings_adopt(struct settings *settings, const struct settings *after);

/* `retry "slow" attempts`, behind the name of its source that of a queue; cut to the size. */
void change_name(const struct change *change, char *buf, size_t size);

#endif
