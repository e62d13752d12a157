#!/usr/bin/env node
// exec.js - an exec handler to start from: a process for each job.
//
//   handler "prints" { type = "exec"  command = {"/usr/share/outfall/handlers/exec.js"} }
//
// The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line
// in the file $FINGERPRINTS. By hand: echo hello | FINGERPRINTS=/dev/stdout ./exec.js
'use strict';

const { createHash } = require('node:crypto');
const { once } = require('node:events');
const { writeSync } = require('node:fs');
const { appendFile } = require('node:fs/promises');
const { Socket } = require('node:net');
const { createInterface } = require('node:readline');
const { buffer } = require('node:stream/consumers');
const { setTimeout: sleep } = require('node:timers/promises');
const { inspect } = require('node:util');

const SLICE_BYTES = 64 * 1024;
const WORK_MS = Number(process.env.WORK_SECONDS ?? 0) * 1000; // for each slice, to make it look like work

// --- the part you write ---------------------------------------------------------------------------
// Nothing returned: done. Or { outcome: 'retry', 'reject' or 'return' }, if you like with reason,
// after_ms and checkpoint. An exception is a retry.
async function handle(job) {
  if (job.body.length === 0) {
    return { outcome: 'reject', reason: 'an empty body has no fingerprint' };
  }
  // An earlier run was interrupted? Go on where it stopped.
  let [at, digest] = job.checkpoint?.split(' ') ?? [0, ''];
  at = Number(at);
  console.log(`${job.id}: ${job.body.length} bytes, from byte ${at}`);
  while (at < job.body.length) {
    if (job.shouldStop()) {
      return { outcome: 'return', checkpoint: `${at} ${digest}` };
    }
    await sleep(WORK_MS);
    const slice = job.body.subarray(at, at + SLICE_BYTES);
    digest = createHash('sha256').update(digest).update(slice).digest('hex');
    at += slice.length;
    job.tell({ progress: at / job.body.length });
  }
  await appendFile(process.env.FINGERPRINTS, `${job.id} ${digest}\n`); // the effect: last, in one step
}

// --- the part you copy ----------------------------------------------------------------------------
const EXIT_STATUS = { done: 0, reject: 65, retry: 75, return: 75 };
const stop = new AbortController();

class Job {
  constructor(facts, body) {
    this.facts = facts; // queue, attempt, headers and so on; null when started by hand
    this.body = body; // a Buffer, the bytes as they came
    this.id = facts?.id ?? 'by-hand';
    this.checkpoint = facts?.checkpoint;
    this.stop = stop; // job.stop.signal is for fetch() and its like
  }

  // Cheap: ask between two slices of work. Then leave a checkpoint, and return the job.
  shouldStop() {
    return stop.signal.aborted;
  }

  // { progress: 0.5, note: 'half of it', checkpoint: 'line 7', extend_ms: 60000 }
  tell(facts) {
    if (this.facts !== null) writeSync(4, `${JSON.stringify(facts)}\n`);
  }
}

// The first line of descriptor 3 is the job; notices follow. By hand it is not there, or something of
// Node's own.
async function facts() {
  if (!('OUTFALL_JOB_ID' in process.env)) return null;
  const input = new Socket({ fd: 3, writable: false });
  const [line] = await once(createInterface({ input }), 'line');
  input.unref(); // we do not stay for the others
  return JSON.parse(line);
}

// An Error, for whoever looks for what went wrong.
function told(error) {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { class: name, message, backtrace: stack?.split('\n').slice(1) };
}

// Nothing is done; what makes no sense never is. An Error as a reason is told whole.
function judge(returned) {
  if (returned === undefined || returned === null) return { outcome: 'done' };
  if (!Object.keys(EXIT_STATUS).includes(returned.outcome)) throw new TypeError(`handle() returned ${inspect(returned)}`);
  const { reason } = returned;
  if (reason instanceof Error) return { error: told(reason), ...returned, reason: reason.message };
  return { ...returned, reason: reason === undefined ? reason : String(reason) };
}

async function main() {
  process.exitCode = EXIT_STATUS.retry; // should Node find nothing more to wait for
  process.on('SIGTERM', () => stop.abort());
  const job = new Job(await facts().catch(() => null), await buffer(process.stdin));
  let result;
  try {
    result = judge(await handle(job));
  } catch (error) {
    job.tell({ error: told(error) });
    throw error;
  }
  if (result.checkpoint !== undefined) job.tell({ checkpoint: result.checkpoint });
  if (result.reason !== undefined) {
    job.tell({ error: result.error ?? { message: result.reason } });
    console.error(result.reason);
  }
  process.exit(EXIT_STATUS[result.outcome]);
}

main();
