"""A broker that dies or hangs: while draining it must not hold the exit, otherwise it must not end the
worker. Each class has brokers of its own to kill."""

import signal
import time
import unittest

from brokers import Redis, RabbitMQ, RabbitQueue, RedisList
from worker import WorkerCase, patience, wait_for

DRAIN = 'timeout = "4s"  reserve = "1s"  grace = "500ms"'


class BrokerGoneCases:
    def start_running(self, drain=DRAIN, count=6):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(1, count + 1)], ids=True)
        worker = self.start(
            self.config(
                self.queue.section(extra=f"prefetch = 4 {self.lease}"), concurrency=2, drain=drain
            )
        )
        self.record.wait_begun(2)
        return worker

    def assert_exit(self, worker, begun, *codes):
        code = worker.wait_exit(30)
        seconds = time.monotonic() - begun
        self.figure(f"exit {code} after {seconds:.2f} s of 4")
        self.assertIn(code, codes, worker.log_text()[-2000:])
        self.assertLess(seconds, 4.3 if patience() == 1 else 4 + 2 * patience())
        return code

    def test_killed_mid_drain(self):
        worker = self.start_running()
        begun = time.monotonic()
        worker.send(signal.SIGTERM)
        wait_for("finishing", lambda: worker.events("drain moved"))
        self.broker.kill()
        self.open_gate()
        self.record.wait_ended(2)
        # Finished, and nobody to tell: duplicates are possible, and the report says whose.
        self.assert_exit(worker, begun, 11)
        report = worker.report()
        self.assertEqual(report["fates"]["unsettled"], 2)
        unsettled = [job for job in report["jobs"] if job["fate"] == "unsettled"]
        self.assertEqual(len(unsettled), 2)
        self.assertTrue(all(job["duplicate_possible"] for job in unsettled))

    def assert_told_what_waits_for_the_lease(self, worker):
        pass  # RabbitMQ gives back what a lost connection had by itself

    def test_hung_mid_drain(self):
        worker = self.start_running()
        begun = time.monotonic()
        self.broker.kill(signal.SIGSTOP)
        worker.send(signal.SIGTERM)
        self.open_gate()
        self.record.wait_ended(2)
        self.assert_exit(worker, begun, 11)
        self.assertEqual(worker.report()["fates"]["unsettled"], 2)
        self.assert_told_what_waits_for_the_lease(worker)

    def test_hung_before_anything_ran(self):
        worker = self.start(self.config(self.queue.section(), drain=DRAIN))
        self.wait_consuming(worker)
        begun = time.monotonic()
        self.broker.kill(signal.SIGSTOP)
        worker.send(signal.SIGTERM)
        self.assert_exit(worker, begun, 0)

    def test_killed_with_jobs_that_do_not_end(self):
        worker = self.start_running()
        begun = time.monotonic()
        self.broker.kill()
        worker.send(signal.SIGTERM)
        # Interrupted and not told: the broker gives them out again by itself.
        self.assert_exit(worker, begun, 10, 11)

    def test_returns_after_a_restart(self):
        """The worker stays, comes back and goes on; what it had is given out again, at most once
        more."""
        worker = self.start_running()
        self.broker.kill()
        wait_for("the loss to be noticed", lambda: self.says_down(worker))
        self.assertIsNone(worker.process.poll())
        self.broker.start()
        self.queue.reconnect()
        self.open_gate()
        self.queue.publish(["new"])
        wait_for("new work", lambda: "new" in self.record.ended())
        self.after_restart()
        code, _ = worker.stop()
        self.assertEqual(code, 0)
        self.assertLessEqual(max(map(len, map(self.record.runs, set(self.record.begun())))), 2)

    def says_down(self, worker):
        return any("lost" in e["event"] or "reconnect" in str(e) for e in worker.events())

    def test_unreachable_at_start_then_there(self):
        """Without a dead letter queue: it was declared so shortly before the kill that it may be lost."""
        self.broker.kill()
        worker = self.start(self.config(self.queue.section(dead=False), drain=DRAIN))
        wait_for("two attempts", lambda: self.failures(worker) >= 2)
        self.assertIsNone(worker.process.poll())
        self.broker.start()
        self.queue.reconnect()
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def failures(self, worker):
        return sum("refused" in str(e) for e in worker.events())

    def test_unreachable_all_along(self):
        self.broker.kill()
        worker = self.start(self.config(self.queue.section(), drain=DRAIN))
        wait_for("an attempt", lambda: self.failures(worker) >= 1)
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 1 * patience())


class RabbitGone(BrokerGoneCases, WorkerCase):
    lease = ""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = RabbitMQ()
        cls.addClassCleanup(cls.broker.stop)
        cls.vhosts = iter(cls.broker.vhosts(len(unittest.defaultTestLoader.getTestCaseNames(cls))))

    def setUp(self):
        super().setUp()
        self.broker.start()  # if the test before has left it dead, or standing still
        self.broker.kill(signal.SIGCONT)
        self.queue = RabbitQueue(self.broker, next(self.vhosts))

    def wait_consuming(self, worker):
        wait_for("a consumer", lambda: self.queue.consumers() > 0)

    def after_restart(self):
        wait_for("all to be done", lambda: len(set(self.record.ended())) == 7)

    def test_connection_closed_by_an_operator(self):
        worker = self.start_running()
        self.broker.ctl("close_all_connections", "-p", self.queue.vhost, "maintenance")
        self.queue.reconnect()
        self.open_gate()
        wait_for("all to be done", lambda: len(set(self.record.ended())) == 6)
        wait_for("the queue to be empty", lambda: self.queue.depth() == 0)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_consumer_that_is_gone_without_a_word(self):
        """Nobody tells the worker: it looks, finds that its queue knows of no consumer, and subscribes
        again. The queue thinks that the channel is down: that it understands on every version."""
        self.open_gate()
        section = self.queue.section().replace("  queue", '  consumer_check = "200ms"\n  queue', 1)
        worker = self.start(self.config(section))
        self.wait_consuming(worker)
        self.broker.ctl(
            "eval",
            f"{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{self.queue.vhost}\">>, queue, "
            f"<<\"{self.queue.name}\">>)), [C] = rabbit_amqqueue:consumers(Q), "
            "amqqueue:get_pid(Q) ! {'DOWN', make_ref(), process, element(1, C), normal}, ok.",
        )
        worker.wait_event("consumer is gone without a word, trying again")
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        looks = [e for e in worker.events() if "gone without a word" in e["event"]]
        self.assertEqual(len(looks), 1, "once it is back, all is well")
        self.assertEqual(worker.events("rabbitmq connection lost, reconnecting"), [], "nor are others taken along")
        self.assertEqual(worker.stop()[0], 0)

    def test_queue_deleted_and_made_again(self):
        """The broker cancels the consumer; the worker stays and consumes again when it can."""
        self.open_gate()
        worker = self.start(self.config(self.queue.section()))
        self.wait_consuming(worker)
        self.queue.channel.queue_delete(self.queue.name)
        wait_for("a word about it", lambda: "cancel" in worker.log_text())
        self.assertIsNone(worker.process.poll())
        self.queue.channel.queue_declare(self.queue.name, durable=True)
        self.queue.publish(["a"])
        self.record.wait_ended(1, 60)
        self.assertEqual(worker.stop()[0], 0)


class RedisGone(BrokerGoneCases, WorkerCase):
    lease = 'lease = "1s"'

    def assert_told_what_waits_for_the_lease(self, worker):
        self.assertEqual(len([e for e in worker.events() if e["event"].startswith("list not left in order")]), 1)

    def test_nothing_waits_for_the_lease(self):
        worker = self.start_running()
        self.open_gate()
        self.record.wait_ended(2)
        self.assertEqual(worker.stop()[0], 0)
        self.assertNotIn("list not left in order", worker.log_text())

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = Redis()
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        super().setUp()
        self.broker.start()  # if the test before has left it dead, or standing still
        self.broker.kill(signal.SIGCONT)
        self.queue = RedisList(self.broker)
        self.queue.client.flushall()

    def wait_consuming(self, worker):
        wait_for(
            "a blocked pop",
            lambda: any("b" in client["flags"] for client in self.queue.client.client_list()),
        )

    def after_restart(self):
        pass  # this Redis keeps nothing across a restart: what it held is gone with it


if __name__ == "__main__":
    unittest.main(verbosity=2)
