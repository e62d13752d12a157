#!/usr/bin/python3
"""An exec handler that does what the job's body says for this run, and leaves a record of what it was
told on descriptor 3.

    script_handler.py RECORD < body

A body is TAG|STEPS|STEPS|..., one list of steps for each run (attempt and interruptions say which;
the last list is also for all later ones). Steps are separated by blanks:

    save=TEXT      leaves a checkpoint; save= leaves an empty one, which forgets the last
    save64=BASE64  the same for bytes; large=COUNT for so many of them
    hang           until it is killed
    exit=STATUS    ends it
    crash          by a signal

RECORD gets "begin TAG attempt=1 ... checkpoint=..." first, "saved TAG" when all that was left has been
written, and "end TAG" when it ends well. What descriptor 3 said is in RECORD.TAG, the newest last.
"""

import json
import os
import signal
import sys


def record(text):
    with open(sys.argv[1], "ab", buffering=0) as f:
        f.write(text.encode() + b"\n")


def told():
    with os.fdopen(3, "rb", buffering=0, closefd=False) as f:
        line = b""
        while not line.endswith(b"\n"):
            byte = f.read(1)
            if not byte:
                break
            line += byte
    return line


def say(**words):
    os.write(4, json.dumps(words).encode() + b"\n")


line = told()
job = json.loads(line)
tag, *runs = sys.stdin.read().split("|")
with open(f"{sys.argv[1]}.{tag}", "ab") as f:
    f.write(line)
number = min(job["attempt"] + job["interruptions"], len(runs))
checkpoint = job.get("checkpoint", job.get("checkpoint_base64", "-"))
record(
    f"begin {tag} attempt={job['attempt']} interruptions={job['interruptions']} "
    f"crashes={job['crashes']} redelivered={os.environ['OUTFALL_REDELIVERED']} "
    f"checkpoint={checkpoint if len(checkpoint) < 100 else len(checkpoint)}"
)
for step in runs[number - 1].split() if runs else []:
    verb, _, argument = step.partition("=")
    if verb == "save":
        say(checkpoint=argument)
        record(f"saved {tag}")
    elif verb == "large":
        say(checkpoint="x" * int(argument))
        record(f"saved {tag}")
    elif verb == "save64":
        say(checkpoint_base64=argument)
        record(f"saved {tag}")
    elif verb == "hang":
        while True:
            signal.pause()
    elif verb == "crash":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif verb == "exit":
        sys.exit(int(argument))
    else:
        sys.exit(64)
record(f"end {tag}")
