/* value - what a key was given, as the field it fills.
 *
 * Thread: any.
 * Owns:   texts and lists are shared with the block they came from.
 * Fails:  by reporting to `problems`; the field then keeps its default. */
#ifndef OUTFALL_SETTINGS_VALUE_H
#define OUTFALL_SETTINGS_VALUE_H

#include "settings/document.h"

/* Fills every field of block->fields from what was said, or from the table's defaults. */
void value_fill_block(struct block *block, struct problems *problems);

#endif
