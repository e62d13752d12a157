"""The handlers in config/handlers that people copy, in five languages, twice each: driven over bare
pipes, byte by byte as the worker would, and then run by the worker.

All do the same job, so one set of tests holds for all: the fingerprint of the body, a chain of SHA-256
over its slices. That proves that every byte arrived, and that an interrupted run was continued and not
begun again.

An interpreter that is not there is a loud skip.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest

from brokers import TOP, folder, patience, wait_for
from worker import RabbitCase, RedisCase

HANDLERS = TOP / "config" / "handlers"
SLICE = 64 * 1024

# Every byte there is, lines that look like the protocol's, a NUL at the end; not a whole number of slices.
AWKWARD = bytes(range(256)) * 800 + b'\n{"type":"cancel","id":"a"}\n{"type":"job","bytes":9}\n\0'
SLICES = 20
LONG = b"".join(b"%06d\n" % n for n in range(SLICES * SLICE // 7))
SLOW = {"WORK_SECONDS": "0.2"}  # makes it 4 s


def fingerprint(body):
    digest = ""
    for at in range(0, len(body), SLICE):
        digest = hashlib.sha256(digest.encode() + body[at : at + SLICE]).hexdigest()
    return digest


def checkpoint_of(body, slices):
    return f"{slices * SLICE} {fingerprint(body[: slices * SLICE])}"


class Python:
    program, ending, strict = "/usr/bin/python3", "py", ["-W", "error"]
    check = [program, "-W", "error", "-c", "import pathlib, sys; compile(pathlib.Path(sys.argv[1]).read_text(), 'x', 'exec')"]


    odd = {
        "unknown": 'def handle(job):\n    return {"outcome": "failed"}\n',
        "error": 'def handle(job):\n    return {"outcome": "reject", "reason": ValueError("no such page")}\n',
        "raises": 'def handle(job):\n    raise ValueError("402 insufficient_funds")\n',
        "unwritable": 'def handle(job):\n    return {("a", 1): b"x"}\n',
        "leaves": 'def handle(job):\n    sys.exit(0)\n',
    }
    by_body = """def handle(job):
    what = job.body.decode()
    if what == "unknown": return {"outcome": "failed"}
    if what == "no-outcome": return {"reason": "it failed"}
    if what == "no-result": return False
    if what == "reason": return {"outcome": "reject", "reason": "no such page: " + "7" * 200}
    if what == "error": return {"outcome": "reject", "reason": ValueError("no such page")}
    if what == "raises": raise ValueError("402 insufficient_funds")
    if what == "percent": job.tell(progress=40, note="40 %")
    if what == "extends":
        job.tell(extend_ms=60000)
        time.sleep(5)
"""


class Node:
    program, ending, strict = "node", "js", ["--throw-deprecation", "--unhandled-rejections=strict"]
    check = [program, "--check"]
    at_once = 4


    odd = {
        "unknown": "async function handle() { return { outcome: 'failed' }; }\n",
        "error": "async function handle() { return { outcome: 'reject', reason: new Error('no such page') }; }\n",
        "raises": "async function handle() { throw new RangeError('402 insufficient_funds'); }\n",
        "unwritable": "async function handle() { return { outcome: 'done', n: 1n }; }\n",
    }
    by_body = """async function handle(job) {
  switch (job.body.toString()) {
    case 'unknown': return { outcome: 'failed' };
    case 'no-outcome': return { reason: 'it failed' };
    case 'no-result': return false;
    case 'reason': return { outcome: 'reject', reason: `no such page: ${'7'.repeat(200)}` };
    case 'error': return { outcome: 'reject', reason: new RangeError('no such page') };
    case 'raises': throw new RangeError('402 insufficient_funds');
    case 'percent': job.tell({ progress: 40, note: '40 %' }); break;
    case 'extends': job.tell({ extend_ms: 60000 }); await sleep(5000);
  }
}
"""


class Php:
    program, ending, strict = "php", "php", ["-d", "error_reporting=-1", "-d", "display_errors=stderr"]
    check = [program, "-l"]
    pool_hears_sigterm = False


    odd = {
        "unknown": "function handle(Job $job): ?array { return ['outcome' => 'failed']; }\n",
        "error": "function handle(Job $job): ?array { return ['outcome' => 'reject', 'reason' => new Exception('no such page')]; }\n",
        "raises": "function handle(Job $job): ?array { throw new RangeException('402 insufficient_funds'); }\n",
        "unwritable": "function handle(Job $job): ?array { return ['outcome' => 'done', 'n' => NAN]; }\n",
    }
    by_body = """function handle(Job $job)
{
    switch ($job->body) {
        case 'unknown': return ['outcome' => 'failed'];
        case 'no-outcome': return ['reason' => 'it failed'];
        case 'no-result': return false;
        case 'reason': return ['outcome' => 'reject', 'reason' => 'no such page: ' . str_repeat('7', 200)];
        case 'error': return ['outcome' => 'reject', 'reason' => new RangeException('no such page')];
        case 'raises': throw new RangeException('402 insufficient_funds');
        case 'percent': $job->tell(progress: 40, note: '40 %'); break;
        case 'extends': $job->tell(extend_ms: 60000); sleep(5);
    }
    return null;
}
"""


class Ruby:
    program, ending, strict = "ruby", "rb", ["-w"]
    check = [program, "-wc"]


    odd = {
        "unknown": "def handle(_job) = { outcome: 'failed' }\n",
        "error": "def handle(_job) = { outcome: 'reject', reason: RuntimeError.new('no such page') }\n",
        "raises": "def handle(_job) = raise(ArgumentError, '402 insufficient_funds')\n",
        "unwritable": "def handle(_job) = { outcome: 'done', n: Float::NAN }\n",
        "leaves": "def handle(_job) = raise(NotImplementedError, 'later')\n",
    }
    by_body = """def handle(job)
  case job.body
  when 'unknown' then return { outcome: 'failed' }
  when 'no-outcome' then return { reason: 'it failed' }
  when 'no-result' then return false
  when 'reason' then return { outcome: 'reject', reason: "no such page: #{'7' * 200}" }
  when 'error' then return { outcome: 'reject', reason: ArgumentError.new('no such page') }
  when 'raises' then raise ArgumentError, '402 insufficient_funds'
  when 'percent' then job.tell(progress: 40, note: '40 %')
  when 'extends'
    job.tell(extend_ms: 60_000)
    sleep 5
  end
  nil
end
"""


class Shell:
    program, ending, strict = "sh", "sh", []
    check = [program, "-n"]
    reasons_in_the_log = True  # its answers have the exit status
    backtraces = False
    odd = {}
    by_body = r"""handle() {
	case $(cat "$body") in
	unknown) exit 3 ;;
	no-outcome) false ;;
	no-result) return 7 ;;
	reason) exit_with_reason ;;
	error) fail 65 RangeError 'no such "page" \ 7' ;;
	raises) fail 1 RangeError '402 insufficient_funds' ;;
	percent) tell '"progress":40,"note":"40 %"' ;;
	extends)
		tell '"extend_ms":60000'
		sleep 5
		;;
	esac
}
exit_with_reason() { fail 65 '' "no such page: $(printf '7%.0s' $(seq 200))"; }
"""


class ExampleCase:
    at_once = 1
    pool_hears_sigterm = True
    reasons_in_the_log = False
    backtraces = True

    @classmethod
    def setUpClass(cls):
        if shutil.which(cls.program) is None:
            print(f"LOUD SKIP: no {cls.program}", flush=True)
            raise unittest.SkipTest(f"LOUD SKIP: no {cls.program}")
        super().setUpClass()

    def prints(self):
        """What the jobs have left: pairs of id and digest."""
        path = self.directory / "prints"
        return [tuple(line.rsplit(" ", 1)) for line in path.read_text().splitlines()] if path.exists() else []

    odd_path = None  # of another, for a while

    def handler(self, kind):
        return self.odd_path or HANDLERS / f"{kind}.{self.ending}"

    def write_handle(self, kind, name, text):
        """The part you copy, behind another that was written."""
        self.odd_path = None
        head, _, copied = re.split("(?m)(?=^.{1,2} --- the part you .*$)", self.handler(kind).read_text())
        path = self.directory / f"{name}-{kind}.{self.ending}"
        path.write_text(head + text + copied)
        path.chmod(0o755)
        self.odd_path = path


class Child:
    """A handler at the other end of pipes. Each line it says must be JSON that the worker would take."""

    def __init__(self, case, name, argv, environment, stdin, stdout=None, fds=()):
        self.case, self.lines, self.rubbish = case, [], []
        self.log_path = case.directory / f"{name}.log"
        environ = {"PATH": os.environ["PATH"], "FINGERPRINTS": str(case.directory / "prints")}
        environ["OUTFALL_TEST_SCRATCH"] = os.environ["OUTFALL_TEST_SCRATCH"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=stdin, stdout=stdout or log, stderr=log, pass_fds=fds,
                env=dict(environ, **environment), start_new_session=True,
            )  # fmt: skip
        case.addCleanup(self.end)

    def listen_to(self, pipe):
        def listen():
            with pipe:
                for line in pipe:
                    try:
                        self.lines.append(json.loads(line))
                    except ValueError:
                        self.rubbish.append(line)

        self.listener = threading.Thread(target=listen)
        self.listener.start()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def said(self, **facts):
        """Lines that have all these facts, and those that only have the key where it is `...`."""
        return [
            line for line in list(self.lines)
            if all(key in line and value in (..., line[key]) for key, value in facts.items())
        ]  # fmt: skip

    def wait_said(self, count=1, **facts):
        def there():
            found = self.said(**facts)
            over = self.process.poll() is not None and not self.listener.is_alive()
            if over and len(found) < count and len(self.said(**facts)) < count:
                raise AssertionError(f"it ended before it said {facts}: {self.lines[-3:]}\n{self.log()}")
            return found[count - 1] if len(found) >= count else None

        return wait_for(f"{facts}, having heard {self.lines[-3:]}", there)

    def wait_exit(self, seconds=30):
        code = self.process.wait(seconds * patience())
        self.listener.join()
        self.case.assertEqual(self.rubbish, [], "all it says is the protocol")
        return code

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class Pool(Child):
    def __init__(self, case, name="pool", environment=None):
        argv = [case.program, *case.strict, str(case.handler("pool"))]
        super().__init__(case, name, argv, environment or {}, subprocess.PIPE, subprocess.PIPE)
        self.listen_to(self.process.stdout)
        self.tell_raw = self.process.stdin

    def tell(self, body=b"", **line):
        self.tell_raw.write(json.dumps(line, ensure_ascii=False).replace('": ', '":').replace(', "', ',"').encode())
        self.tell_raw.write(b"\n" + body)
        self.tell_raw.flush()

    def give(self, job, body, checkpoint=None, **more):
        """As the worker writes it: the same keys in the same order."""
        line = {"type": "job", "id": job, "source": "cache", "queue": "jobs", "attempt": 1,
                "interruptions": 0, "crashes": 0, "redelivered": False, "timeout_ms": 0}  # fmt: skip
        line["bytes"] = len(body)
        if checkpoint is not None:
            line["checkpoint"] = checkpoint
        self.tell(body, **line, **more)

    def wait_result(self, job):
        return self.wait_said(type="result", id=job)

    def finish(self):
        """The end of its stdin is the end."""
        begun = time.monotonic()
        self.tell_raw.close()
        code = self.wait_exit()
        return code, time.monotonic() - begun


class Exec(Child):
    """With descriptors 3 and 4 as the worker gives them."""

    LAUNCH = (
        "import os, sys; take = int(sys.argv[1]), int(sys.argv[2]); os.dup2(take[0], 3); os.dup2(take[1], 4);"
        "os.closerange(5, 64); os.execvp(sys.argv[3], sys.argv[3:])"
    )

    def __init__(self, case, body, name="exec", environment=None, job="j1", checkpoint=None, **more):
        argv = [case.program, *case.strict, str(case.handler("exec"))]
        (told, self.tell_end), (self.say_end, says) = (self.high(os.pipe()), self.high(os.pipe()))
        launch = ["/usr/bin/python3", "-c", self.LAUNCH, str(told), str(says), *argv]
        stdin = case.directory / f"{name}.body"
        stdin.write_bytes(body)
        environ = dict(environment or {}, OUTFALL_JOB_ID=job, OUTFALL_ATTEMPT="1")
        with open(stdin, "rb") as file:
            super().__init__(case, name, launch, environ, file, fds=(told, says))
        os.close(told)
        os.close(says)
        self.listen_to(os.fdopen(self.say_end, "rb"))
        line = {"type": "job", "id": job, "queue": "jobs", "attempt": 1, "bytes": len(body)}
        if checkpoint is not None:
            line["checkpoint"] = checkpoint
        self.tell(**line, **more)

    @staticmethod
    def high(pipe):
        """Out of the way of 3 and 4."""
        moved = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in pipe)
        for fd in pipe:
            os.close(fd)
        return moved

    def tell(self, **line):
        os.write(self.tell_end, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def terminate(self):
        os.killpg(self.process.pid, signal.SIGTERM)

    def end(self):
        super().end()
        os.close(self.tell_end)


class OverPipes(ExampleCase):
    """No worker: what it would tell them, and what it would hear."""

    def setUp(self):
        self.directory = folder(self.id().split(".")[-1])

    def pool(self, name="pool", **environment):
        pool = Pool(self, name, environment)
        self.assertEqual(pool.wait_said(type="ready")["concurrency"], self.at_once)
        return pool

    def assert_progress(self, lines):
        done = [line["progress"] for line in lines if "progress" in line]
        self.assertEqual(done, sorted(done))
        self.assertEqual(done[-1], 1)
        self.assertGreaterEqual(done[0], 0)

    def assert_reason(self, child, result, words):
        self.assertIn(words, child.log() if self.reasons_in_the_log else result["reason"])

    # --- as text ----------------------------------------------------------------------------------

    def test_no_warnings(self):
        for kind in ("exec", "pool"):
            path = self.handler(kind)
            done = subprocess.run([*self.check, str(path)], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(os.access(path, os.X_OK))

    def test_the_part_you_write_is_the_same_in_both(self):
        def part(kind):
            return re.split("(?m)^.{1,2} --- the part you .*$", self.handler(kind).read_text())[1]

        self.assertEqual(part("exec"), part("pool"))
        self.assertIn("an empty body", part("exec"))

    # --- pool -------------------------------------------------------------------------------------

    def test_pool_bodies_of_any_bytes(self):
        bodies = {"a": AWKWARD, "b": b"\n", "c": b"x" * SLICE, "d": AWKWARD[::-1], "e": LONG}
        pool = self.pool()
        for job, body in bodies.items():
            pool.give(job, body)
            self.assertEqual(pool.wait_result(job)["outcome"], "done")
            self.assert_progress(pool.said(id=job))
        self.assertEqual(self.prints(), [(job, fingerprint(body)) for job, body in bodies.items()])
        code, seconds = pool.finish()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 2 * patience())
        # What handle() prints is in the log, where people look for it.
        self.assertIn(f"a: {len(AWKWARD)} bytes, from byte 0\n", pool.log())

    def test_pool_ids_and_headers_of_any_kind(self):
        jobs = ['q"uo\\te', "grün 😀", 'x","bytes":3', "%s %d $(id) `id`", "123", '","source":"', "a}b\\n"]
        own = {"checkpoint": "65536 false", "bytes": 7, "id": "z", 'k"': ['","checkpoint":"1 x"']}
        pool = self.pool()
        for job in jobs:
            pool.give(job, AWKWARD, properties=own, headers=own)
            self.assertEqual(pool.wait_result(job)["outcome"], "done", pool.log())
        self.assertEqual([digest for _, digest in self.prints()], [fingerprint(AWKWARD)] * len(jobs))
        self.assertEqual(pool.finish()[0], 0)

    def test_pool_rejects_and_goes_on(self):
        pool = self.pool()
        pool.give("empty", b"")
        result = pool.wait_result("empty")
        self.assertEqual(result["outcome"], "reject")
        self.assert_reason(pool, result, "an empty body has no fingerprint")
        pool.give("next", AWKWARD)
        self.assertEqual(pool.wait_result("next")["outcome"], "done")
        self.assertEqual(pool.finish()[0], 0)

    def test_pool_retries_after_an_exception(self):
        prints = self.directory / "later" / "prints"
        pool = self.pool(FINGERPRINTS=str(prints))
        pool.give("a", AWKWARD)
        result = pool.wait_result("a")
        self.assertEqual(result["outcome"], "retry")
        self.assertTrue(result["reason"])
        prints.parent.mkdir()
        pool.give("a", AWKWARD)
        self.assertEqual(pool.wait_said(2, type="result", id="a")["outcome"], "done")
        self.assertEqual(prints.read_text(), f"a {fingerprint(AWKWARD)}\n")
        self.assertEqual(pool.finish()[0], 0)

    def assert_returned(self, result, pool, job="a"):
        """Left a checkpoint in the middle; the checkpoint."""
        self.assertEqual(result["outcome"], "return")
        checkpoint = pool.said(id=job, checkpoint=...)[-1]["checkpoint"]
        at = int(checkpoint.split()[0])
        self.assertEqual(checkpoint, checkpoint_of(LONG, at // SLICE))
        self.assertLess(at, len(LONG))
        self.assertEqual(self.prints(), [])
        return checkpoint

    def test_pool_cancelled_leaves_a_checkpoint_and_continues(self):
        pool = self.pool("first", **SLOW)
        pool.give("a", LONG)
        pool.wait_said(2, id="a", progress=...)
        pool.tell(type="cancel", notice="cancel", id="a", reason="drain")
        checkpoint = self.assert_returned(pool.wait_result("a"), pool)
        self.assertGreater(int(checkpoint.split()[0]), 0)
        self.assertEqual(pool.finish()[0], 0)
        second = self.pool("second")
        second.give("a", LONG, checkpoint)
        self.assertEqual(second.wait_result("a")["outcome"], "done")
        self.assertEqual(self.prints(), [("a", fingerprint(LONG))])
        self.assertIn(f"from byte {checkpoint.split()[0]}\n", second.log())
        self.assertEqual(len(second.said(id="a", progress=...)), SLICES - int(checkpoint.split()[0]) // SLICE)

    def test_pool_returned_before_its_first_slice(self):
        first = self.pool("first")
        first.tell(type="drain", notice="drain", remaining_ms=0)
        first.give("a", LONG)
        checkpoint = self.assert_returned(first.wait_result("a"), first)
        self.assertEqual(checkpoint, "0 ")
        second = self.pool("second")
        second.give("a", LONG, checkpoint)
        self.assertEqual(second.wait_result("a")["outcome"], "done")
        self.assertEqual(self.prints(), [("a", fingerprint(LONG))])

    def test_pool_a_cancel_is_for_one_run(self):
        """It may come too late, and the job may come again."""
        pool = self.pool()
        for count in (1, 2):
            pool.give("a", AWKWARD)
            self.assertEqual(pool.wait_said(count, type="result", id="a")["outcome"], "done")
            pool.tell(type="cancel", notice="cancel", id="a", reason="timeout")
            pool.tell(type="cancel", notice="cancel", id="stranger", reason="timeout")
        self.assertEqual(pool.finish()[0], 0)

    def test_pool_knows_the_time_left_in_a_drain(self):
        """Time enough: it goes on. None any more: it gives back without being asked."""
        pool = self.pool(**SLOW)
        pool.give("a", LONG)
        pool.tell(type="drain", notice="drain")
        pool.tell(type="drain", notice="drain", remaining_ms=60000)
        heard = len(pool.said(id="a", progress=...))
        pool.wait_said(heard + 3, id="a", progress=...)
        pool.tell(type="drain", notice="drain", remaining_ms=10)
        self.assert_returned(pool.wait_result("a"), pool)
        self.assertEqual(pool.finish()[0], 0)

    def test_pool_unknown_notices_are_skipped(self):
        pool = self.pool()
        pool.tell(type="news", id="a")
        pool.give("a", AWKWARD)
        self.assertEqual(pool.wait_result("a")["outcome"], "done")
        self.assertEqual(pool.finish()[0], 0)

    def test_pool_finishes_what_runs_at_the_end_of_stdin(self):
        pool = self.pool(**SLOW)
        pool.give("a", AWKWARD)
        pool.wait_said(id="a", progress=...)
        self.assertEqual(pool.finish()[0], 0)
        self.assertEqual(pool.wait_result("a")["outcome"], "done")

    def test_pool_does_not_run_half_a_body(self):
        pool = self.pool()
        pool.tell_raw.write(b'{"type":"job","id":"a","source":"s","bytes":100}\nfifty')
        self.assertEqual(pool.finish()[0], 0)
        self.assertEqual((pool.said(type="result"), self.prints()), ([], []))

    def test_pool_ends_at_sigterm(self):
        pool = self.pool()
        pool.process.send_signal(signal.SIGTERM)
        self.assertEqual(pool.wait_exit(), 0 if self.pool_hears_sigterm else -signal.SIGTERM)

    def test_pool_returns_what_runs_at_sigterm(self):
        if not self.pool_hears_sigterm:
            self.skipTest("this one ends by it")
        pool = self.pool(**SLOW)
        pool.give("a", LONG)
        pool.wait_said(2, id="a", progress=...)
        pool.process.send_signal(signal.SIGTERM)
        self.assertEqual(pool.wait_exit(), 0)
        self.assert_returned(pool.wait_result("a"), pool)

    def test_pool_as_many_at_once_as_it_says(self):
        pool = self.pool(**SLOW)
        jobs = [f"j{n}" for n in range(self.at_once)]
        for job in jobs:
            pool.give(job, LONG)
        for job in jobs:
            pool.wait_said(id=job, progress=...)
        self.assertEqual(pool.said(type="result"), [])
        pool.tell(type="cancel", notice="cancel", id=jobs[0], reason="timeout")
        self.assert_returned(pool.wait_result(jobs[0]), pool, jobs[0])
        for job in jobs[1:]:  # the others run on
            heard = len(pool.said(id=job, progress=...))
            pool.wait_said(heard + 1, id=job, progress=...)
            pool.tell(type="cancel", notice="cancel", id=job, reason="timeout")
            self.assert_returned(pool.wait_result(job), pool, job)
        self.assertEqual(pool.finish()[0], 0)

    # --- what handle() should not do --------------------------------------------------------------

    def write_odd(self, kind, name):
        self.write_handle(kind, name, self.odd[name])

    def test_pool_answers_whatever_handle_does(self):
        for name in self.odd:
            with self.subTest(name):
                self.write_odd("pool", name)
                pool = self.pool(name)
                pool.give("a", b"x")
                result = pool.wait_result("a")
                pool.give("b", b"x")
                pool.wait_result("b")  # it goes on
                self.assertEqual(pool.finish()[0], 0)
                self.assertNotEqual(result["outcome"], "done")
                if name == "error":
                    self.assertEqual(result["outcome"], "reject")
                    self.assertIn("no such page", result["reason"])
                if name == "raises":
                    self.assert_error(result["error"])

    def assert_error(self, error):
        self.assertRegex(error["class"], "^(Value|Range|Argument)(Error|Exception)$")
        self.assertIn("402 insufficient_funds", error["message"])
        self.assertTrue(error["backtrace"])
        self.assertTrue(all(isinstance(line, str) for line in error["backtrace"]))

    def test_exec_is_never_done_by_mistake(self):
        for name in set(self.odd) & {"unknown", "raises"}:
            with self.subTest(name):
                self.write_odd("exec", name)
                child = Exec(self, b"x", name)
                self.assertNotIn(child.wait_exit(), (0, 65))
                if name == "raises":
                    self.assert_error(child.said(error=...)[-1]["error"])

    # --- exec -------------------------------------------------------------------------------------

    def test_exec_bodies_of_any_bytes(self):
        for count, body in enumerate((AWKWARD, b"\n", AWKWARD[::-1])):
            child = Exec(self, body, f"exec{count}", job=f"j{count}", headers={"checkpoint": "1 x"})
            self.assertEqual(child.wait_exit(), 0, child.log())
            self.assertEqual(self.prints()[-1], (f"j{count}", fingerprint(body)))
            self.assert_progress(child.lines)

    def test_exec_by_hand(self):
        """Neither 3 nor 4 is there, and no environment of the worker's."""
        done = subprocess.run(
            [self.program, *self.strict, str(self.handler("exec"))],
            input=AWKWARD, capture_output=True, timeout=20 * patience(),
            env={"PATH": os.environ["PATH"], "FINGERPRINTS": str(self.directory / "prints")},
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(self.prints(), [("by-hand", fingerprint(AWKWARD))])

    def test_exec_without_descriptors(self):
        """The worker's environment, but nothing on 3 and 4."""
        done = subprocess.run(
            [self.program, *self.strict, str(self.handler("exec"))],
            input=AWKWARD, capture_output=True, timeout=20 * patience(),
            env={"PATH": os.environ["PATH"], "FINGERPRINTS": str(self.directory / "prints"),
                 "OUTFALL_JOB_ID": "j1"},
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual([digest for _, digest in self.prints()], [fingerprint(AWKWARD)])

    def test_exec_rejects(self):
        child = Exec(self, b"")
        self.assertEqual(child.wait_exit(), 65)
        self.assertIn("an empty body has no fingerprint", child.log())

    def test_exec_retries_after_an_exception(self):
        child = Exec(self, AWKWARD, environment={"FINGERPRINTS": str(self.directory / "none" / "x")})
        self.assertNotIn(child.wait_exit(), (0, 65))

    def test_exec_asked_to_stop_leaves_a_checkpoint_and_continues(self):
        child = Exec(self, LONG, "first", SLOW)
        child.wait_said(2, progress=...)
        self.assertIn("j1: ", child.log(), "its prints do not wait for its end")
        child.terminate()
        self.assertEqual(child.wait_exit(), 75)
        [said] = child.said(checkpoint=...)
        at = int(said["checkpoint"].split()[0])
        self.assertGreater(at, 0)
        self.assertEqual(said["checkpoint"], checkpoint_of(LONG, at // SLICE))
        self.assertEqual(self.prints(), [])
        second = Exec(self, LONG, "second", checkpoint=said["checkpoint"])
        self.assertEqual(second.wait_exit(), 0)
        self.assertIn(f"from byte {at}\n", second.log())
        self.assertEqual(self.prints(), [("j1", fingerprint(LONG))])


class OnWorker(ExampleCase):
    """The worker and a broker, as people run them: by its name, with its #! line."""

    # Running jobs have 2.5 s of it: some slices, far from all, which would take 8 s.
    DRAIN = 'timeout = "4s"  reserve = "500ms"  grace = "1s"'
    SLOWER = {"WORK_SECONDS": "0.4"}

    def start_handler(self, kind, drain='timeout = "30s"', **environment):
        handler = f'handler "h" {{ type = "{kind}"  command = {{"{self.handler(kind)}"}} }}\n'
        environment["FINGERPRINTS"] = str(self.directory / "prints")
        return self.start(self.config(self.queue.section(), handler, drain=drain), environment)

    def wait_prints(self, count):
        wait_for(f"{count} fingerprints", lambda: len(self.prints()) >= count, 60)

    def bytes_begun_at(self, worker):
        """From which byte on, each time it began."""
        return [int(n) for n in re.findall(r"bytes, from byte (\d+)", worker.log_text())]

    def does_jobs(self, kind):
        bodies = [b"job %d " % n + AWKWARD for n in range(20)]
        self.queue.publish([*bodies, b""])
        worker = self.start_handler(kind)
        self.wait_prints(20)
        wait_for("the empty one to be dead", lambda: self.queue.dead_depth() == 1)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], 20)
        self.assertCountEqual([digest for _, digest in self.prints()], map(fingerprint, bodies))
        self.assertEqual(self.queue.depth(), 0)

    def is_interrupted_and_continued(self, kind):
        self.queue.publish([LONG])
        first = self.start_handler(kind, self.DRAIN, **self.SLOWER)
        wait_for("it to begin", lambda: self.bytes_begun_at(first))
        # A pool knows the deadline, and may be before the worker who asks (then it is 0).
        self.assertIn(first.stop()[0], (0, 10) if kind == "pool" else (10,))
        self.assertEqual(first.report()["fates"]["returned"], 1, first.report())
        self.assertEqual(self.prints(), [])
        second = self.start_handler(kind)
        self.wait_prints(1)
        self.assertEqual(second.stop()[0], 0)
        self.assertEqual([digest for _, digest in self.prints()], [fingerprint(LONG)])
        [at] = self.bytes_begun_at(second)
        self.assertGreater(at, 0)

    def notes_of_dead(self):
        """By their bodies."""
        bodies = [body.decode() for body in self.queue.client.lrange("{jobs}:dead", 0, -1)]
        return dict(zip(bodies, map(json.loads, self.queue.client.lrange("{jobs}:dead:notes", 0, -1))))

    def says_why(self, kind):
        """Whatever handle() does: what makes no sense is no success, and why it failed is told whole."""
        dead = "unknown", "no-outcome", "no-result", "reason", "error", "raises"
        self.write_handle(kind, "by-body", self.by_body)
        self.queue.publish([*dead, "percent", "extends"])
        retry = 'retry "default" { attempts = 1 }\n'
        handler = f'handler "h" {{ type = "{kind}"  command = {{"{self.handler(kind)}"}}  timeout = "4s" }}\n'
        worker = self.start(self.config(self.queue.section(), handler, retry, concurrency=2))
        wait_for("all to end", lambda: len(worker.events("job settled")) == len(dead) + 2, 60)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], 2)  # whatever its progress, and beyond its timeout
        notes = self.notes_of_dead()
        self.assertCountEqual(notes, dead)
        self.assertEqual(notes["reason"]["reason"], "no such page: " + "7" * 200)
        for body, message in ("error", "no such \"?page"), ("raises", "402 insufficient_funds"):
            error = notes[body]["error"]
            self.assertRegex(error["class"], "^(Value|Range|Argument)(Error|Exception)$")
            self.assertRegex(error["message"], f"^{message}")
        if self.backtraces:
            self.assertTrue(notes["raises"]["error"]["backtrace"])
            for body in "unknown", "no-outcome", "no-result":
                self.assertIn("handle() returned", notes[body]["reason"])
        return notes

    def test_exec_says_why(self):
        self.says_why("exec")

    def test_pool_says_why(self):
        self.says_why("pool")

    def test_exec_does_jobs(self):
        self.does_jobs("exec")

    def test_exec_is_interrupted_and_continued(self):
        self.is_interrupted_and_continued("exec")

    def test_pool_does_jobs(self):
        self.does_jobs("pool")

    def test_pool_is_interrupted_and_continued(self):
        self.is_interrupted_and_continued("pool")


class PythonOverPipes(Python, OverPipes, unittest.TestCase):
    pass


class NodeOverPipes(Node, OverPipes, unittest.TestCase):
    pass


class PhpOverPipes(Php, OverPipes, unittest.TestCase):
    pass


class RubyOverPipes(Ruby, OverPipes, unittest.TestCase):
    pass


class ShellOverPipes(Shell, OverPipes, unittest.TestCase):
    pass


class PythonOnRedis(Python, OnWorker, RedisCase):
    pass


class PythonOnRabbit(Python, OnWorker, RabbitCase):
    def says_why(self, kind):
        self.skipTest("its notes are read on Redis")


class NodeOnRedis(Node, OnWorker, RedisCase):
    pass


class PhpOnRedis(Php, OnWorker, RedisCase):
    pass


class RubyOnRedis(Ruby, OnWorker, RedisCase):
    pass


class ShellOnRedis(Shell, OnWorker, RedisCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
