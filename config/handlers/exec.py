#!/usr/bin/env python3
"""exec.py - an exec handler to start from: a process for each job.

    handler "prints" { type = "exec"  command = {"/usr/share/outfall/handlers/exec.py"} }

The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line in
the file $FINGERPRINTS. By hand:

    echo hello | FINGERPRINTS=/dev/stdout ./exec.py"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
import traceback

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
EXIT_STATUS = {"done": os.EX_OK, "reject": os.EX_DATAERR, "retry": os.EX_TEMPFAIL, "return": os.EX_TEMPFAIL}


class Job:
    def __init__(self) -> None:
        self._stop = False
        signal.signal(signal.SIGTERM, self._asked)
        self.body = sys.stdin.buffer.read()
        self.facts: dict = {}  # queue, attempt, headers and so on; empty when started by hand
        try:
            with open(3, "rb", closefd=False) as file:  # the first line is the job; notices follow
                self.facts = json.loads(file.readline())
        except (OSError, ValueError):
            pass
        self.id: str = self.facts.get("id", "by-hand")
        self.checkpoint: str | None = self.facts.get("checkpoint")

    def _asked(self, *_: object) -> None:
        self._stop = True

    def should_stop(self) -> bool:
        """Cheap: ask between two slices of work. Then leave a checkpoint, and return the job."""
        return self._stop

    def tell(self, **facts: object) -> None:
        """progress=0.5, note="half of it", checkpoint="line 7", extend_ms=60000"""
        if self.facts:
            os.write(4, json.dumps(facts, default=str).encode() + b"\n")


def told(error: BaseException) -> dict:
    where = [f"{at.filename}:{at.lineno}: {at.name}" for at in traceback.extract_tb(error.__traceback__)]
    return {"class": type(error).__name__, "message": str(error), "backtrace": where[::-1]}


def judge(returned: object) -> dict:
    """Nothing is done; what makes no sense never is. An exception as a reason is told whole."""
    if returned is None:
        return {"outcome": "done"}
    if not isinstance(returned, dict) or returned.get("outcome") not in list(EXIT_STATUS):
        raise ValueError(f"handle() returned {returned!r}")
    result = dict(returned)
    if isinstance(reason := result.get("reason"), BaseException):
        result.setdefault("error", told(reason))
    if reason is not None:
        result["reason"] = str(reason)
    return result


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)  # prints are in the log at once
    job = Job()
    try:
        result = judge(handle(job))
    except Exception as error:
        job.tell(error=told(error))
        raise
    if "checkpoint" in result:
        job.tell(checkpoint=result["checkpoint"])
    if "reason" in result:
        job.tell(error=result.get("error", {"message": result["reason"]}))
        print(result["reason"], file=sys.stderr)
    return EXIT_STATUS[result["outcome"]]


sys.exit(main())
