/* parse - the grammar: sections, titles, values and lists, from a file to a document.
 *
 * Thread: the one that loads.
 * Owns:   nothing: the document lives in the region of `parts`.
 * Fails:  with PARSE_BROKEN after a rule of the grammar was broken. All of that is reported, and the
 *         document holds what could be read. Unknown keys and sections are reported and left out. */
#ifndef OUTFALL_SETTINGS_PARSE_H
#define OUTFALL_SETTINGS_PARSE_H

#include "settings/document.h"

enum parse_result { PARSE_WHOLE, PARSE_BROKEN };

enum parse_result parse_file(source_schemas kinds, const char *path,
			     const struct reader_parts *parts, struct document *ret_document);

#endif
