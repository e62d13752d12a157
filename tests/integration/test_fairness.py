"""Fair between queues: whatever leads to the same handler, or shares the worker's concurrency, gets its
turns. The record's order decides, not the clock: how many of each had ended when so many had ended
altogether."""

import signal
import unittest

from brokers import RabbitMQ, RabbitQueue, RedisList
from worker import RedisCase, wait_for

AT_ONCE = 4


class TwoLists(RedisCase):
    def setUp(self):
        super().setUp()
        self.other = RedisList(self.broker, "other")
        self.addCleanup(self.other.close)

    def both_lists(self, first="", second="", handlers=("h", "h")):
        lists = "".join(
            f'  list "{queue.name}" {{ handler = "{handler}" {extra} }}\n'
            for queue, handler, extra in zip((self.queue, self.other), handlers, (first, second))
        )
        return f'redis "cache" {{\n  url = "{self.queue.url()}"\n{lists}}}\n'


class Fairness(TwoLists):
    def fill(self, verb, count):
        self.queue.publish(f"a{i}:{verb}" for i in range(count))
        self.other.publish(f"b{i}:{verb}" for i in range(count))

    def ended_of(self, letter):
        return sum(tag.startswith(letter) for tag in self.record.ended())

    def assert_shared(self, first):
        """Of the first so many ends each queue has at least a third of its half."""
        self.record.wait_ended(first, seconds=60)
        shares = {letter: 0 for letter in "ab"}
        for tag in self.record.ended()[:first]:
            shares[tag[0]] += 1
        self.figure(f"of the first {first}: {shares}")
        for letter, share in shares.items():
            self.assertGreaterEqual(share, first / 2 / 3, f"queue {letter} of {shares}")

    def check_shared(self, *sections, verb="ms:20", count=300, first=240, concurrency=AT_ONCE):
        self.fill(verb, count)
        worker = self.start(self.config(*sections, concurrency=concurrency, level="info"))
        self.assert_shared(first)
        self.assertEqual(worker.stop()[0], 0)
        left = self.queue.depth() + self.other.depth()
        self.assertEqual(len(self.record.ended()) + left, 2 * count)

    def test_two_lists_on_one_handler(self):
        self.check_shared(self.both_lists())

    def test_many_at_once(self):
        self.check_shared(self.both_lists(), count=400, first=320, concurrency=16)

    def test_one_at_once(self):
        self.check_shared(self.both_lists(), count=100, first=60, concurrency=1)

    def test_lists_with_limits(self):
        self.check_shared(self.both_lists("concurrency = 3", "concurrency = 3"))

    def test_one_with_a_prefetch(self):
        self.check_shared(self.both_lists("prefetch = 8"))

    def test_two_sources(self):
        self.other.source = "second"
        self.check_shared(self.queue.section(), self.other.section())

    def test_two_handlers(self):
        self.check_shared(
            self.both_lists(handlers=("h", "i")), self.exec_handler("h"), self.exec_handler("i")
        )

    def test_a_handler_that_is_full_beside_a_wide_one(self):
        """The first can use half of the worker, which is its fair share."""
        self.check_shared(
            self.both_lists(handlers=("h", "i")),
            self.exec_handler("h", extra="concurrency = 2"),
            self.exec_handler("i"),
        )

    def test_pool(self):
        self.check_shared(self.both_lists(), self.pool_handler(processes=2), first=200)

    def test_plugin(self):
        self.check_shared(self.both_lists(), self.plugin_handler(threads=4))

    def test_plugin_with_short_jobs(self):
        self.check_shared(
            self.both_lists(), self.plugin_handler(threads=4), verb="done", count=10000, first=12000
        )

    def test_list_beside_a_rabbitmq_queue(self):
        mq = RabbitMQ.shared()
        self.other = RabbitQueue(mq, *mq.vhosts(1), name="other")
        self.addCleanup(self.other.close)
        self.check_shared(self.queue.section(), self.other.section())

    def test_a_rate_is_reached_beside_a_full_list(self):
        """Ten a second are a small part of what the handler can do."""
        self.fill("ms:20", 3000)
        worker = self.start(self.config(self.both_lists('rate = "10/s"'), level="info"))
        wait_for("the one with a rate", lambda: self.ended_of("a") >= 15, seconds=15)
        self.assertGreater(self.ended_of("b"), 15)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_single_job_does_not_wait_for_a_full_list(self):
        worker = self.start(self.config(self.both_lists(), level="info"))
        self.queue.publish(f"a{i}:ms:50" for i in range(1000))
        self.record.wait_ended(2 * AT_ONCE)
        before = len(self.record.begun())
        self.other.publish(["b:ms:50"])
        wait_for("its turn", lambda: "b" in self.record.begun(), seconds=60)
        waited = self.record.begun().index("b") - before
        self.figure(f"{waited} others began before it")
        self.assertLess(waited, 5 * AT_ONCE)
        self.assertEqual(worker.stop()[0], 0)


class NotHoarded(TwoLists):
    """A job that is claimed and cannot begin is one that no other worker can have."""

    def gated(self, letter, count):
        return [f"{letter}{i}:gate:{self.gate()}" for i in range(count)]

    def test_a_list_alone_claims_what_it_runs(self):
        self.queue.publish(self.gated("a", 20))
        worker = self.start(self.config(self.both_lists(), level="info"))
        self.record.wait_begun(AT_ONCE)
        self.other.publish(["b0"])
        wait_for("the other's to be in line", lambda: self.other.claimed() == 1)
        self.assertEqual(self.queue.claimed(), AT_ONCE)
        self.open_gate()
        self.record.wait_ended(21)
        self.assertEqual(worker.stop()[0], 0)

    def test_full_lists_share_what_is_idle(self):
        """At the start each could fill the handler by itself."""
        self.queue.publish(self.gated("a", 20))
        self.other.publish(self.gated("b", 20))
        worker = self.start(self.config(self.both_lists(), level="info"))
        self.record.wait_begun(AT_ONCE)
        in_line = AT_ONCE + 2
        wait_for("one of each", lambda: self.queue.claimed() + self.other.claimed() == in_line)
        self.assertGreater(self.other.claimed(), 1)
        self.assertGreater(self.queue.claimed(), 1)
        self.open_gate()
        self.assertEqual(worker.stop()[0], 0)

    def test_one_waits_and_goes_back(self):
        self.queue.publish(self.gated("a", AT_ONCE))
        worker = self.start(self.config(self.both_lists(), level="info"))
        self.record.wait_begun(AT_ONCE)
        self.other.publish(self.gated("b", 20))
        wait_for("one to be in line", lambda: self.other.claimed() == 1)
        worker.send(signal.SIGTERM)
        wait_for("all to be back", lambda: self.other.depth() == 20)
        self.assertEqual(self.other.claimed(), 0)
        self.assertEqual(self.other.waiting()[0], f"b0:gate:{self.gate()}")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)


if __name__ == "__main__":
    unittest.main()
