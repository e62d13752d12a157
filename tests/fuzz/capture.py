#!/usr/bin/python3
"""Captures what real brokers say to a real worker, as seeds for fuzz_amqp, fuzz_redis and fuzz_resp.

    OUTFALL_TEST_BUILD=$PWD/build tests/fuzz/capture.py

Run by hand when the conversation has changed; the seeds are committed. Each is one session: some head
bytes for the target, then what the broker said on the first connection, FAKE_NEXT, on the second, ...
Jobs' first byte is the answer of the target's handler (see small_worker.h); the worker that is recorded
here runs a shell that answers likewise.
"""

import os
import signal
import sys
import threading
import socket
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "integration"))

from brokers import RabbitMQ, RabbitQueue, Redis, RedisList, folder, wait_for  # noqa: E402
from worker import Worker  # noqa: E402

SEEDS = TESTS / "fuzz" / "seeds"
NEXT = b"\xff<next>\xff"

# done, retry, reject, return (which exec cannot say: done); the last one goes on until it is asked to stop.
ANSWERS = ["d", "e", "f", "g", "h"]
HANDLER = "echo run >>$RUNS; case $(head -c1) in e) exit 75;; f) exit 65;; h) exec sleep 60;; esac"
RUNS = 2 * 6  # two queues; a retry makes two attempts


class Recorder:
    """A proxy that keeps what comes back, a list of bytes for each connection."""

    def __init__(self, port):
        self.target = port
        self.said = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            worker, _ = self.listener.accept()
            broker = socket.create_connection(("127.0.0.1", self.target))
            kept = bytearray()
            self.said.append(kept)
            for pair in ((worker, broker, None), (broker, worker, kept)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source, sink, kept):
        while True:
            try:
                piece = source.recv(65536)
                if kept is not None:
                    kept += piece
                sink.sendall(piece) if piece else sink.shutdown(socket.SHUT_WR)
            except OSError:
                return
            if not piece:
                return


def config(section):
    return (
        'worker { name = "fuzz"  concurrency = 4  max_body = "4k" }\n'
        'drain { timeout = "5s"  reserve = "1s"  grace = "200ms"  report = "@REPORT@" }\n'
        'log { format = "json"  level = "debug" }\n'
        'retry "default" { attempts = 2  first = "20ms" }\n'
        f'handler "h" {{ type = "exec"  command = {{"/bin/sh", "-c", "{HANDLER}"}} }}\n' + section
    )


def session(broker_port, section, publish, has_run=None):
    """One worker from its start to its end, which is asked for when all has run."""
    recorder, directory = Recorder(broker_port), folder("capture")
    runs = directory / "runs"
    runs.touch()
    worker = Worker(directory, config(section(recorder.port)), "worker", {"RUNS": str(runs)})
    worker.wait_event("worker started")
    publish()
    count_runs = lambda: len(runs.read_text().splitlines())
    wait_for("the jobs to run", lambda: has_run(count_runs()) if has_run else count_runs() == RUNS)
    worker.send(signal.SIGTERM)
    code = worker.wait_exit(30)
    print(f"{len(recorder.said)} connections, {sum(map(len, recorder.said))} bytes, exit {code}")
    return NEXT.join(map(bytes, recorder.said))


def write(name, heads, said):
    for label, head in heads.items():
        path = SEEDS / name / label
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + said)
        print(f"{path.relative_to(TESTS)}: {path.stat().st_size} bytes")


def capture_rabbitmq():
    broker = RabbitMQ.shared()
    vhost = broker.vhosts(1)[0]
    jobs, more = RabbitQueue(broker, vhost, "jobs"), RabbitQueue(broker, vhost, "more")

    def section(port):
        return (
            f'rabbitmq "mq" {{ url = "amqp://guest:guest@127.0.0.1:{port}/{vhost}"\n'
            '  queue "jobs" { handler = "h"  prefetch = 8 }\n'
            '  queue "more" { handler = "h"  priority = 3  dead = "more.dead" } }\n'
        )

    def publish():
        for queue in (jobs, more):
            queue.publish(
                [answer + " body" for answer in ANSWERS], content_type="text/plain",
                message_id="m1", headers={"customer": 42, "tags": ["a", {"b": True}], "x": None},
            )  # fmt: skip

    said = session(broker.port, section, publish)
    write("amqp", {"session": b"\0\0", "hangs_up": b"\1\0", "torn": b"\6\0", "stopped": b"\0\x18",
                   "reloaded": b"\0\xd0"}, said)  # fmt: skip

    # Small ones between the first and the second delivery of the large one, for it takes a connection.
    for queue in (jobs, more):
        queue.channel.queue_purge(queue.name)
        queue.channel.queue_purge(queue.dead_name)

    def publish_large():
        more.publish(["d" * 10_000] + ["d body"] * 6, message_id="m2")

    said = session(broker.port, section, publish_large, lambda runs: runs == 6 and more.dead_depth() == 1)
    write("amqp", {"large": b"\0\0", "large_torn": b"\6\0", "large_stopped": b"\0\x28"}, said)
    for queue in (jobs, more):
        queue.close()


def capture_redis():
    broker = Redis()
    jobs, more = RedisList(broker, "jobs"), RedisList(broker, "more")

    def section(port):
        return (
            f'redis "cache" {{ url = "redis://127.0.0.1:{port}/2"\n'
            '  list "jobs" { handler = "h" }\n  list "more" { handler = "h"  prefetch = 8 } }\n'
        )

    def publish():
        for queue in (jobs, more):
            queue.client = queue.client.__class__("127.0.0.1", broker.port, 2)
            queue.publish([answer + " body" for answer in ANSWERS])

    said = session(broker.port, section, publish)
    # The recorded one had no password: the target's AUTH wants an answer in front.
    parts = [b"+OK\r\n" + part for part in said.split(NEXT)]
    heads = {"session": b"\0\0", "hangs_up": b"\1\0", "torn": b"\6\0", "stopped": b"\0\x18",
             "reloaded": b"\0\xd0"}  # fmt: skip
    write("redis", heads, NEXT.join(parts))
    write("resp", {f"connection{i}": b"\3" + part for i, part in enumerate(said.split(NEXT)[:2])}, b"")
    broker.stop()


if __name__ == "__main__":
    os.environ.pop("OUTFALL_TEST_SANITIZE", None)
    capture_rabbitmq()
    capture_redis()
