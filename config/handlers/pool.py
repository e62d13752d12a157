#!/usr/bin/env python3
"""pool.py - a pool handler to start from: a process that stays and gets one job after another.

    handler "prints" { type = "pool"  command = {"/usr/share/outfall/handlers/pool.py"}  processes = 4 }

The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line in
the file $FINGERPRINTS."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

SLICE_BYTES = 64 * 1024
WORK_SECONDS = float(os.environ.get("WORK_SECONDS", "0"))  # for each slice, to make it look like work


# --- the part you write ---------------------------------------------------------------------------
def handle(job: Job) -> dict | None:
    """None: done. Or {"outcome": "retry", "reject" or "return"}, if you like with "reason", "after_ms"
    and "checkpoint". An exception is a retry."""
    if not job.body:
        return {"outcome": "reject", "reason": "an empty body has no fingerprint"}
    at, digest = 0, ""
    if job.checkpoint:  # an earlier run was interrupted: go on where it stopped
        done, digest = job.checkpoint.split(" ")
        at = int(done)
    print(f"{job.id}: {len(job.body)} bytes, from byte {at}")
    while at < len(job.body):
        if job.should_stop():
            return {"outcome": "return", "checkpoint": f"{at} {digest}"}
        time.sleep(WORK_SECONDS)
        digest = hashlib.sha256(digest.encode() + job.body[at : at + SLICE_BYTES]).hexdigest()
        at = min(at + SLICE_BYTES, len(job.body))
        job.tell(progress=at / len(job.body))
    with open(os.environ["FINGERPRINTS"], "a") as file:  # the effect: last, and in one step
        file.write(f"{job.id} {digest}\n")
    return None


# --- the part you copy ----------------------------------------------------------------------------
CONCURRENCY = 1  # more, if your jobs wait for others: handle() then runs in so many threads


class Job:
    drain_at = math.inf  # when the time of a drain is up, for all

    def __init__(self, facts: dict, body: bytes) -> None:
        self.facts, self.body = facts, body  # queue, attempt, headers and so on; bytes as they came
        self.id: str = facts["id"]
        self.checkpoint: str | None = facts.get("checkpoint")
        self.cancelled = False

    def should_stop(self) -> bool:
        """Cheap: ask between two slices of work. Then leave a checkpoint, and return the job."""
        return self.cancelled or self.time_left() <= 0

    def time_left(self) -> float:
        """Seconds, once the worker drains; until then there is no limit."""
        return Job.drain_at - time.monotonic()

    def tell(self, **facts: object) -> None:
        """progress=0.5, note="half of it", checkpoint="line 7", extend_ms=60000"""
        say({"type": "progress", "id": self.id, **facts})


# stdin and stdout are the protocol's alone: your prints, and your children's, go to the log.
stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)
sys.stdout.reconfigure(line_buffering=True)
jobs: dict[str, Job] = {}
lock = threading.Lock()


def encode(line: dict) -> bytes:
    return json.dumps(line, default=str).encode() + b"\n"


def say(line: dict | bytes) -> None:
    with lock:
        stdout.write(line if isinstance(line, bytes) else encode(line))


OUTCOMES = "done", "retry", "reject", "return"


def told(error: BaseException) -> dict:
    where = [f"{at.filename}:{at.lineno}: {at.name}" for at in traceback.extract_tb(error.__traceback__)]
    return {"class": type(error).__name__, "message": str(error), "backtrace": where[::-1]}


def judge(returned: object) -> dict:
    """Nothing is done; what makes no sense never is. An exception as a reason is told whole."""
    if returned is None:
        return {"outcome": "done"}
    if not isinstance(returned, dict) or returned.get("outcome") not in OUTCOMES:
        raise ValueError(f"handle() returned {returned!r}")
    result = dict(returned)
    if isinstance(reason := result.get("reason"), BaseException):
        result.setdefault("error", told(reason))
    if reason is not None:
        result["reason"] = str(reason)
    return result


def run(job: Job) -> None:
    result = {"type": "result", "id": job.id}
    try:
        line = encode({**result, **judge(handle(job))})
    except BaseException as error:  # sys.exit(), and what JSON cannot write, too: each job gets its answer
        traceback.print_exc()
        line = encode({**result, "outcome": "retry", "reason": repr(error), "error": told(error)})
    del jobs[job.id]
    say(line)


def cancel_all(*_: object) -> None:
    for job in list(jobs.values()):
        job.cancelled = True
    sys.exit()  # out of the read below; running jobs still get their answers


def main() -> None:
    signal.signal(signal.SIGTERM, cancel_all)
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        say({"type": "ready", "concurrency": CONCURRENCY})
        while (line := stdin.readline()).endswith(b"\n"):
            told = json.loads(line)
            if told["type"] == "job":
                body = stdin.read(told["bytes"])
                if len(body) < told["bytes"]:
                    break  # the worker died in the middle of it
                jobs[told["id"]] = job = Job(told, body)
                threads.submit(run, job)
            elif told["type"] == "drain":
                Job.drain_at = time.monotonic() + told.get("remaining_ms", math.inf) / 1000
            elif told["type"] == "cancel" and (job := jobs.get(told["id"])):
                job.cancelled = True


main()
