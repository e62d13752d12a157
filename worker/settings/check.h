/* check - the rules that no single key can break: what must fit together in a configuration.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  by reporting; each rule is looked at, whatever the others found. */
#ifndef OUTFALL_SETTINGS_CHECK_H
#define OUTFALL_SETTINGS_CHECK_H

#include "settings/rules.h"

/* The blocks' fields are filled and resolved as far as that was possible. */
void check_document(const struct rules *rules);

#endif
