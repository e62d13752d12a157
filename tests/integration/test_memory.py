"""Memory is bounded by what was configured: so many jobs of a queue, so large each, and a constant. Whatever
stalls: the broker, the network, the handlers."""

import unittest
from pathlib import Path

from brokers import RabbitMQ
from fault_proxy import FaultProxy
from flooding_broker import FloodingBroker
from worker import RabbitCase, RedisCase, WorkerCase, patience, wait_for

# The program itself with both its buffers for each connection, and its allocator's spare.
CONSTANT_MB = 16
# A claim of at most 8 MB lies in the reader's buffer, and beside it as the reply that it was taken apart into.
CLAIM_MB = 2 * 8

PREFETCH = 50


def status_mb(worker, key):
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.split(key + ":")[1].split()[0]) / 1024


class Memory:
    beside_mb = 0

    def assert_bounded(self, worker, body_bytes, jobs=PREFETCH):
        """Sanitizers keep what was freed: their figures are not judged."""
        peak, allowed = status_mb(worker, "VmHWM"), jobs * body_bytes / 2**20
        allowed += CONSTANT_MB + self.beside_mb
        self.figure(f"{jobs} jobs of {body_bytes} bytes: peak {peak:.1f} MB, allowed {allowed:.1f} MB")
        if patience() == 1:
            self.assertLess(peak, allowed)


class SlowHandler(Memory):
    BODY = 16_000

    def test_ten_thousand_wait_for_it(self):
        """What is not here yet costs nothing."""
        gate = str(self.gate()).encode()
        self.queue.publish([b"slow:gate:" + gate + b"\0" + b"x" * self.BODY] * 10_000)
        worker = self.start(
            self.config(self.queue.section(extra=f"prefetch = {PREFETCH}"), level="info")
        )
        self.record.wait_begun(4)
        wait_for("the rest to stay where it is", lambda: self.queue.depth() == 10_000 - PREFETCH)
        self.assert_bounded(worker, self.BODY)
        self.open_gate()
        self.record.wait_ended(500, 60)
        self.assert_bounded(worker, self.BODY)
        self.assertEqual(worker.stop()[0], 0)


class Stalled(Memory):
    """The broker reads nothing any more, and what ends cannot be told."""

    BODY = 200_000

    def outcome_of(self, how):
        proxy = FaultProxy(self.broker.port)
        self.addCleanup(proxy.close)
        jobs = 3 * PREFETCH
        self.queue.publish([b"j%d:%s:" % (i, how) + b"x" * self.BODY for i in range(jobs)])
        worker = self.start(
            self.config(
                self.section_through(proxy), self.exec_handler(),
                'retry "default" { attempts = 2  first = "50ms" }\n', level="info", concurrency=8,
            )
        )  # fmt: skip
        self.record.wait_begun(8)
        proxy.break_with("stall")
        wait_for("the connection to be given up", lambda: self.lost(worker), 60)
        self.assert_bounded(worker, self.BODY)
        proxy.heal()
        wait_for("everything to be settled", lambda: self.all_settled(), 90, 0.1)
        self.assert_bounded(worker, self.BODY)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(len(set(self.record.begun())), jobs)

    def test_results(self):
        self.outcome_of(b"done")

    def test_retries(self):
        self.outcome_of(b"exit:75")


class RabbitSlowHandler(SlowHandler, RabbitCase):
    pass


class RedisSlowHandler(SlowHandler, RedisCase):
    beside_mb = CLAIM_MB


class RabbitStalled(Stalled, RabbitCase):
    # On their way out, copies are in the publishing connection's buffer as well, up to its own limit, and
    # those of jobs whose connection was lost are kept until their second delivery: 32 MB at most.
    beside_mb = 32

    def section_through(self, proxy):
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{self.queue.vhost}"
        section = self.queue.section(url=url, extra=f"prefetch = {PREFETCH}")
        return section.replace("{\n", '{\n  heartbeat = "1s"\n', 1)

    def lost(self, worker):
        return worker.events("rabbitmq connection lost, reconnecting")

    def all_settled(self):
        return self.queue.depth() == 0 and self.queue.unacked() == 0 and not self.waiting()

    def waiting(self):
        """In retry queues."""
        rows = self.broker.ctl(
            "list_queues", "-p", self.queue.vhost, "--no-table-headers", "name", "messages"
        )
        rows = [row.split() for row in rows.splitlines()]
        return sum(int(n) for name, n in rows if ".retry." in name)


class RabbitLarge(Memory, RabbitCase):
    """One body that is nearly as large as max_body: it is in memory once, on its way in, there and out."""

    BODY = 60 << 20
    beside_mb = 32  # README: with retries a constant of 48 MB

    @classmethod
    def find_broker(cls):
        broker = RabbitMQ()  # of its own: so much in its memory is an alarm, and that is for everybody
        cls.addClassCleanup(broker.stop)
        return broker

    def run_one(self, outcome):
        self.queue.publish([b"large:" + outcome + b"\0" + b"x" * self.BODY])
        retry = 'retry "default" { attempts = 3  first = "100ms"  jitter = 0 }\n'
        return self.start(self.config(self.queue.section(extra="prefetch = 1"), retry))

    def test_retried(self):
        worker = self.run_one(b"fail-until:3")
        self.record.wait_ended(1, 60)
        self.assertEqual([run["attempt"] for run in self.record.runs("large")], ["1", "2", "3"])
        self.assert_bounded(worker, self.BODY, jobs=1)
        self.assertEqual(worker.stop()[0], 0)

    def test_dead(self):
        worker = self.run_one(b"exit:65")
        wait_for("its death", lambda: self.queue.dead_depth() == 1, 60)
        self.assert_bounded(worker, self.BODY, jobs=1)
        self.assertEqual(worker.stop()[0], 0)


class RedisStalled(Stalled, RedisCase):
    beside_mb = CLAIM_MB

    def section_through(self, proxy):
        url = f"redis://127.0.0.1:{proxy.port}/0"
        return self.queue.section(url=url, extra=f'prefetch = {PREFETCH}  lease = "3s"')

    def lost(self, worker):
        return worker.events("redis link down, reconnecting")

    def all_settled(self):
        return self.queue.unsettled() == 0


class Flood(Memory, WorkerCase):
    BODY = 100_000

    def test_a_broker_that_ignores_the_prefetch(self):
        broker = FloodingBroker(b"slow:gate:" + str(self.gate()).encode() + b"\0" + b"x" * self.BODY)
        self.addCleanup(broker.close)
        section = (
            f'rabbitmq "mq" {{ url = "amqp://guest:guest@127.0.0.1:{broker.port}/"\n'
            f'  queue "jobs" {{ handler = "h"  prefetch = {PREFETCH} }} }}\n'
        )
        worker = self.start(
            self.config(section, level="info", drain='timeout = "3s"  reserve = "500ms"  grace = "200ms"')
        )
        lost = worker.wait_event("rabbitmq connection lost, reconnecting", seconds=60)
        self.assertIn("prefetch", lost["why"])
        self.assert_bounded(worker, self.BODY, 2 * PREFETCH)
        wait_for("a second flood", lambda: broker.connections >= 3, 60)
        self.assert_bounded(worker, self.BODY, 2 * PREFETCH)
        self.open_gate()
        self.assertIn(worker.stop()[0], (0, 10, 11))


if __name__ == "__main__":
    unittest.main(verbosity=2)
