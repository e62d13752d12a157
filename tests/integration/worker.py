"""The worker under test: its configuration, its process, its log, its report, and what its handlers
recorded.

    class Drain(WorkerCase):
        def test_idle(self):
            worker = self.worker(self.queue.section())
            worker.wait_ready()
            worker.send(signal.SIGTERM)
            self.assertEqual(worker.wait_exit(), 0)

The log is read as JSON from a file, so no reader is ever too slow. Nothing sleeps for a fixed time;
wait_for() polls a condition up to a deadline.
"""

import collections
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from brokers import RabbitMQ, RabbitQueue, Redis, RedisList, folder, patience, wait_for

BUILD = Path(os.environ.get("OUTFALL_TEST_BUILD", Path(__file__).resolve().parents[2] / "build"))
OUTFALL = BUILD / "outfall"
HANDLER = BUILD / "tests" / "integration" / "test_handler"
POOL_HANDLER = Path(__file__).resolve().parent / "handlers" / "pool_handler.py"
PLUGIN = BUILD / "tests" / "integration" / "test_plugin.so"
PENDING = BUILD / "tests" / "integration" / "test_pending.so"


def is_guardian(pid):
    """It is the worker's child as handlers are, stays, and outlives it for a moment."""
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "outfall-guard\n"
    except OSError:
        return False  # it ended meanwhile


def children_of(pid):
    """Of a worker, those that run handlers."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if not is_guardian(child)]


class Record:
    """What handlers wrote: one line per begin and end of a run."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def lines(self):
        # A line is whole once its newline is there.
        return self.path.read_text(errors="replace").split("\n")[:-1]

    def _of(self, verb):
        return [line.split()[1] for line in self.lines() if line.startswith(verb + " ")]

    def begun(self):
        return self._of("begin")

    def ended(self):
        return self._of("end")

    def runs(self, tag=None):
        """Facts of each begin, as dictionaries."""
        found = []
        for line in self.lines():
            words = line.split()
            if words[0] == "begin" and tag in (None, words[1]):
                found.append(dict(word.split("=", 1) for word in words[2:] if "=" in word))
        return found

    def ended_twice(self):
        return [tag for tag, n in collections.Counter(self.ended()).items() if n > 1]

    def begun_twice(self):
        return [tag for tag, n in collections.Counter(self.begun()).items() if n > 1]

    def wait_begun(self, count, seconds=20):
        wait_for(f"{count} jobs to begin", lambda: len(self.begun()) >= count, seconds)

    def wait_ended(self, count, seconds=20):
        wait_for(f"{count} jobs to end", lambda: len(self.ended()) >= count, seconds)


class Worker:
    def __init__(self, directory, config, name, environment=None, wrapper=(), arguments=None):
        self.directory, self.name = directory, name
        self.log_path = directory / f"{name}.log"
        self.report_path = directory / f"{name}.report.json"
        self.config_path = directory / f"{name}.conf"
        self.config_path.write_text(config.replace("@REPORT@", str(self.report_path)))
        self.stdout_path = directory / f"{name}.stdout"
        environ = dict(os.environ, **(environment or {}))
        # A leak found at exit must not change the exit code that is being tested; it fails the
        # test through the log instead (see WorkerCase.tearDown).
        environ.setdefault("ASAN_OPTIONS", "exitcode=0:detect_leaks=1")
        environ.setdefault("TSAN_OPTIONS", "exitcode=0")
        argv = [*wrapper, str(OUTFALL), *(arguments or ["run", "-c", str(self.config_path)])]
        with open(self.log_path, "ab") as log, open(self.stdout_path, "ab") as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=environ,
                start_new_session=True,
            )  # fmt: skip
        self.pid = self.process.pid

    def log_text(self):
        return self.log_path.read_text(errors="replace")

    def events(self, name=None):
        """Log lines as dictionaries; what is not JSON (a sanitizer's words) is left out."""
        found = []
        for line in self.log_text().splitlines():
            if line.startswith("{"):
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if name is None or event["event"] == name:
                    found.append(event)
        return found

    def wait_event(self, name, count=1, seconds=20):
        def enough():
            found = self.events(name)
            if len(found) >= count:
                return found
            if self.process.poll() is not None and len(self.events(name)) < count:
                raise AssertionError(
                    f"worker exited with {self.process.returncode} before: {name}\n{self.log_text()[-3000:]}"
                )
            return None

        return wait_for(f"log event {name!r}", enough, seconds)[count - 1]

    def send(self, number):
        os.kill(self.pid, number)

    def wait_exit(self, seconds=20):
        try:
            return self.process.wait(seconds * patience())
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"worker did not exit in {seconds * patience()} s\n{self.log_text()[-3000:]}"
            ) from None

    def stop(self, number=signal.SIGTERM, seconds=20):
        """Signals, waits; the exit code and how long it took."""
        begun = time.monotonic()
        self.send(number)
        code = self.wait_exit(seconds)
        return code, time.monotonic() - begun

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def report(self):
        return json.loads(self.report_path.read_text())


class WorkerCase(unittest.TestCase):
    """Each test gets a folder, a record, gates, and workers that are gone afterwards."""

    @classmethod
    def setUpClass(cls):
        if not OUTFALL.exists():
            raise AssertionError(f"{OUTFALL} is not built")

    def setUp(self):
        self.directory = folder(self.id().split(".")[-1])
        self.record = Record(self.directory / "record")
        self.workers = []

    def tearDown(self):
        for worker in self.workers:
            worker.kill()
            text = worker.log_text()
            for bad in ("ERROR: AddressSanitizer", "WARNING: ThreadSanitizer", "runtime error:",
                        "ERROR: LeakSanitizer", "internal error"):  # fmt: skip
                if bad in text:
                    self.fail(f"{worker.name}: {text[text.index(bad) :][:6000]}")

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            for worker in getattr(self, "workers", []):
                print(f"--- {self.id()}: log of {worker.name} (its end)", file=sys.stderr)
                print(worker.log_text()[-4000:], file=sys.stderr)

    def figure(self, text):
        """Measured, printed, not judged."""
        print(f"    {self.id().split('.', 1)[-1]}: {text}", flush=True)

    def gate(self, name="gate"):
        return self.directory / name

    def open_gate(self, name="gate"):
        self.gate(name).touch()

    def exec_handler(self, name="h", extra="", command=None):
        words = ", ".join(f'"{w}"' for w in command or [HANDLER, self.record.path])
        return f'handler "{name}" {{ type = "exec"  command = {{{words}}} {extra} }}\n'

    def plugin_handler(self, name="h", threads=4, extra="", path=PLUGIN):
        return f'handler "{name}" {{ type = "plugin"  path = "{path}"  threads = {threads} {extra} }}\n'

    def pool_handler(self, name="h", words=(), processes=1, extra=""):
        command = ["/usr/bin/python3", "-S", POOL_HANDLER, self.record.path, *words]
        words = ", ".join(f'"{w}"' for w in command)
        return (
            f'handler "{name}" {{ type = "pool"  command = {{{words}}}  processes = {processes} {extra} }}\n'
        )

    def config(self, *sections, concurrency=4, drain='timeout = "30s"', worker="", level="debug"):
        text = "".join(sections)
        if 'handler "h"' not in text:
            text += self.exec_handler()
        if "retry " not in text:
            text += 'retry "default" { attempts = 5  first = "50ms"  max = "200ms" }\n'
        return (
            f"worker {{ concurrency = {concurrency} {worker} }}\n"
            f'drain {{ {drain}  report = "@REPORT@" }}\n'
            f'log {{ level = "{level}"  format = "json" }}\n' + text
        )

    def start(self, config, environment=None, wrapper=(), arguments=None):
        name = f"worker{len(self.workers) + 1}"
        # The default socket is made there, and not where the machine's own workers have theirs.
        environment = {"RUNTIME_DIRECTORY": str(self.directory), **(environment or {})}
        environment["OUTFALL_TEST_RECORD"] = str(self.record.path)
        worker = Worker(self.directory, config, name, environment, wrapper, arguments)
        self.workers.append(worker)
        return worker

    def run_outfall(self, *arguments, **options):
        """A command that ends by itself."""
        return subprocess.run(
            [str(OUTFALL), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            timeout=60 * patience(), **options,
        )  # fmt: skip


class RabbitCase(WorkerCase):
    """Mixed into a class of tests that hold for both sources."""

    # A message that was given back says "redelivered" and nothing else on a classic queue.
    interruptions_are_exact = False

    @classmethod
    def find_broker(cls):
        return RabbitMQ.shared()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = cls.find_broker()
        names = unittest.defaultTestLoader.getTestCaseNames(cls)
        cls.vhosts = iter(cls.broker.vhosts(len(names)))

    def setUp(self):
        super().setUp()
        self.queue = RabbitQueue(self.broker, next(self.vhosts))
        self.addCleanup(self.queue.close)

    def wait_consuming(self, worker):
        wait_for("a consumer", lambda: self.queue.consumers() > 0 or worker.process.poll())

    def all_back(self):
        """Nobody holds anything. The broker puts back what a closed channel held before it forgets
        its consumer."""
        return self.queue.consumers() == 0

    def settled_all_but(self, count):
        """So many are ready, and nobody holds another."""
        return self.queue.depth() == count and self.queue.unacked() == 0


class RedisCase(WorkerCase):
    interruptions_are_exact = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = Redis()
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        super().setUp()
        self.broker.client().flushall()
        self.queue = RedisList(self.broker)
        self.addCleanup(self.queue.close)

    def wait_consuming(self, worker):
        def blocked():
            return any("b" in client["flags"] for client in self.queue.client.client_list())

        wait_for("a blocked pop", lambda: blocked() or worker.process.poll())

    def all_back(self):
        return True  # a clean exit has nothing outstanding

    def settled_all_but(self, count):
        return self.queue.depth() == count and self.queue.claimed() == 0
