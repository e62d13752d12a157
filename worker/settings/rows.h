/* rows - words for the rows of a table (table.h), so that each reads as a sentence. For the files that hold rows. */
#ifndef OUTFALL_SETTINGS_ROWS_H
#define OUTFALL_SETTINGS_ROWS_H

#include "settings/table.h"

#define SECONDS            *INT64_C(1000)
#define HOURS              *INT64_C(3600000)
#define FIELD(type, field) .offset = offsetof(struct type, field)
#define NO_FIELD           .offset = TABLE_NO_FIELD
#define RANGE(from, to)    .least = from, .most = to
#define LIVE               .live = true
#define SECRET(kind)       .secret = SECRET_##kind

/* The field `name` holds a section's title, the field `place` where it stands. */
#define TITLED(type)                                                                               \
	.titled = true, .bytes = sizeof(struct type), .name_offset = offsetof(struct type, name),  \
	.place_offset = offsetof(struct type, place)

#endif
