"""SIGKILL at random instants, again and again, with a worker started right after: nothing is lost,
and what ran twice was in flight. Then how a dead worker's Redis jobs come back."""

import random
import signal
import time
import unittest

from worker import RabbitCase, RedisCase, patience, wait_for

SEED = random.SystemRandom().randrange(1 << 30)
KILLS = 20


class CrashCases:
    def test_killed_twenty_times(self):
        chance = random.Random(SEED)
        count, concurrency, prefetch = 6000, 8, 50
        sent = [f"j{n}:ms:5" for n in range(count)]
        tags = [body.split(":")[0] for body in sent]
        self.queue.publish(sent)
        config = self.config(
            self.queue.section(extra=f"prefetch = {prefetch} {self.lease}"),
            self.plugin_handler(threads=concurrency),
            concurrency=concurrency,
            level="info",
        )
        kills = 0
        while kills < KILLS:
            done = len(self.record.ended())
            self.assertLess(done, count, f"all done after {kills} kills: not a test")
            worker = self.start(config)
            wait_for("jobs of this worker", lambda: len(self.record.ended()) > done, 60, 0.002)
            time.sleep(chance.random() * 0.12)  # a random instant is the point here
            worker.kill()
            kills += 1
        last = self.start(config)
        wait_for("every job", lambda: len(set(self.record.ended())) == count, 120)
        wait_for("nothing to be left", lambda: self.queue.depth() == 0, 60)
        self.assertEqual(last.stop()[0], 0)
        lost = set(tags) - set(self.record.ended())
        doubled = self.record.begun_twice()
        more = len(self.record.begun()) - count
        # In flight at a kill: running, or finished with the ack not yet proved to be there.
        allowed = kills * (concurrency + self.unproved)
        self.figure(
            f"{kills} kills, {count} jobs: lost {len(lost)}, run twice {len(doubled)} "
            f"({more / kills:.1f} runs too many for each kill, {allowed // kills} in flight; seed {SEED})"
        )
        self.assertEqual(lost, set(), f"seed {SEED}")
        self.assertLessEqual(more, allowed, f"seed {SEED}")


class RabbitCrashes(CrashCases, RabbitCase):
    lease = ""
    unproved = 25  # acks wait for half a prefetch at most


class RedisCrashes(CrashCases, RedisCase):
    lease = 'lease = "1s"'
    unproved = 64  # one batch of completions

    def start_two_jobs(self, lease="1s"):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(1, 9)])
        config = self.config(
            self.queue.section(extra=f'prefetch = 4 lease = "{lease}"'), concurrency=2
        )
        worker = self.start(config)
        self.record.wait_begun(2)
        return worker, config

    def test_another_worker_brings_them_back_once_at_the_head(self):
        dead, config = self.start_two_jobs()
        waiting = self.queue.depth()
        self.assertLess(waiting, 8)
        dead.kill()
        begun = time.monotonic()
        self.open_gate()
        helper = self.start(config)
        self.record.wait_ended(8)
        self.figure(f"lease 1 s: everything done {time.monotonic() - begun:.1f} s after the kill")
        self.assertLess(time.monotonic() - begun, 2 * 1.0 + 2 * patience())
        self.assertEqual(helper.stop()[0], 0)
        self.assertEqual(sorted(self.record.begun_twice()), ["j1", "j2"])
        self.assertEqual(self.record.ended_twice(), [])
        for tag in ("j1", "j2"):
            self.assertEqual(self.record.runs(tag)[1]["redelivered"], "1")

    def test_they_come_back_at_the_head_in_order(self):
        dead, _ = self.start_two_jobs()
        dead.kill()
        # Another worker on both lists, whose only place is soon taken by a job that waits: it watches
        # over leases, and has two of our jobs at most.
        self.queue.client.lpush("elsewhere", f"busy:gate:{self.gate()}")
        text = self.queue.section(extra='prefetch = 1  lease = "1s"').rstrip().removesuffix("}")
        text += '  list "elsewhere" { handler = "h" }\n}\n'
        watcher = self.start(self.config(text, concurrency=1))
        wait_for("the dead one's jobs to be back", lambda: self.queue.depth() >= 6)
        tags = [body.split(":")[0] for body in self.queue.waiting()]
        self.assertEqual(tags[0], "j1")
        self.assertEqual(tags, sorted(tags))
        self.open_gate()
        wait_for("everything to be done", lambda: len(set(self.record.ended())) == 9)
        self.assertEqual(watcher.stop()[0], 0)
        self.assertEqual(self.record.ended_twice(), [])

    def test_a_worker_that_lives_keeps_its_jobs(self):
        """Longer than the lease, and another worker is watching."""
        first, config = self.start_two_jobs(lease="1s")
        self.start(config.replace("prefetch = 4", "prefetch = 2"))
        self.record.wait_begun(4)
        # Renewals of two leases, seen by the clock of the broker.
        begun = time.monotonic()
        wait_for("three leases to pass", lambda: time.monotonic() - begun > 3, 10)
        self.open_gate()
        self.record.wait_ended(8)
        for worker in self.workers:
            self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), [])

    def test_a_worker_that_was_frozen_does_not_complete_what_is_not_its_own(self):
        """SIGSTOP past the lease: others run its jobs; awake again, it must notice."""
        frozen, config = self.start_two_jobs()
        frozen.send(signal.SIGSTOP)
        self.open_gate()
        helper = self.start(config)
        wait_for("all to be done", lambda: len(set(self.record.ended())) == 8)
        frozen.send(signal.SIGCONT)
        code, _ = frozen.stop()
        self.assertIn(code, (0, 11))
        self.assertEqual(helper.stop()[0], 0)
        self.assertEqual(self.queue.take_all(), [])
        self.assertEqual(self.queue.claimed(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
