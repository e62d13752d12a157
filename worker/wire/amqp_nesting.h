/* amqp_nesting - how deep the field tables of a frame are nested, found out before anybody decodes them.
 *
 * Thread: any.
 * Owns:   nothing.
 * Units:  levels; a table without tables in it is one.
 * Fails:  never; what does not hold together is an answer. */
#ifndef OUTFALL_WIRE_AMQP_NESTING_H
#define OUTFALL_WIRE_AMQP_NESTING_H

#include "base/span.h"

/* Nobody nests deeper who means it: the broker's own x-death takes three. */
enum { AMQP_LEVELS_MOST = 64 };

enum amqp_nesting {
	AMQP_NESTING_FINE,
	AMQP_NESTING_TOO_DEEP,
	AMQP_NESTING_BROKEN, /* a length that leads out of its table, a kind that nobody knows */
};

/* A field table, its length first; what follows it does not matter. */
enum amqp_nesting amqp_table_nesting(struct span encoded);
/* The properties of a basic message, flags first. */
enum amqp_nesting amqp_properties_nesting(struct span encoded);

#endif
