/* outcome - what a handler said of a job, what the broker is told of it, and what became of it in the end. Plain
 * facts. */
#ifndef OUTFALL_JOB_OUTCOME_H
#define OUTFALL_JOB_OUTCOME_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

/* A handler may ask for so much time, to run on or until its next attempt: who asks for more means a moment,
 * or a number that came round. */
#define OUTCOME_ASKS_MOST_MS LONGEST_WAIT_MS

/* What the executor reports. A failed job is not an error of ours: it is data, and it travels. */
enum outcome_kind {
	OUTCOME_DONE,      /* the handler succeeded */
	OUTCOME_RETRY,     /* it failed; another attempt may succeed */
	OUTCOME_REJECT,    /* it can never succeed */
	OUTCOME_RETURN,    /* the handler gives it back, untried: no attempt is counted */
	OUTCOME_ABANDONED, /* we ended it, or could wait no longer: no attempt is counted */
};

/* What a run cost, where its executor can tell (a process of its own); zeroes elsewhere. */
struct usage {
	uint64_t cpu_ns; /* user and system */
	uint64_t peak_bytes;
};

struct outcome {
	enum outcome_kind kind;
	bool crashed;      /* the handler died of a signal, or took its process with it */
	bool failed;       /* RETURN: a failure all the same; a broker that counts may count it */
	uint64_t after_ms; /* RETRY: not before, as told; 0 leaves it to the retry policy */
	char reason[96];   /* a sentence for people, may be empty */
	struct usage usage;
};

/* The five ways out of this process. Reports and metrics use these words. */
enum fate {
	FATE_DONE,
	FATE_RETRIED,
	FATE_DEAD,
	FATE_RETURNED,
	FATE_UNSETTLED,
	FATE_COUNT,
};

/* What the broker shall be told of a job; settle/verdict.h decides it. */
struct verdict {
	enum fate fate;    /* what it becomes if the broker can be told; never FATE_UNSETTLED */
	bool interrupted;  /* RETURNED: we ended its run, so the next one may find half an effect */
	uint64_t delay_ms; /* RETRIED: not before */
	bool delay_asked;  /* ... as its handler asked, and not the policy, whose delays are few */
	uint32_t attempt;  /* the number its next run carries */
	uint32_t interruptions;
	uint32_t crashes;
	bool poisonous; /* DEAD because it crashed its handler too often */
};

const char *outcome_name(enum outcome_kind kind);
const char *fate_name(enum fate fate);

#endif
