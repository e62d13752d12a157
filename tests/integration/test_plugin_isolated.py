"""Plugins with isolate = true: they run in processes of ours that are not the worker's own, which may crash."""

import json
import os
import signal
import subprocess
import unittest
from pathlib import Path

from worker import BUILD, OUTFALL, PENDING, PLUGIN, RabbitCase, RedisCase, WorkerCase, patience, wait_for

# A crash that is asked for is none of a sanitizer's business.
UNREPORTED = {"ASAN_OPTIONS": "handle_segv=0:exitcode=0"}
HURRY = 'timeout = "1500ms" reserve = "300ms" grace = "300ms"'


class IsolatedCases:
    """A process of its own: what a plugin does to it costs the jobs begun there."""

    def start_isolated(self, *sections, path=PLUGIN, threads=4, processes=1, extra="", environment=None, **options):
        words = f'isolate = "true"  processes = {processes}  {extra}'
        handler = self.plugin_handler(path=path, threads=threads, extra=words)
        options.setdefault("concurrency", 64)
        queue = self.queue.section(extra="prefetch = 100")
        config = self.config(queue, handler, *sections, **options)
        return self.start(config, environment=environment)

    def pids(self):
        return {int(run["pid"]) for run in self.record.runs()}

    def stop_clean(self, worker, **since_start):
        self.assertEqual(worker.stop()[0], 0)
        for fate, count in since_start.items():
            self.assertEqual(worker.report()["since_start"][fate], count, fate)

    def test_jobs_run_elsewhere_and_all_is_as_usual(self):
        self.queue.publish(["a", "b:retry", "c:reject", "d:ms:10"] + [f"j{n}" for n in range(200)])
        retry = 'retry "default" { attempts = 2  first = "50ms" }\n'
        worker = self.start_isolated(retry, processes=2, extra='timeout = "70s"')
        wait_for("two dead", lambda: self.queue.dead_depth() == 2)
        self.record.wait_ended(202)
        self.stop_clean(worker, done=202, dead=2, retried=1)
        self.assertNotIn(worker.pid, self.pids())
        self.assertCountEqual(self.queue.take_dead(), ["b:retry", "c:reject"])
        [run] = self.record.runs("a")
        self.assertEqual(
            {key: run[key] for key in ("attempt", "interruptions", "redelivered", "queue", "source", "bytes", "timeout")},
            dict(attempt="1", interruptions="0", redelivered="0", queue=self.queue.name,
                 source=self.queue.source, bytes="1", timeout="70000"),
        )  # fmt: skip
        self.assertEqual([run["attempt"] for run in self.record.runs("b")], ["1", "2"])

    def test_large_and_strange_bodies_arrive_whole(self):
        bodies = [f"big{n}:done:" + "x" * n * 100_000 for n in range(1, 6)] + ["", "nl:done:\n\n{}\n"]
        self.queue.publish(bodies)
        worker = self.start_isolated()
        self.record.wait_ended(len(bodies))
        self.stop_clean(worker, done=len(bodies))
        self.assertCountEqual([int(run["bytes"]) for run in self.record.runs()], [len(b) for b in bodies])

    def test_a_crash_costs_the_jobs_begun_there(self):
        self.queue.publish([f"x:crash-once:{int(signal.SIGSEGV)}"] + [f"j{n}:ms:3" for n in range(300)])
        worker = self.start_isolated(threads=2, processes=2, environment=UNREPORTED)
        self.record.wait_ended(301)
        self.stop_clean(worker, done=301)
        runs = self.record.runs("x")
        self.assertEqual([(run["attempt"], run["crashes"]) for run in runs], [("1", "0"), ("2", "1")])
        # Beside it ran one other job at most; whoever had not begun there is not blamed.
        blamed = {run["id"] for run in self.record.runs() if run["crashes"] != "0"} - {runs[0]["id"]}
        self.assertLessEqual(len(blamed), 1)
        self.assertEqual(len(worker.events("process ended")) > 0, True)

    def test_what_crashes_again_and_again_is_dead(self):
        self.queue.publish([f"x:crash:{int(signal.SIGABRT)}", "a"])
        retry = 'retry "default" { attempts = 9  crashes = 2  first = "50ms" }\n'
        worker = self.start_isolated(retry, threads=1)
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1, 30)
        self.record.wait_ended(1, 30)
        self.stop_clean(worker, dead=1, done=1)
        self.assertEqual(len(self.record.runs("x")), 2)

    def test_killed_under_load_loses_nothing(self):
        self.queue.publish([f"j{n}:ms:5" for n in range(600)])
        worker = self.start_isolated(threads=4, processes=2, path=PLUGIN)
        for part in range(1, 4):
            self.record.wait_ended(part * 100)
            os.kill(int(self.record.runs()[-1]["pid"]), signal.SIGKILL)
        wait_for("every job", lambda: len(set(self.record.ended())) == 600, 60)
        wait_for("nothing to be left", lambda: self.queue.depth() == 0)
        self.assertEqual(worker.stop()[0], 0)
        # At most what was begun in a process that was killed.
        self.assertLessEqual(len(self.record.begun()), 600 + 3 * 4)

    def test_what_it_prints_is_logged_and_no_answer(self):
        forged = '{"type":"result","id":"1","outcome":"reject"}'
        self.queue.publish([f"a:say:{forged}", "b:say:hello from within"] + [f"j{n}" for n in range(50)])
        worker = self.start_isolated()
        self.record.wait_ended(52)
        for words in ("hello from within", "outcome"):
            wait_for("the line", lambda: any(words in e.get("line", "") for e in worker.events("handler wrote")))
        self.stop_clean(worker, done=52, dead=0)

    def test_a_drain_is_known_and_obeyed_there(self):
        for path, tag in ((PLUGIN, "a"), (PENDING, "b")):
            self.queue.publish([f"{tag}:watch"])
            worker = self.start_isolated(path=path, drain=HURRY)
            wait_for("it to begin", lambda: tag in self.record.begun())
            self.assertEqual(worker.stop()[0], 10)
            [left_ms] = [int(line.split()[2]) for line in self.record.lines() if line.startswith(f"left {tag}")]
            self.assertGreater(left_ms, 0)
            self.assertLessEqual(left_ms, 900)
            self.assertIn(f"stopped {tag}", self.record.lines())

    def test_a_stubborn_job_is_killed(self):
        """What a thread of the worker's own could not be."""
        self.queue.publish([f"a:stubborn:{self.gate()}"])
        worker = self.start_isolated(drain=HURRY)
        self.record.wait_begun(1)
        [pid] = self.pids()
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        self.assertLess(seconds, 1.5 + 0.5 * patience())
        self.assertFalse(Path(f"/proc/{pid}").exists())
        self.assertEqual(self.queue.take_all(), [f"a:stubborn:{self.gate()}"])

    def test_a_timeout_kills_it(self):
        self.queue.publish([f"a:stubborn:{self.gate()}"])
        retry = 'retry "default" { attempts = 1 }\n'
        worker = self.start_isolated(retry, extra='timeout = "200ms"', drain='timeout = "30s"  grace = "100ms"')
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker, dead=1)

    def test_checkpoints_and_progress_find_their_way(self):
        self.queue.publish(["a:leave:page 7 of 9"])
        worker = self.start_isolated(drain=HURRY)
        wait_for("it to leave one", lambda: "left a page 7 of 9" in self.record.lines())
        self.assertEqual(worker.stop()[0], 10)
        [progress] = worker.events("job progressed")
        self.assertEqual((progress["done"], progress["note"]), (0.5, "half"))
        worker = self.start_isolated()
        self.record.wait_ended(1)
        self.stop_clean(worker, done=1)
        self.assertIn("found a page 7 of 9", self.record.lines())

    def test_many_are_pending_at_once_there(self):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(40)])
        worker = self.start_isolated(path=PENDING, threads=1)
        self.record.wait_begun(32)
        self.open_gate()
        self.record.wait_ended(40)
        self.stop_clean(worker, done=40)

    def test_hooks_are_each_process_own(self):
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_isolated(threads=2, processes=3)
        worker.wait_event("process ready", 3)
        self.record.wait_begun(1)
        lines = self.record.lines()
        self.assertEqual([lines.count(v) for v in ("init", "thread-init")], [3, 6])
        worker.send(signal.SIGTERM)
        # Those that have nothing to do end at once, and in order.
        wait_for("two of them", lambda: self.record.lines().count("exit") == 2)
        self.assertEqual(self.record.lines().count("thread-exit"), 4)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        for event in worker.events("process ended"):
            self.assertEqual(event["by"], "status 0")

    def test_signals_to_all_processes_of_a_service_are_the_workers(self):
        """As systemd sends them with KillMode=control-group, or supervisord with stopasgroup."""
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_isolated()
        self.record.wait_begun(1)
        [pid] = self.pids()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTSTP):
            os.kill(pid, number)
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(self.record.ended(), ["a"])

    def test_it_ends_with_a_worker_that_is_killed(self):
        self.queue.publish([f"a:stubborn:{self.gate()}"])
        worker = self.start_isolated()
        self.record.wait_begun(1)
        [pid] = self.pids()
        worker.kill()
        wait_for("it to be gone", lambda: not Path(f"/proc/{pid}").exists())

    def test_what_can_never_be_loaded_keeps_the_worker_from_starting(self):
        plugin = BUILD / "tests" / "unit" / "executors" / "other_abi.so"
        worker = self.start_isolated(path=plugin)
        self.assertEqual(worker.wait_exit(), 78)
        [event] = worker.events("worker not started")
        self.assertRegex(event["why"], r'conf:\d+: handler "h": .*built for plugin ABI 4, this worker has 1 to 3')

    def test_a_failing_init_is_tried_again(self):
        config = self.config(
            self.queue.section(),
            self.plugin_handler(extra=f'isolate = "true"  environment = {{"OUTFALL_TEST_*", "PATH"}}'),
        )
        worker = self.start(config, environment={"OUTFALL_TEST_INIT_FAILS": "1"})
        wait_for("a second try", lambda: self.record.lines().count("init") >= 2)
        wait_for("the reason", lambda: "no such database" in worker.log_text())
        self.assertEqual(worker.stop()[0], 0)


class RabbitIsolated(IsolatedCases, RabbitCase):
    pass


class RedisIsolated(IsolatedCases, RedisCase):
    pass


class Process(WorkerCase):
    """The process by itself, spoken to by hand."""

    def converse(self, said, plugin=PLUGIN, **environment):
        words = [OUTFALL, "plugin-process", "h", plugin, 2, 0, 1000, 3]
        environment = dict(os.environ, OUTFALL_TEST_RECORD=str(self.record.path), **environment)
        return subprocess.run(
            [str(word) for word in words], input=said, capture_output=True, env=environment,
            timeout=60 * patience(),
        )  # fmt: skip

    def job(self, body, **facts):
        facts = dict(type="job", id="7", source="main", queue="q", attempt=1, bytes=len(body), **facts)
        return json.dumps(facts).encode() + b"\n" + body

    def answers(self, done):
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_it_ends_in_order_when_its_stdin_does(self):
        done = self.converse(self.job(b"a:ms:50"))
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        ready, result = self.answers(done)
        self.assertEqual(ready, {"type": "ready", "concurrency": 2})
        self.assertEqual(result, {"type": "result", "id": "7", "outcome": "done"})
        self.assertEqual([line.split()[0] for line in self.record.lines()][-3:], ["thread-exit"] * 2 + ["exit"])

    def test_what_it_says_comes_in_order(self):
        frames = self.job(b"a:leave:\xff\x01", crashes=3) + b'{"type":"cancel","id":"7","reason":"drain"}\n'
        ready, *said = self.answers(self.converse(frames))
        self.assertEqual(
            said,
            [
                {"type": "progress", "id": "7", "progress": 0.5, "note": "half"},
                {"type": "checkpoint", "id": "7", "checkpoint_base64": "/wE="},
                {"type": "result", "id": "7", "outcome": "return"},
            ],
        )
        frames = self.job(b"b:leave:x", checkpoint="page 7")
        self.assertEqual(self.answers(self.converse(frames))[1:], [{"type": "result", "id": "7", "outcome": "done"}])
        self.assertIn("found b page 7", self.record.lines())

    def test_what_no_worker_says_ends_it(self):
        done = self.converse(b"hello\n")
        self.assertEqual(done.returncode, 74)
        self.assertIn(b"no line of a worker", done.stderr)

    def test_a_failing_init_is_told(self):
        done = self.converse(b"", OUTFALL_TEST_INIT_FAILS="1")
        self.assertEqual((done.returncode, done.stdout), (78, b""))
        self.assertIn(b"init() failed: no such database", done.stderr)

    def test_it_is_nobody_elses_command(self):
        done = self.run_outfall("plugin-process")
        self.assertEqual((done.returncode, done.stdout), (64, ""))
        self.assertNotIn("plugin-process", self.run_outfall("--help").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
