#!/usr/bin/env node
// pool.js - a pool handler to start from: a process that stays and gets one job after another.
//
//   handler "prints" { type = "pool"  command = {"/usr/share/outfall/handlers/pool.js"}  processes = 2 }
//
// The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line
// in the file $FINGERPRINTS.
'use strict';

const { createHash } = require('node:crypto');
const { appendFile } = require('node:fs/promises');
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
const OUTCOMES = ['done', 'retry', 'reject', 'return'];
const CONCURRENCY = 4; // so many handle()s wait for something at once

// stdout is the protocol's alone: what you print goes to the log. Children get pipes of their own, unless
// you start them with stdio: 'inherit'.
const { stdin, stdout } = process;
Object.defineProperty(process, 'stdout', { value: process.stderr });

const jobs = new Map();
let drainAt = Infinity; // when the time of a drain is up, for all

class Job {
  constructor(facts, body) {
    this.facts = facts; // queue, attempt, headers and so on
    this.body = body; // a Buffer, the bytes as they came
    this.id = facts.id;
    this.checkpoint = facts.checkpoint;
    this.stop = new AbortController(); // job.stop.signal is for fetch() and its like
  }

  // Cheap: ask between two slices of work. Then leave a checkpoint, and return the job.
  shouldStop() {
    return this.stop.signal.aborted || this.timeLeft() <= 0;
  }

  // Milliseconds, once the worker drains; until then there is no limit.
  timeLeft() {
    return drainAt - performance.now();
  }

  // { progress: 0.5, note: 'half of it', checkpoint: 'line 7', extend_ms: 60000 }
  tell(facts) {
    say({ type: 'progress', id: this.id, ...facts });
  }
}

function say(line) {
  stdout.write(`${JSON.stringify(line)}\n`);
}

// An Error, for whoever looks for what went wrong.
function told(error) {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { class: name, message, backtrace: stack?.split('\n').slice(1) };
}

// Nothing is done; what makes no sense never is. An Error as a reason is told whole.
function judge(returned) {
  if (returned === undefined || returned === null) return { outcome: 'done' };
  if (!OUTCOMES.includes(returned.outcome)) throw new TypeError(`handle() returned ${inspect(returned)}`);
  const { reason } = returned;
  if (reason instanceof Error) return { error: told(reason), ...returned, reason: reason.message };
  return { ...returned, reason: reason === undefined ? reason : String(reason) };
}

function answer(job, result) {
  return JSON.stringify({ type: 'result', id: job.id, ...result });
}

async function run(job) {
  let line;
  try {
    line = answer(job, judge(await handle(job)));
  } catch (error) { // also of JSON, about what it cannot write: each job gets its answer
    console.error(error);
    line = answer(job, { outcome: 'retry', reason: String(error), error: told(error) });
  }
  jobs.delete(job.id);
  stdout.write(`${line}\n`);
}

function hear(told, body) {
  if (told.type === 'job') {
    jobs.set(told.id, new Job(told, body));
    run(jobs.get(told.id));
  } else if (told.type === 'drain') {
    drainAt = performance.now() + (told.remaining_ms ?? Infinity);
  } else if (told.type === 'cancel') {
    jobs.get(told.id)?.stop.abort();
  }
}

let pieces = [];
let held = 0; // bytes in them
let wanted = 1; // so many are worth a look: a long body is put together once, when all of it is there
stdin.on('data', (piece) => {
  pieces.push(piece);
  held += piece.length;
  if (held < wanted) return;
  let input = Buffer.concat(pieces);
  wanted = 1;
  for (let end; (end = input.indexOf('\n') + 1) > 0; input = input.subarray(wanted), wanted = 1) {
    const told = JSON.parse(input.subarray(0, end));
    wanted = end + (told.type === 'job' ? told.bytes : 0);
    if (input.length < wanted) break;
    hear(told, input.subarray(end, wanted));
  }
  pieces = [input];
  held = input.length;
});
// At the end of stdin nothing but the running jobs keeps us.
process.on('SIGTERM', () => {
  stdin.destroy();
  jobs.forEach((job) => job.stop.abort());
});
say({ type: 'ready', concurrency: CONCURRENCY });
