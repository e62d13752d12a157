"""A pool process that does what each job's body says and leaves a record, like test_handler.c.

    pool_handler.py RECORD [concurrency=N] [ready=GATE] [never-ready]

Each job runs in a thread, so that a process can have several at once and hears notices meanwhile.
The body is TAG, TAG:VERB or TAG:VERB:ARGUMENT, and anything after a newline is ballast. The record has
these lines, each in one append:

    begin TAG attempt=1 ... pid=123
    end TAG
    cancel TAG reason=drain
    notice drain remaining_ms=5000 pid=123
    eof pid=123
"""

import json
import os
import signal
import sys
import threading
import time

record_fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
options = dict(word.partition("=")[::2] for word in sys.argv[2:])
saying = threading.Lock()
cancels = {}  # id -> Event
tags = {}  # id -> tag
grown = []
stop_reading = threading.Event()


def record(*words):
    os.write(record_fd, (" ".join(map(str, words)) + "\n").encode())


def say(**line):
    with saying:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def result(job, outcome, **more):
    say(type="result", id=job["id"], outcome=outcome, **more)


def wait_gate(path):
    while not os.path.exists(path):
        time.sleep(0.002)


def done(job, tag):
    record("end", tag)
    result(job, "done")


def gate(job, tag, path):
    """Gives the job back when it is asked to stop."""
    while not os.path.exists(path):
        if cancels[job["id"]].wait(0.002):
            return result(job, "return", reason="asked to stop")
    done(job, tag)


def deaf(job, tag, path):
    wait_gate(path)
    done(job, tag)


def extend(job, tag, path):
    say(type="extend", id=job["id"], extend_ms=60000)
    gate(job, tag, path)


def checkpoint(job, tag, path):
    """Goes on where an earlier run stopped."""
    if job.get("checkpoint") == "half":
        return done(job, tag)
    say(type="checkpoint", id=job["id"], checkpoint="half")
    say(type="progress", id=job["id"], progress=0.5, note="half of it")
    gate(job, tag, path)


def fail_until(job, tag, attempt):
    if job["attempt"] < int(attempt):
        result(job, "retry", after_ms=50, reason="not yet")
    else:
        done(job, tag)


def exit_once(job, tag, code):
    if job["attempt"] == 1:
        os._exit(int(code))
    done(job, tag)


def return_until(job, tag, path):
    if os.path.exists(path):
        done(job, tag)
    else:
        time.sleep(0.01)
        result(job, "return")


def ms(job, tag, argument):
    time.sleep(int(argument) / 1000)
    done(job, tag)


def rubbish(job, tag, count):
    with saying:
        sys.stdout.write("this is no JSON\n" * int(count))
        sys.stdout.flush()
    done(job, tag)


def twice(job, tag, _):
    done(job, tag)
    result(job, "done")


def wrong_id(job, tag, _):
    say(type="result", id="nobody", outcome="done")
    done(job, tag)


def say_ready(job, tag, concurrency):
    say(type="ready", concurrency=int(concurrency))
    done(job, tag)


def mute(job, tag, _):
    os.close(1)


def stop_listening(job, tag, path):
    stop_reading.set()
    done(job, tag)


def grow(job, tag, megabytes):
    grown.append(bytearray(os.urandom(1 << 20) * int(megabytes)))
    done(job, tag)


def log(job, tag, text):
    say(type="log", id=job["id"], level="warn", text=text)
    print("stderr of", tag, file=sys.stderr, flush=True)
    done(job, tag)


def environment(job, tag, name):
    record("environment", tag, f"{name}={os.environ.get(name)}", f"cwd={os.getcwd()}")
    done(job, tag)


VERBS = {
    "done": lambda job, tag, _: done(job, tag),
    "retry": lambda job, tag, _: result(job, "retry", after_ms=50),
    "reject": lambda job, tag, _: result(job, "reject", reason="never"),
    "exit": lambda job, tag, code: os._exit(int(code)),
    "kill": lambda job, tag, number: os.kill(os.getpid(), int(number)),
    "exit-once": exit_once, "gate": gate, "deaf": deaf, "extend": extend, "checkpoint": checkpoint,
    "fail-until": fail_until, "return-until": return_until, "ms": ms, "rubbish": rubbish,
    "twice": twice, "wrong-id": wrong_id, "ready": say_ready, "mute": mute,
    "stop-listening": stop_listening, "grow": grow, "log": log, "environment": environment,
}  # fmt: skip


def run(job, body):
    words = body.split(b"\n")[0].decode(errors="replace").split(":", 2) + ["done", ""]
    tag, verb, argument = words[0], words[1], words[2]
    tags[job["id"]] = tag
    record(
        "begin", tag, *(f"{key}={job[key]}" for key in
        ("attempt", "interruptions", "crashes", "queue", "source", "timeout_ms", "id")),
        f"redelivered={int(job['redelivered'])}", f"bytes={len(body)}", f"pid={os.getpid()}",
        f"checkpoint={job.get('checkpoint')}",
    )  # fmt: skip
    VERBS[verb](job, tag, argument)


def read():
    stdin = sys.stdin.buffer
    while line := stdin.readline():
        told = json.loads(line)
        if told["type"] == "job":
            body = stdin.read(told["bytes"])
            cancels[told["id"]] = threading.Event()
            threading.Thread(target=run, args=(told, body), daemon=True).start()
        elif told["type"] == "cancel":
            record("cancel", tags.get(told["id"]), f"reason={told['reason']}")
            cancels[told["id"]].set()
        else:
            record("notice", told["notice"], f"remaining_ms={told.get('remaining_ms')}", f"pid={os.getpid()}")
        # A moment for the job to say that nothing more is to be read.
        if stop_reading.wait(0.05 if "hesitant" in options else 0):
            threading.Event().wait()


if "ready" in options:
    wait_gate(options["ready"])
if "never-ready" in options:
    signal.pause()
say(type="ready", concurrency=int(options.get("concurrency", 1)))
read()
record("eof", f"pid={os.getpid()}")
os._exit(0)
