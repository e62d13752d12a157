"""A quorum queue counts what comes back, and drops a message that came back too often. However often workers stop, nothing
that never began is dropped; and a job that takes its worker with it is dead after a few."""

import itertools
import signal
import unittest

from worker import RabbitCase, RabbitQueue, wait_for

DRAINS = 50
JOBS = 5
TOLD = ("quorum queue drops what comes back more often than its delivery limit, so it goes back to the tail as a copy "
        "before")  # fmt: skip


class QuorumCase(RabbitCase):
    def make(self, **arguments):
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.quorum = RabbitQueue(self.broker, self.queue.vhost, "few", {"x-queue-type": "quorum", **arguments})
        self.addCleanup(self.quorum.close)


class DeliveryLimits(QuorumCase):
    def drain(self, config):
        """Once a job runs and all others are held: what is given back is four jobs that never began."""
        begun = len(self.record.begun())
        worker = self.start(config)
        wait_for("a job", lambda: len(self.record.begun()) > begun)
        wait_for("the others", lambda: self.quorum.depth() == 0)
        worker.send(signal.SIGTERM)
        worker.wait_exit()
        self.assertEqual(worker.report()["fates"]["returned"], JOBS)

    def assert_fifty_drains_lose_nothing(self, extra=""):
        gate = self.gate()
        names = [f"j{n}" for n in range(JOBS)]
        self.quorum.publish([f"{name}:gate:{gate}" for name in names])
        section = self.quorum.section(extra=f"prefetch = {JOBS} {extra}")
        handler = self.exec_handler(extra='deadline = "return"')
        config = self.config(section, handler, concurrency=1, drain='timeout = "10s" grace = "100ms"')
        for _ in range(DRAINS):
            self.drain(config)
        gate.touch()
        worker = self.start(config)
        wait_for("each to be done", lambda: set(self.record.ended()) >= set(names), 30)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.quorum.dead_depth(), 0)
        self.assertEqual(self.quorum.depth(), 0)

    def test_fifty_drains(self):
        self.make()
        self.assert_fifty_drains_lose_nothing()

    def test_fifty_drains_and_a_limit_of_the_queue(self):
        self.make(x_delivery_limit=2)
        self.assert_fifty_drains_lose_nothing()

    def test_fifty_drains_and_a_limit_that_is_known(self):
        self.make(x_delivery_limit=6)
        self.assert_fifty_drains_lose_nothing("delivery_limit = 6")

    def test_fifty_drains_of_a_single_active_consumer(self):
        self.make(x_single_active_consumer=True)
        self.assert_fifty_drains_lose_nothing()

    def test_it_is_told_what_to_set(self):
        self.make()
        said = ["20 unless it is set"] if self.broker.version >= (4, 0) else []
        worker = self.start(self.config(self.quorum.section(extra='declare = "quorum"')))
        worker.wait_event("consumer started")
        self.assertEqual([e["limit"] for e in worker.events(TOLD)], said)
        self.assertEqual(worker.stop()[0], 0)


class LostWorkers(QuorumCase):
    def start_again_until_it_lives(self, config, most):
        """How many workers died."""
        for deaths in itertools.count():
            self.assertLess(deaths, most, self.record.begun())
            worker = self.start(config)
            wait_for("its death, or nothing more to do", lambda: worker.process.poll() is not None
                     or (self.quorum.depth() == 0 and self.quorum.dead_depth() > 0
                         and set(self.record.ended()) >= self.innocent))  # fmt: skip
            if worker.process.poll() is None:
                self.assertEqual(worker.stop()[0], 0)
                return deaths

    def assert_one_is_dead(self, lost):
        """Others lie beside it each time, begun and not, and none of them is taken for the one that kills."""
        names = [f"j{n}" for n in range(12)]
        self.innocent = set(names)
        self.make()
        self.quorum.publish(names[:3] + ["p:kill-worker"] + names[3:])
        retry = f'retry "default" {{ lost = {lost} }}\n'
        config = self.config(self.quorum.section(extra="prefetch = 10"), self.exec_handler(), retry, concurrency=4)
        self.assertEqual(self.start_again_until_it_lives(config, 2 * lost), lost)
        [(body, properties)] = self.quorum._take(self.quorum.dead_name)
        self.assertEqual(body, b"p:kill-worker")
        self.assertIn("its worker died", properties.headers["x-outfall-reason"])
        self.assertEqual(set(self.record.ended()), set(names))

    def test_a_job_that_takes_its_worker_with_it_is_dead_after_five(self):
        self.assert_one_is_dead(5)

    def test_as_many_as_are_configured(self):
        self.assert_one_is_dead(3)

    def test_drains_are_no_deaths(self):
        """Neither those of the job nor, on 4.3, the closing of a channel that has a single active consumer."""
        self.make(x_single_active_consumer=True)
        gate = self.gate()
        self.quorum.publish([f"a:gate:{gate}", "b"])
        retry = 'retry "default" { lost = 1 }\n'
        handler = self.exec_handler(extra='deadline = "return"')
        config = self.config(self.quorum.section(), handler, retry, concurrency=1, drain='timeout = "10s" grace = "100ms"')
        for _ in range(6):
            begun = len(self.record.begun())
            worker = self.start(config)
            wait_for("it to run", lambda: len(self.record.begun()) > begun)
            self.assertEqual(worker.stop()[0], 10)
        gate.touch()
        worker = self.start(config)
        self.record.wait_ended(2)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.quorum.dead_depth(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
