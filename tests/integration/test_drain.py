"""The drain, signal by signal: what becomes of running, held and unbegun jobs, how long it takes,
what the exit code and the report say."""

import collections
import os
import signal
import time
import unittest

from brokers import Redis, RedisList
from worker import RabbitCase, RedisCase, patience, wait_for

TIGHT = 'timeout = "2s"  reserve = "500ms"  grace = "300ms"'


class DrainCases:
    """Hold for both sources."""

    def jobs(self, count, gate="gate", first=1, verb="gate"):
        return [f"j{n}:{verb}:{self.gate(gate)}" for n in range(first, first + count)]

    def start_with(self, count, verb="gate", running=2, **options):
        """A worker that runs two jobs, holds some, and leaves the rest in the queue."""
        self.queue.publish(self.jobs(count, verb=verb))
        options.setdefault("concurrency", running)
        worker = self.start(self.config(self.queue.section(extra="prefetch = 10"), **options))
        self.record.wait_begun(running)
        # Redis may count those ahead of the running ones, RabbitMQ counts both.
        wait_for("a full prefetch", lambda: self.queue.depth() <= max(0, count - 10))
        return worker

    def in_queue(self):
        wait_for("everybody to let go", self.all_back)
        return [body.split(":")[0] for body in self.queue.take_all()]

    def assert_in_queue(self, *numbers):
        self.assertEqual(self.in_queue(), [f"j{n}" for n in numbers])

    def assert_fates(self, worker, **expected):
        fates = worker.report()["fates"]
        self.assertEqual({k: v for k, v in fates.items() if v}, expected, worker.report())

    def test_idle(self):
        worker = self.start(self.config(self.queue.section()))
        self.wait_consuming(worker)
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.figure(f"SIGTERM to exit, idle: {seconds * 1000:.1f} ms")
        self.assertEqual(worker.report()["why"], "SIGTERM")
        self.assertEqual(worker.report()["exit_code"], 0)
        self.assert_fates(worker)
        self.assertLess(seconds, 1 * patience())

    def test_sigint_is_a_stop_too(self):
        worker = self.start(self.config(self.queue.section()))
        self.wait_consuming(worker)
        self.assertEqual(worker.stop(signal.SIGINT)[0], 0)
        self.assertEqual(worker.report()["why"], "SIGINT")

    def test_a_stop_before_the_worker_listens_is_not_lost(self):
        """SIGTERM is blocked by whoever starts the worker, and pending from its first moment."""
        early = (
            "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
            "os.kill(os.getpid(), signal.SIGTERM); os.execv(sys.argv[1], sys.argv[1:])"
        )
        wrapper = ["/usr/bin/python3", "-c", early]
        worker = self.start(self.config(self.queue.section()), wrapper=wrapper)
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(worker.report()["why"], "SIGTERM")

    def test_running_finish_held_and_unbegun_go_back(self):
        worker = self.start_with(30)
        untouched = self.queue.depth()
        worker.send(signal.SIGTERM)
        # At once, not at the end: both still run.
        wait_for("held jobs to be given back", lambda: self.queue.depth() == 28)
        self.assertEqual(self.record.ended(), [])
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertCountEqual(self.record.ended(), ["j1", "j2"])
        self.assertCountEqual(self.record.begun(), ["j1", "j2"])
        self.assert_fates(worker, done=2, returned=28 - untouched)
        jobs = worker.report()["jobs"]
        self.assertEqual(len(jobs), 2)
        for job in jobs:
            self.assertEqual(job["fate"], "done")
            self.assertEqual(job["queue"], self.queue.name)
            self.assertFalse(job["duplicate_possible"])
        self.assert_in_queue(*range(3, 31))

    def test_policy_return_interrupts_at_once(self):
        handler = self.exec_handler(extra='deadline = "return"')
        self.queue.publish(self.jobs(2, verb="gate"))
        worker = self.start(self.config(self.queue.section(), handler))
        self.record.wait_begun(2)
        code, seconds = worker.stop()
        self.assertEqual(code, 10)  # interrupted, though no deadline had come
        self.assertLess(seconds, 5 * patience())  # of the 30 s it could have taken
        self.assert_fates(worker, returned=2)
        self.assertCountEqual(self.in_queue(), ["j1", "j2"])  # each as it ended

    def test_policy_finish_is_not_asked_at_the_deadline(self):
        """Asked after a second it would be interrupted; left alone, it ends by itself before the kill."""
        handler = self.exec_handler(extra='deadline = "finish"')
        drain = 'timeout = "20s"  reserve = "1s"  grace = "18s"'  # asked after 1 s
        self.queue.publish([f"j1:gate:{self.gate()}"])
        worker = self.start(self.config(self.queue.section(), handler, drain=drain))
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        moved = lambda: [event["to"] for event in worker.events("drain moved")]
        wait_for("the deadline", lambda: "hurrying" in moved())
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assert_fates(worker, done=1)
        self.assertEqual(self.record.ended(), ["j1"])

    def test_given_back_unbegun_is_no_attempt(self):
        worker = self.start_with(6)
        worker.send(signal.SIGTERM)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        again = self.start(self.config(self.queue.section()))
        self.record.wait_ended(6)
        self.assertEqual(again.stop()[0], 0)
        self.assertEqual(len(self.record.begun()), 6)
        for run in self.record.runs():
            self.assertEqual(run["attempt"], "1")
            if self.interruptions_are_exact:
                self.assertEqual(run["interruptions"], "0")

    def test_deadline_interrupts_and_returns(self):
        worker = self.start_with(5, drain=TIGHT)
        code, seconds = worker.stop()
        self.figure(f"timeout 2 s, handlers that never end: exit after {seconds:.2f} s")
        self.assertEqual(code, 10)
        self.assertGreater(seconds, 1.0)
        self.assertLess(seconds, 2.1 if patience() == 1 else 2 + 2 * patience())
        self.assert_fates(worker, returned=5)
        jobs = worker.report()["jobs"]
        self.assertEqual([job["fate"] for job in jobs], ["returned", "returned"])
        self.assertEqual([job["duplicate_possible"] for job in jobs], [True, True])
        # Interrupted jobs run again, uncounted but marked.
        self.open_gate()
        again = self.start(self.config(self.queue.section()))
        self.record.wait_ended(5)
        self.assertEqual(again.stop()[0], 0)
        for tag in ("j1", "j2"):
            first, second = self.record.runs(tag)
            self.assertEqual((second["attempt"], second["interruptions"]), ("1", "1"))
            self.assertEqual(second["redelivered"], "1")
            self.assertEqual(first["interruptions"], "0")
        self.assertEqual(self.record.ended_twice(), [])

    def test_deaf_handler_is_killed_after_grace(self):
        worker = self.start_with(2, verb="deaf", drain=TIGHT)
        wait_for("deafness", lambda: len(self.record._of("deaf")) == 2)
        pids = [int(run["pid"]) for run in self.record.runs()]
        self.assertEqual(worker.stop()[0], 10)
        for pid in pids:
            self.assertFalse(alive(pid), f"handler {pid} outlived the worker")
        self.assert_fates(worker, returned=2)

    def test_second_signal_hurries(self):
        worker = self.start_with(5, drain='timeout = "60s"  grace = "300ms"')
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")  # a second has passed: no echo any more
        code, seconds = worker.stop()
        self.figure(f"second SIGTERM to exit: {seconds * 1000:.0f} ms")
        self.assertEqual(code, 12)
        self.assertLess(seconds, 5 * patience())
        self.assert_fates(worker, returned=5)
        self.assertEqual(self.in_queue(), ["j1", "j2", "j3", "j4", "j5"])

    def test_a_log_that_may_not_grow(self):
        """stderr is a file at its limit (RLIMIT_FSIZE): lines are lost, jobs are not."""
        script = f"seq 1 1000; echo end x >> {self.record.path}"
        self.queue.publish(["x"] * 20)
        handler = self.exec_handler(command=["/bin/sh", "-c", script])
        worker = self.start(
            self.config(self.queue.section(), handler), wrapper=["prlimit", "--fsize=50000", "--"]
        )
        self.record.wait_ended(20)
        self.assertEqual(worker.stop()[0], 0)
        self.assertGreater(len(worker.log_text()), 50000 - 4096)

    def test_double_signal_counts_once(self):
        worker = self.start_with(3)
        worker.send(signal.SIGTERM)
        wait_for("the first to be seen", lambda: worker.events("drain moved"))
        worker.send(signal.SIGTERM)
        worker.wait_event("stop ignored, it came within a second of the last")
        worker.wait_event("draining")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assert_fates(worker, done=2, returned=1)

    def test_sigquit_returns_at_once(self):
        worker = self.start_with(5, drain='timeout = "60s"  grace = "30s"')
        code, seconds = worker.stop(signal.SIGQUIT)
        self.figure(f"SIGQUIT to exit: {seconds * 1000:.0f} ms")
        self.assertEqual(code, 12)
        self.assertLess(seconds, 3 * patience())
        self.assert_fates(worker, returned=5)
        self.assertCountEqual(self.in_queue(), ["j1", "j2", "j3", "j4", "j5"])

    def test_progress_names_what_is_in_the_way(self):
        worker = self.start_with(2)
        worker.send(signal.SIGTERM)
        line = worker.wait_event("draining", count=2)
        self.assertIn(self.queue.name, line["waiting_for"])
        self.assertIn("2 running", line["waiting_for"])
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)

    def test_quiet_and_resume(self):
        worker = self.start_with(12)
        worker.send(signal.SIGTSTP)
        wait_for("held jobs to be given back", lambda: self.queue.depth() == 10)
        self.open_gate()
        self.record.wait_ended(2)
        # Running jobs are settled while quiet, and nothing follows them.
        wait_for("both to be settled", lambda: self.settled_all_but(10))
        self.queue.publish(self.jobs(1, first=13))
        wait_for("the new job to wait", lambda: self.queue.depth() == 11)
        self.assertCountEqual(self.record.begun(), ["j1", "j2"])
        self.assertIsNone(worker.process.poll())
        worker.send(signal.SIGCONT)
        self.record.wait_ended(13)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), [])

    def test_quiet_and_resume_many_times(self):
        self.open_gate()
        worker = self.start(self.config(self.queue.section(extra="prefetch = 5")))
        for number in range(20):
            self.queue.publish([f"r{number}-{n}" for n in range(20)])
            worker.send(signal.SIGTSTP)
            worker.send(signal.SIGCONT)
        self.record.wait_ended(400)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), [])

    def test_stop_while_quiet(self):
        worker = self.start_with(6)
        worker.send(signal.SIGTSTP)
        wait_for("held jobs to be given back", lambda: self.queue.depth() == 4)
        worker.send(signal.SIGTERM)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assert_in_queue(3, 4, 5, 6)

    def test_a_stop_right_after_the_start(self):
        """While it still reads its configuration, connects, logs in: it ends, at any moment."""
        self.queue.publish(["a"])
        codes = collections.Counter()
        for number in range(20):
            worker = self.start(self.config(self.queue.section()))
            time.sleep(number * 0.0005 * patience())
            codes[worker.stop()[0]] += 1
            self.assertLessEqual(len(self.record.begun()), 1)
        # Before main() runs nobody can listen, and the kernel ends it; nothing was taken then.
        self.figure(f"20 stops within 10 ms: exit codes {dict(codes)}")
        self.assertLessEqual(set(codes), {0, -signal.SIGTERM})
        wait_for("everybody to let go", self.all_back)
        self.assertCountEqual(self.record.ended() + self.queue.take_all(), ["a"])

    def test_signal_to_the_whole_group_spares_jobs(self):
        worker = self.start_with(2)
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait_event("draining")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertCountEqual(self.record.ended(), ["j1", "j2"])
        self.assert_fates(worker, done=2)

    def test_jobs_die_with_a_killed_worker(self):
        worker = self.start_with(2)
        pids = [int(run["pid"]) for run in self.record.runs()]
        worker.kill()
        wait_for("handlers to die with the worker", lambda: not any(map(alive, pids)))

    def test_plugin_is_asked_and_returns(self):
        worker = self.start_plugin(6, "gate", drain=TIGHT)
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        self.assertLess(seconds, 2 + patience())
        self.assertCountEqual(self.record._of("stopped"), ["j1", "j2"])
        self.assert_fates(worker, returned=6)
        self.assertCountEqual(self.in_queue(), [f"j{n}" for n in range(1, 7)])

    def test_plugin_that_never_returns_does_not_hold_the_exit(self):
        worker = self.start_plugin(3, "stubborn", drain=TIGHT)
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        self.assertLess(seconds, 2 + patience())
        self.assert_fates(worker, returned=3)
        self.assertCountEqual(self.in_queue(), ["j1", "j2", "j3"])

    def test_plugin_staged_jobs_are_not_begun(self):
        worker = self.start_plugin(40, "gate")
        worker.send(signal.SIGTERM)
        wait_for("held and staged to go back", lambda: self.queue.depth() == 38)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertCountEqual(self.record.begun(), ["j1", "j2"])
        self.assert_in_queue(*range(3, 41))

    def start_plugin(self, count, verb, **options):
        self.queue.publish(self.jobs(count, verb=verb))
        worker = self.start(
            self.config(
                self.queue.section(extra="prefetch = 10"), self.plugin_handler(threads=2), **options
            )
        )
        self.record.wait_begun(2)
        return worker


class RabbitDrain(DrainCases, RabbitCase):
    def test_many_queues_on_one_connection(self):
        others = []
        text = self.queue.section(extra="prefetch = 3").rstrip().rstrip("}")
        for n in range(20):
            name = f"extra{n}"
            self.queue.channel.queue_declare(name, durable=True)
            text += f'  queue "{name}" {{ handler = "h" }}\n'
            others.append(name)
        worker = self.start(self.config(text + "}\n"))
        for name in others:
            self.queue.channel.basic_publish("", name, f"{name}:done")
        self.record.wait_ended(20)
        self.assertEqual(worker.stop()[0], 0)
        self.assertCountEqual(self.record.ended(), others)

    def test_drain_without_limit_waits(self):
        worker = self.start_with(2, drain='timeout = "none"')
        worker.send(signal.SIGTERM)
        worker.wait_event("draining", count=2)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assert_fates(worker, done=2)


class RedisDrain(DrainCases, RedisCase):
    pass


class BothBrokersDrain(RabbitCase):
    """One worker, one queue of each kind: neither waits for the other."""

    def test_each_gives_back_and_finishes(self):
        redis = Redis()
        self.addCleanup(redis.stop)
        listed = RedisList(redis, "listed")
        self.queue.publish([f"m{n}:gate:{self.gate()}" for n in range(20)])
        listed.publish([f"r{n}:gate:{self.gate()}" for n in range(20)])
        worker = self.start(
            self.config(
                self.queue.section(extra="prefetch = 10  concurrency = 2"),
                listed.section(extra="prefetch = 10  concurrency = 2"),
            )
        )
        self.record.wait_begun(4)
        worker.send(signal.SIGTERM)
        wait_for("both to be given back", lambda: (self.queue.depth(), listed.depth()) == (18, 18))
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertCountEqual(self.record.ended(), ["m0", "m1", "r0", "r1"])
        sources = [(job["source"], job["queue"], job["fate"]) for job in worker.report()["jobs"]]
        expected = [("mq", "jobs", "done")] * 2 + [("cache", "listed", "done")] * 2
        self.assertCountEqual(sources, expected)
        self.assertEqual([body.split(":")[0] for body in listed.take_all()],
                         [f"r{n}" for n in range(2, 20)])  # fmt: skip


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    unittest.main(verbosity=2)
