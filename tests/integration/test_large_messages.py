"""RabbitMQ messages larger than max_body, where `dead` names a queue: their bodies go there as they come,
nothing of them is kept, and whatever goes wrong in the middle none is lost."""

import os
import unittest
from pathlib import Path

import pika
from brokers import RabbitMQ, RabbitQueue, wait_for
from relay import Relay
from worker import RabbitCase, WorkerCase, patience

LIMIT = 'max_body = "100k"'
DEAD = "message dead, its body is larger than max_body"
IN_DOUBT = "large message goes back, it may be in the dead letter queue already"
GIVEN_UP = "given up in the middle of a large message"
TIGHT = 'timeout = "10s"  reserve = "1s"  grace = "500ms"'
MB = 1 << 20


def random_body(megabytes):
    return os.urandom(MB) * megabytes + b"the end"


class Passing:
    def begin(self, extra="", concurrency=4, drain='timeout = "30s"', url=None, heartbeat=None):
        section = self.queue.section(extra=extra, url=url)
        if heartbeat:
            section = section.replace("url =", f'heartbeat = "{heartbeat}"  url =')
        worker = self.start(self.config(section, worker=LIMIT, concurrency=concurrency, drain=drain))
        worker.wait_event("consumer started")
        return worker

    def relayed(self):
        relay = Relay(self.broker.port)
        self.addCleanup(relay.close)
        return relay, self.queue.url().replace(f":{self.broker.port}/", f":{relay.port}/")

    def take_dead(self):
        return self.queue._take(self.queue.dead_name)

    def wait_dead(self, count, seconds=60):
        wait_for(f"{count} to be dead", lambda: self.queue.dead_depth() >= count, seconds)

    def publish_half(self, relay, *bodies):
        """The first of them is on its way out, and there it stays for now; the connection that it goes
        out on is the only one that has so much to send."""
        relay.hold_after(4 * MB)
        self.queue.publish(bodies)
        wait_for("it to be on its way", relay.holds, 60)

    def end(self, worker, dead, code=0):
        """Nobody has anything left; what was passed on was counted."""
        self.assertEqual(worker.stop()[0], code)
        self.assertEqual(worker.report()["since_start"]["dead"], dead)
        wait_for("everybody to let go", self.all_back)
        self.assertEqual(self.queue.depth(), 0)

    def all_back(self):
        return self.queue.consumers() == 0


class LargeMessages(Passing, RabbitCase):
    @classmethod
    def find_broker(cls):
        """Of its own: so much in its memory is an alarm, and that is for everybody."""
        broker = RabbitMQ()
        cls.addClassCleanup(broker.stop)
        return broker

    def peak_mb(self, worker):
        status = Path(f"/proc/{worker.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def assert_little(self, grown_mb):
        """Sanitizers keep what was freed: their figures are not judged."""
        self.figure(f"peak memory grew by {grown_mb:.1f} MB")
        if patience() == 1:
            self.assertLess(grown_mb, 6)

    def test_byte_for_byte_with_its_headers(self):
        body = random_body(20)
        worker = self.begin()
        before = self.peak_mb(worker)
        self.queue.publish(
            [body], message_id="m1", content_type="text/x-large", headers={"own": "kept", "n": 7}
        )
        self.wait_dead(1)
        self.assert_little(self.peak_mb(worker) - before)
        [(copy, properties)] = self.take_dead()
        self.assertTrue(copy == body, f"{len(copy)} bytes of {len(body)}")
        self.assertEqual(properties.message_id, "m1")
        self.assertEqual(properties.content_type, "text/x-large")
        self.assertEqual(properties.delivery_mode, 2)
        self.assertEqual((properties.headers["own"], properties.headers["n"]), ("kept", 7))
        self.assertEqual(properties.headers["x-outfall-queue"], self.queue.name)
        self.assertEqual(properties.headers["x-outfall-attempt"], 1)
        self.assertIn(f"{len(body)} bytes is larger than max_body", properties.headers["x-outfall-reason"])
        worker.wait_event(DEAD)
        self.end(worker, dead=1)

    def test_among_small_ones(self):
        """Whose order is not disturbed. They are alike in all that a basic.return would tell."""
        large = [random_body(n) for n in (1, 3, 2, 4, 1, 2)]
        small, bodies = [], []
        for n, body in enumerate(large):
            small += [f"small{n}a", f"small{n}b"]
            bodies += [small[-2], body, small[-1]]
        self.queue.publish(bodies)
        worker = self.begin(concurrency=1)
        self.record.wait_ended(len(small))
        self.wait_dead(len(large))
        self.assertEqual(self.record.ended(), small)
        key = lambda body: (len(body), body[:100])
        copies = sorted((copy for copy, _ in self.take_dead()), key=key)
        self.assertTrue(copies == sorted(large, key=key))
        self.end(worker, dead=len(large))

    def test_two_queues_at_once(self):
        """Pieces of two come in mixed and leave one message after the other."""
        self.queue.channel.queue_declare("other", durable=True)
        section = self.queue.section().rstrip().rstrip("}")
        section += f'  queue "other" {{ handler = "h"  dead = "{self.queue.dead_name}" }}\n}}\n'
        large = [random_body(n) for n in (4, 5, 6, 7)]
        for n, body in enumerate(large):
            self.queue.channel.basic_publish("", ("other", self.queue.name)[n % 2], body)
        worker = self.start(self.config(section, worker=LIMIT))
        self.wait_dead(len(large))
        copies = sorted((copy for copy, _ in self.take_dead()), key=len)
        self.assertTrue(copies == large)
        self.end(worker, dead=len(large))

    def test_cut_in_the_middle(self):
        """Nothing of the first half is seen by anybody, and it comes again."""
        relay, url = self.relayed()
        worker = self.begin(url=url)
        body = random_body(60)
        self.publish_half(relay, body)
        relay.cut_held()
        worker.wait_event("rabbitmq connection lost, reconnecting")
        self.wait_dead(1)
        copies = self.take_dead()
        self.assertTrue(all(copy == body for copy, _ in copies))
        self.assertEqual(len(copies), 1 + len(worker.events(IN_DOUBT)))
        self.end(worker, dead=1)

    def test_cut_of_the_one_it_comes_on(self):
        """Half of it is at the broker's already: that goes with the connection it was sent on."""
        relay, url = self.relayed()
        worker = self.begin(url=url)
        body = random_body(60)
        self.publish_half(relay, body)
        relay.cut()
        self.wait_dead(1)
        self.assertTrue(all(copy == body for copy, _ in self.take_dead()))
        self.queue.publish(["small"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_broker_that_reads_no_further(self):
        """It holds up what comes behind for a moment, and not for longer; heartbeats go on."""
        relay, url = self.relayed()
        worker = self.begin(url=url, heartbeat="2s")
        before = self.peak_mb(worker)
        body = random_body(60)
        self.publish_half(relay, body)
        self.queue.publish(["small"])
        self.record.wait_ended(1)
        lost = worker.wait_event("rabbitmq connection lost, reconnecting")
        self.assertIn(GIVEN_UP, lost["why"])
        self.assert_little(self.peak_mb(worker) - before)
        relay.let_go()
        self.wait_dead(1)
        self.assertTrue(all(copy == body for copy, _ in self.take_dead()))
        self.end(worker, dead=1)

    def test_a_drain_in_the_middle(self):
        relay, url = self.relayed()
        worker = self.begin(url=url, drain=TIGHT)
        body = random_body(60)
        self.publish_half(relay, body, "small")
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.figure(f"{seconds:.2f} s")
        self.assertLess(seconds, 5 * patience())
        relay.let_go()
        wait_for("everybody to let go", self.all_back)
        self.assertEqual((self.queue.depth() + len(self.record.ended()), self.queue.dead_depth()), (2, 0))
        worker = self.begin()
        self.wait_dead(1)
        self.record.wait_ended(1)
        self.assertTrue(all(copy == body for copy, _ in self.take_dead()))
        self.end(worker, dead=1)

    def test_a_single_active_consumer_drains_in_the_middle(self):
        self.queue.close()
        vhost = self.queue.vhost
        self.queue = RabbitQueue(self.broker, vhost, "single", {"x-single-active-consumer": True})
        self.addCleanup(self.queue.close)
        relay, url = self.relayed()
        worker = self.begin(url=url, drain=TIGHT, extra="single_active = true")
        self.publish_half(relay, random_body(60))
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 5 * patience())
        wait_for("everybody to let go", self.all_back)
        self.assertEqual((self.queue.depth(), self.queue.dead_depth()), (1, 0))

    def test_a_dead_letter_queue_that_has_gone(self):
        worker = self.begin()
        self.queue.channel.queue_delete(self.queue.dead_name)
        body = random_body(1)
        self.queue.publish([body, "small"])
        self.record.wait_ended(1)
        worker.wait_event("large message could not be placed, there is no such queue", count=2)
        self.queue.channel.queue_declare(self.queue.dead_name, durable=True)
        self.wait_dead(1)
        self.assertTrue(self.take_dead()[0][0] == body)
        self.end(worker, dead=1)

    def limit_messages(self, size):
        """On channels that are opened from now on. Where the number is kept, changed with 4.0."""
        where = "application:set_env(rabbit, " if self.broker.version < (4,) else "persistent_term:put("
        self.broker.ctl("eval", f"{where}max_message_size, {size}).")

    def test_a_broker_that_takes_none_so_large(self):
        """It closes the channel when all of it is there; another time it would, too. The queue's own dead letter
        exchange may have it."""
        self.queue.publish([random_body(1), "small"])
        self.addCleanup(self.limit_messages, 128 * MB)
        self.limit_messages(MB)
        worker = self.begin()
        self.record.wait_ended(1)
        lost = worker.wait_event("rabbitmq connection lost, reconnecting")
        self.assertIn("406 PRECONDITION_FAILED", lost["why"])
        rejected = worker.wait_event("message rejected, larger than max_body, and no copy of it can be made")
        self.assertIn("406 PRECONDITION_FAILED", rejected["reason"])
        self.assertEqual(worker.events(IN_DOUBT), [])
        self.assertEqual(self.queue.dead_depth(), 0)
        self.end(worker, dead=1)

    def test_a_broker_that_takes_no_copy_so_large(self):
        """That is one of a job: its channel is opened again, and the connection stays."""
        self.queue.publish([b"a:exit:65\0" + bytes(50_000), b"b:exit:65"])
        self.addCleanup(self.limit_messages, 128 * MB)
        self.limit_messages(10_000)
        worker = self.begin()
        rejected = worker.wait_event("job is rejected, no copy of it can be made")
        self.assertIn("406 PRECONDITION_FAILED", rejected["why"])
        self.wait_dead(1)
        self.assertEqual(self.queue.take_dead(), ["b:exit:65"])
        self.assertEqual(worker.events("rabbitmq connection lost, reconnecting"), [])
        self.end(worker, dead=2)

    def test_many_headers(self):
        """That fill a frame: there is no room for ours, so it is rejected."""
        self.queue.publish([random_body(1), "small"], headers={"h": "x" * 130_950})
        worker = self.begin()
        self.record.wait_ended(1)
        worker.wait_event("message rejected, larger than max_body, and no copy of it can be made")
        self.end(worker, dead=1)


class Alarm(Passing, WorkerCase):
    """On a broker of its own, for an alarm holds for all of it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = RabbitMQ()
        cls.addClassCleanup(cls.broker.stop)

    def test_in_the_middle(self):
        self.queue = RabbitQueue(self.broker, *self.broker.vhosts(1))
        self.addCleanup(self.queue.close)
        body = random_body(60)
        self.queue.publish([body, "small"])
        self.broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        worker = self.begin()  # the broker reads the beginning of the first, says so, and reads no more
        worker.wait_event("large messages wait, blocked by the broker")
        worker.wait_event("rabbitmq connection lost, reconnecting")
        self.record.wait_ended(1)
        self.assertEqual(self.queue.dead_depth(), 0)
        self.broker.ctl("set_vm_memory_high_watermark", "0.6")
        self.wait_dead(1)
        self.assertTrue(all(copy == body for copy, _ in self.take_dead()))
        self.end(worker, dead=1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
