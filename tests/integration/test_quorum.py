"""Quorum queues, whose word is their leader's and not the channel's: a leader that stands still while jobs run,
while the worker drains, when retries fall due. And workers that are killed at random instants."""

import random
import signal
import time
import unittest

from worker import RabbitCase, RabbitQueue, patience, wait_for

STALL_S = 4  # the broker itself gives up asking a leader after 250 ms
SEED = random.SystemRandom().randrange(1 << 30)


def tags_of(bodies):
    return {body.split(":")[0] for body in bodies}


class QuorumCase(RabbitCase):
    def setUp(self):
        super().setUp()
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "quorum", {"x-queue-type": "quorum"})
        self.addCleanup(self.queue.close)

    def stalled(self, *queues, seconds=STALL_S):
        return self.broker.leader_stalled(self.queue.vhost, *(queues or ["quorum"]), seconds=seconds)

    def assert_each_ended_once(self, bodies):
        wait_for("every job to end", lambda: set(self.record.ended()) >= tags_of(bodies), 60)
        wait_for("an empty queue", lambda: self.queue.depth() == 0)
        self.assertEqual(self.record.ended_twice(), [])


class StallingLeader(QuorumCase):
    def test_in_the_middle_of_the_work(self):
        """Nothing happens but that it takes longer, not even to the jobs of another queue."""
        beside = RabbitQueue(self.broker, self.queue.vhost, "beside")
        self.addCleanup(beside.close)
        section = (
            f'rabbitmq "mq" {{ url = "{self.queue.url()}"  consumer_check = "1s"\n'
            '  queue "quorum" { handler = "h"  prefetch = 20 }\n  queue "beside" { handler = "h" } }\n'
        )
        jobs = [f"q{n}:ms:50" for n in range(200)]
        long = [f"b{n}:gate:{self.gate()}" for n in range(2)]
        beside.publish(long)
        self.queue.publish(jobs, ids=True)
        worker = self.start(self.config(section, self.plugin_handler(threads=8), concurrency=8))
        self.record.wait_ended(20)
        with self.stalled():
            pass
        self.open_gate()
        self.assert_each_ended_once(jobs + long)
        self.assertEqual(worker.stop()[0], 0)
        self.assertNotIn(", reconnecting", worker.log_text())

    def drain_while_it_stalls(self, timeout_s, stall_s):
        """The jobs end one by one meanwhile. The channel hands on 32 acknowledgements at most that the leader has not
        applied, and keeps the others to itself."""
        jobs = [f"j{n}:gate:{self.gate(f'gate{n}')}" for n in range(100)]
        self.queue.publish(jobs, ids=True)
        worker = self.start(self.config(
            self.queue.section(extra='prefetch = 100  single_active = "false"'), self.plugin_handler(threads=100), concurrency=100,
            drain=f'timeout = "{timeout_s}s"  reserve = "1s"  grace = "500ms"',
        ))  # fmt: skip
        self.record.wait_begun(100)
        with self.stalled(seconds=stall_s):
            begun = time.monotonic()
            worker.send(signal.SIGTERM)
            worker.wait_event("drain moved")
            for n in range(100):
                self.open_gate(f"gate{n}")
                self.record.wait_ended(n + 1)
            code = worker.wait_exit(timeout_s + 10)
            self.took_s = time.monotonic() - begun
        self.assertLess(self.took_s, timeout_s + 1.5 * patience())
        wait_for("everybody to let go", self.all_back, 60)
        wait_for("nothing to be unacked", lambda: self.queue.unacked() == 0)
        return worker, code, tags_of(self.queue.take_all())

    def test_in_the_drain_and_goes_on_in_time(self):
        worker, code, left = self.drain_while_it_stalls(timeout_s=20, stall_s=8)
        self.figure(f"exit {code} after {self.took_s:.1f} s, {len(left)} of 100 left")
        self.assertEqual((code, left), (0, set()))

    def test_in_the_drain_and_not_before_its_end(self):
        """What the leader has not confirmed is not called settled."""
        worker, code, left = self.drain_while_it_stalls(timeout_s=4, stall_s=12)
        report = worker.report()
        self.figure(f"exit {code} after {self.took_s:.1f} s, {len(left)} of 100 left, {report['fates']['unsettled']} unsettled")
        self.assertEqual(code, 11)
        self.assertGreaterEqual(report["fates"]["unsettled"], len(left))
        self.assertGreater(report["fates"]["unsettled"], 0)

    def retry_under(self, queues):
        """Jobs have failed; those leaders stand still when the next attempt is due."""
        jobs = [f"r{n}:fail-until:2" for n in range(20)]
        self.queue.publish(jobs, ids=True)
        retry = 'retry "default" { attempts = 5  backoff = "constant"  first = "2s"  jitter = 0 }\n'
        worker = self.start(self.config(self.queue.section(), retry))
        wait_for("all to have failed", lambda: len(worker.events("job settled")) >= 20)
        with self.stalled(*queues()):
            pass
        self.assert_each_ended_once(jobs)
        self.assertEqual(worker.stop()[0], 0)

    def test_when_retries_fall_due(self):
        self.retry_under(lambda: ["quorum"])

    def test_where_retries_wait(self):
        def queues():
            rows = self.broker.ctl("list_queues", "-p", self.queue.vhost, "--no-table-headers", "name", "type")
            found = [name for name, kind in map(str.split, rows.splitlines()) if kind.endswith("quorum")]
            return [name for name in found if name != "quorum"] or self.skipTest("retries wait elsewhere")

        self.retry_under(queues)


class Kills(RabbitCase):
    """At random instants: what was in flight runs again, and nothing is lost."""

    ROUNDS, JOBS, PREFETCH, THREADS = 25, 600, 20, 4

    def kill_often(self, queue):
        jobs = [f"j{n}:ms:{n % 8}" for n in range(self.JOBS)]
        queue.publish(jobs, ids=True)
        section = queue.section(extra=f"prefetch = {self.PREFETCH}")
        retry = 'retry "default" { attempts = 5  lost = "none" }\n'  # it is not the jobs that kill
        config = self.config(section, self.plugin_handler(threads=self.THREADS), retry)
        moments = random.Random(SEED)
        for _ in range(self.ROUNDS):
            begun = len(self.record.begun())
            worker = self.start(config)
            self.record.wait_begun(begun + 1)
            time.sleep(moments.random() * 0.03)  # a random moment is the point here
            worker.kill()
            self.workers.pop()
        worker = self.start(config)
        wait_for("every job to end", lambda: set(self.record.ended()) >= tags_of(jobs), 60)
        wait_for("an empty queue", lambda: queue.depth() == 0)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(queue.dead_depth(), 0, f"seed {SEED}")
        twice = len(self.record.ended_twice())
        self.figure(f"{self.ROUNDS} kills, {self.JOBS} jobs, lost 0, run twice {twice}")
        self.assertLessEqual(twice, self.ROUNDS * self.PREFETCH, f"seed {SEED}")

    def test_classic(self):
        self.kill_often(self.queue)

    def test_quorum(self):
        queue = RabbitQueue(self.broker, self.queue.vhost, "quorum", {"x-queue-type": "quorum"})
        self.addCleanup(queue.close)
        self.kill_often(queue)


if __name__ == "__main__":
    unittest.main(verbosity=2)
