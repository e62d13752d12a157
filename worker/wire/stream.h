/* stream - bytes to and from one peer, without ever blocking: TCP, with or without TLS, or a Unix
 * socket. Whoever uses it sees no difference.
 *
 * Thread: the loop's.
 * Owns:   its descriptor and both buffers; callbacks borrow. The stream itself belongs to whoever
 *         opened it, until stream_close(), which is safe inside the stream's own callbacks.
 * Units:  bytes; milliseconds for the connect deadline.
 * Fails:  opening reports through `closed`; a write to a dead stream is swallowed, because `closed`
 *         has told or is about to tell.
 *
 * Writes are collected and leave in one send(2) at the end of the turn (TURN_WRITE). Output that
 * does not shrink is a dead peer: stream_stalled_ns() tells for how long. */
#ifndef OUTFALL_WIRE_STREAM_H
#define OUTFALL_WIRE_STREAM_H

#include "base/error.h"
#include "base/span.h"

#include <stddef.h>
#include <stdint.h>

struct loop;
struct stream;
struct tls;

struct address {          /* borrowed texts; copied by stream_open() */
	const char *host; /* name, IPv4, IPv6 without brackets; NULL with a path */
	unsigned port;
	const char *path; /* Unix socket; NULL with a host */
	struct tls *tls;  /* NULL: plain, and always with a path; else it outlives the stream */
	/* Which of the host's addresses is tried first, counted over and over: a peer may accept and then say
	 * nothing, and whoever dials again should begin with another. */
	unsigned first;
	/* TCP: a peer that confirms nothing for so long is given up by the kernel; 0: the system's
	 * own patience, a quarter of an hour. */
	uint64_t dead_after_ms;
};

struct stream_events {
	void (*opened)(void *arg);
	/* New bytes. Returns how many were used; the rest is offered again with what follows. The
	 * buffer holds up to 256 KB of unused bytes; a consumer that never uses them is a bug. */
	size_t (*received)(void *arg, struct span bytes);
	/* It is over, said once, never after stream_close(); the owner calls stream_close() now or
	 * later. */
	void (*closed)(void *arg, const struct error *why);
};

/* Numeric addresses are used at once, names are resolved in a thread of their own (resolve.h).
 * Several addresses are tried in turn, each with its share of what is left of the deadline; the
 * TLS handshake is part of a try.
 * No callback comes before this returns. NULL: no memory. */
struct stream *stream_open(struct loop *loop, const struct address *to, uint64_t deadline_ms,
			   const struct stream_events *events, void *arg);
void stream_close(struct stream *stream); /* NULL is fine; unsent bytes are dropped */

/* Room for `bytes` at the end of the output, to be filled at once and committed with
 * stream_wrote(). What is written before `opened` leaves after it. NULL: the stream is dead, or has
 * died now of having no memory, and `closed` will tell; then write nothing. */
char *stream_room(struct stream *stream, size_t bytes);
void stream_wrote(struct stream *stream, size_t bytes);
void stream_write(struct stream *stream, struct span bytes); /* room, copy, wrote */

const char *stream_tls(const struct stream *stream); /* "TLSv1.3"; NULL: plain, or not open yet */
size_t stream_unsent(const struct stream *stream);
void stream_read_stop(struct stream *stream); /* back-pressure: leave input in the kernel */
void stream_read_start(struct stream *stream);

uint64_t stream_last_input_ns(const struct stream *stream);
uint64_t stream_last_output_ns(const struct stream *stream);
uint64_t stream_stalled_ns(const struct stream *stream); /* 0: output is empty or moving */
/* The peer has said that it reads nothing for a while: output that stands is no sign of death, to the kernel
 * neither. And that it reads again: from now on it is. */
void stream_peer_rests(struct stream *stream);
void stream_peer_reads(struct stream *stream);

#endif
