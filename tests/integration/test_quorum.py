"""Quorum queues, whose word is their leader's and not the channel's: a leader that stands still while jobs run,
while the worker drains, when retries fall due. A limit of deliveries, which drains do not use up. And workers that are
killed at random instants."""

import json
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

    def end_one_by_one(self):
        for n in range(100):
            self.open_gate(f"gate{n}")
            self.record.wait_ended(n + 1)

    def drain_while_it_stalls(self, timeout_s, stall_s, ended="in the drain"):
        """The channel hands on 32 acknowledgements at most that the leader has not applied, and keeps the others to
        itself."""
        jobs = [f"j{n}:gate:{self.gate(f'gate{n}')}" for n in range(100)]
        self.queue.publish(jobs, ids=True)
        section = self.queue.section(extra='prefetch = 100  single_active = "false"')
        worker = self.start(self.config(
            section, self.plugin_handler(threads=100), concurrency=100,
            drain=f'timeout = "{timeout_s}s"  reserve = "1s"  grace = "500ms"',
        ))  # fmt: skip
        self.record.wait_begun(100)
        with self.stalled(seconds=stall_s):
            if ended == "before":
                self.end_one_by_one()
            begun = time.monotonic()
            worker.send(signal.SIGTERM)
            worker.wait_event("drain moved")
            if ended == "in the drain":
                self.end_one_by_one()
            code = worker.wait_exit(timeout_s + 10)
            self.took_s = time.monotonic() - begun
        self.assertLess(self.took_s, timeout_s + 1.5 * patience())
        wait_for("everybody to let go", self.all_back, 60)
        wait_for("nothing to be unacked", lambda: self.queue.unacked() == 0)
        left = tags_of(self.queue.take_all())
        self.figure(f"exit {code} after {self.took_s:.1f} s, {len(left)} of 100 left")
        return worker, code, left

    def assert_what_is_left_was_named(self, worker, left):
        named = {job["id"] for job in worker.report()["jobs"] if job["duplicate_possible"]}
        ids = {tag: run["id"] for tag, run in zip(self.record.begun(), self.record.runs())}
        self.assertLessEqual({ids[tag] for tag in left}, named)

    def test_in_the_drain_and_goes_on_in_time(self):
        _, code, left = self.drain_while_it_stalls(timeout_s=20, stall_s=8)
        self.assertEqual((code, left), (0, set()))

    def assert_too_late(self, ended):
        """What the leader has not confirmed is not called settled, and it is named."""
        worker, code, left = self.drain_while_it_stalls(timeout_s=4, stall_s=12, ended=ended)
        self.assertEqual(code, 11)
        self.assertGreater(worker.report()["fates"]["unsettled"], 0)
        self.assert_what_is_left_was_named(worker, left)

    def test_in_the_drain_and_not_before_its_end(self):
        self.assert_too_late(ended="in the drain")

    def test_before_the_drain_and_not_before_its_end(self):
        self.assert_too_late(ended="before")

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


class DeliveryLimit(RabbitCase):
    """Deep prefetch and slow jobs: each stop gives back many that never began, more than a channel hands on to
    the leader at once. None of them is dropped, and none comes twice."""

    LIMIT, ROUNDS = 20, 50

    def setUp(self):
        super().setUp()
        arguments, self.extra = {"x-queue-type": "quorum"}, ""
        if self.broker.version < (4, 0):  # from then on it is the default
            arguments["x-delivery-limit"] = self.LIMIT
            self.extra = f"delivery_limit = {self.LIMIT}"
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "quorum", arguments)
        self.addCleanup(self.queue.close)

    def publish(self, count, job_ms=50):
        self.jobs = [f"j{n}:ms:{job_ms}" for n in range(count)]
        self.queue.publish(self.jobs, ids=True)

    def start_with_all_in_hand(self):
        """One runs at a time, and one has begun."""
        begun = len(self.record.begun())
        section = self.queue.section(extra=f"prefetch = {len(self.jobs)} {self.extra}")
        worker = self.start(self.config(section, self.plugin_handler(threads=1), concurrency=1))
        self.record.wait_begun(begun + 1)
        return worker

    def assert_the_rest_runs_once(self):
        worker = self.start(self.config(self.queue.section(extra=self.extra), self.plugin_handler(threads=8), concurrency=8))
        wait_for("every job to end", lambda: set(self.record.ended()) >= tags_of(self.jobs), 60)
        wait_for("an empty queue", lambda: self.queue.depth() == 0)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual((self.record.ended_twice(), self.queue.dead_depth()), ([], 0))

    def all_back_but_one(self):
        return self.queue.depth() + len(self.record.ended()) >= len(self.jobs) - 1

    def settling(self, worker):
        socket = worker.wait_event("admin listening")["socket"]
        done = self.run_outfall("ctl", "-s", socket, "status", "--json")
        return json.loads(done.stdout)["jobs"]["settling"]

    def test_fifty_drains_in_a_row(self):
        self.publish(self.ROUNDS + 20)
        for _ in range(self.ROUNDS):
            self.assertEqual(self.start_with_all_in_hand().stop()[0], 0)
            self.workers.pop()
        self.assert_the_rest_runs_once()

    def test_thirty_kills_in_a_row(self):
        """Who is killed gives nothing back: what comes so often is replaced before it is dropped. Each lives long enough
        for one job, and to reach the broker with its copies."""
        self.publish(60, job_ms=250)
        for _ in range(30):
            worker = self.start_with_all_in_hand()
            self.record.wait_ended(len(self.record.ended()) + 1)
            wait_for("the copies to be there", lambda: self.settling(worker) == 0)
            worker.kill()
            self.workers.pop()
            wait_for("the broker to have noticed", self.all_back, 60)
        worker = self.start(self.config(self.queue.section(extra=self.extra), self.plugin_handler(threads=8), concurrency=8))
        wait_for("nothing to be left", lambda: self.queue.depth() == 0 and self.queue.unacked() == 0, 60)
        dead = tags_of(self.queue.take_dead())
        self.figure(f"run twice {len(self.record.ended_twice())}, dead {len(dead)}")
        lost = tags_of(self.jobs) - set(self.record.ended()) - dead
        self.assertEqual(lost, set())
        self.assertEqual(worker.stop()[0], 0)

    def test_fifty_times_quiet_in_a_row(self):
        self.publish(self.ROUNDS + 20)
        worker = self.start_with_all_in_hand()
        for _ in range(self.ROUNDS):
            worker.send(signal.SIGTSTP)
            wait_for("all but one to be back", self.all_back_but_one)
            begun = len(self.record.begun())
            worker.send(signal.SIGCONT)
            self.record.wait_begun(begun + 1)
        self.assertEqual(worker.stop()[0], 0)
        self.assert_the_rest_runs_once()


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
