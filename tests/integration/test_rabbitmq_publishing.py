"""What the worker publishes to RabbitMQ, and what a broker does to it: a retry waits where it cannot be lost."""

import os
import signal
import time
import unittest

from brokers import RabbitMQ, RabbitQueue, wait_for
from relay import Relay
from worker import RabbitCase, patience


class Retrying(RabbitCase):
    def start_retrying(self, first="500ms", extra="", attempts=3, url=None, **options):
        retry = f'retry "default" {{ attempts = {attempts}  first = "{first}"  backoff = "constant"  jitter = 0 }}\n'
        worker = self.start(self.config(self.queue.section(extra=extra, url=url), retry, **options))
        worker.wait_event("consumer started")
        return worker

    def queues(self, *columns):
        """Of each retry queue what `rabbitmqctl list_queues` says of it, beside its name."""
        rows = self.broker.ctl("list_queues", "-p", self.queue.vhost, "--no-table-headers", "name", *columns)
        rows = [row.split("\t") for row in rows.splitlines() if ".retry." in row]
        return {row[0]: row[1:] for row in rows}

    def wait_retried(self, worker, count=1):
        wait_for("it to wait", lambda: len([e for e in worker.events("job settled") if e["fate"] == "retried"]) == count)

    def waiting(self):
        """How many wait in the retry queues."""
        declare = self.queue.channel.queue_declare
        return sum(declare(name, passive=True).method.message_count for name in self.queues())

    def wait_due(self):
        """None is ready in a retry queue any more."""
        wait_for("its time to come", lambda: all(int(ready) == 0 for [ready] in self.queues("messages_ready").values()))


class WaitingRetries(Retrying):
    """The broker tries again what its queue did not take, after three minutes: here after a second."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        set_timeout = "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, {})."
        cls.broker.ctl("eval", set_timeout.format(1000))
        cls.addClassCleanup(cls.broker.ctl, "eval", set_timeout.format(180000))

    def make_again(self):
        self.queue.channel.queue_declare(self.queue.name, durable=True)

    def test_what_they_are(self):
        self.queue.publish(["a:exit:1"])
        worker = self.start_retrying(first="60s")
        self.wait_retried(worker)
        [(name, [kind, durable, arguments])] = self.queues("type", "durable", "arguments").items()
        self.assertRegex(name, r"^jobs\.retry\.60000\.20\d\d-\d\d-\d\d$")
        self.assertIn("quorum", kind)
        self.assertEqual(durable, "true")
        for argument in ("at-least-once", "reject-publish", "60000", str(60000 + 14 * 86400 * 1000)):
            self.assertIn(argument, arguments)
        self.assertEqual(worker.stop()[0], 0)

    def test_its_queue_is_made_again(self):
        self.queue.publish(["a:fail-until:2"])
        worker = self.start_retrying()
        self.wait_retried(worker)
        self.queue.channel.queue_delete(self.queue.name)
        self.wait_due()
        self.make_again()
        self.record.wait_ended(1, 30)
        self.assertEqual([run["attempt"] for run in self.record.runs("a")], ["1", "2"])
        self.assertEqual(worker.stop()[0], 0)

    def test_its_queue_is_full(self):
        full = {"x-max-length": 3, "x-overflow": "reject-publish"}
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "full", full)
        self.addCleanup(self.queue.close)
        self.queue.publish(["a:fail-until:2"])
        worker = self.start_retrying(first="2s")
        self.wait_retried(worker)
        worker.send(signal.SIGTSTP)
        wait_for("quiet", lambda: self.queue.consumers() == 0)
        self.queue.publish(["b", "c", "d"])
        self.wait_due()
        worker.send(signal.SIGCONT)
        self.record.wait_ended(4, 30)
        self.assertEqual(worker.stop()[0], 0)

    def test_delayed_by_enqueue(self):
        path = self.directory / "outfall.conf"
        path.write_text(self.config(self.queue.section()).replace("@REPORT@", "/dev/null"))
        done = self.run_outfall("enqueue", "-c", path, "mq/jobs", "--body", "a", "--delay", "500ms")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.queue.channel.queue_delete(self.queue.name)
        self.wait_due()
        self.make_again()
        wait_for("it to come", lambda: self.queue.take_all() == ["a"], 30)

    def test_those_of_before_come_back_too(self):
        """Queues that stand under the name and the arguments of older versions."""
        arguments = {"x-message-ttl": 500, "x-expires": 600500,
                     "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "jobs"}  # fmt: skip
        self.queue.channel.queue_declare("jobs.retry.500", durable=True, arguments=arguments)
        self.queue.channel.basic_publish("", "jobs.retry.500", "old")
        self.queue.publish(["a:fail-until:2"])
        worker = self.start_retrying()
        self.record.wait_ended(2)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_broker_that_cannot_keep_them_is_told(self):
        """One before 3.10, to all that it says: they wait in classic queues, as ever."""
        version = ".".join(map(str, self.broker.version))
        relay = Relay(self.broker.port)
        self.addCleanup(relay.close)
        relay.says = (version.encode(), ("3.0" + version[3:]).encode())
        self.queue.publish(["a:fail-until:3"])
        url = self.queue.url().replace(f":{self.broker.port}/", f":{relay.port}/")
        worker = self.start_retrying(first="3s", url=url)
        self.wait_retried(worker)
        [(name, [kind])] = self.queues("type").items()
        self.assertRegex(name, r"^jobs\.retry\.3000\.20\d\d-\d\d-\d\d\.classic$")
        self.assertIn("classic", kind)
        self.record.wait_ended(1)
        told = "retries may be lost: this broker drops one that its queue cannot take at the moment it is due; RabbitMQ 3.10 or later keeps it"
        self.assertEqual([event["source"] for event in worker.events(told)], ["mq"])
        self.assertEqual(worker.stop()[0], 0)

    def test_one_that_a_policy_expires_is_told(self):
        self.broker.ctl("set_policy", "-p", self.queue.vhost, "tidy", "retry", '{"expires":1000}', "--apply-to", "queues")
        self.queue.publish(["a:exit:1"])
        worker = self.start_retrying(first="60s")
        self.wait_retried(worker)
        wait_for("it to expire", lambda: not self.queues("messages"), 30)
        self.queue.publish(["b:exit:1"])
        event = worker.wait_event(
            "retry queue has vanished, and what waited in it: was it deleted, or does a policy expire it?"
        )
        self.assertEqual((event["level"], event["source"]), ("error", "mq"))
        self.assertRegex(event["queue"], r"^jobs\.retry\.60000\.")
        self.wait_retried(worker, 2)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_policy_that_bounds_them_loses_nothing(self):
        """What does not fit is not taken, and waits with the original."""
        self.broker.ctl("set_policy", "-p", self.queue.vhost, "tidy", "retry", '{"max-length":2}', "--apply-to", "queues")
        self.queue.publish([f"a{n}:fail-until:2" for n in range(9)])
        worker = self.start_retrying(first="200ms")
        self.record.wait_ended(9, 60)
        self.assertEqual(sorted(self.record.begun_twice()), [f"a{n}" for n in range(9)])
        self.assertEqual(worker.stop()[0], 0)

    def test_a_queue_that_delays_what_is_given_back(self):
        """It comes after that time, and not to the head; nothing is lost."""
        if self.broker.version < (4, 3):
            self.skipTest("from RabbitMQ 4.3 on")
        delays = {"x-queue-type": "quorum", "x-delayed-retry-type": "all",
                  "x-delayed-retry-min": 1000, "x-delayed-retry-max": 1000}  # fmt: skip
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "delaying", delays)
        self.addCleanup(self.queue.close)
        jobs = [f"j{n}" for n in range(4)]
        self.queue.publish([f"first:gate:{self.gate()}", *jobs])
        worker = self.start_retrying(extra="prefetch = 3  concurrency = 1")
        self.record.wait_begun(1)
        wait_for("a full prefetch", lambda: self.queue.depth() == 2)
        worker.send(signal.SIGTERM)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        worker = self.start_retrying()
        self.record.wait_ended(5)
        self.assertEqual(sorted(self.record.ended()), ["first", *jobs])
        self.assertEqual(worker.stop()[0], 0)


class InPieces(Retrying):
    """A body that is larger than what may wait in our output."""

    def body(self, name, size):
        return f"{name}:fail-until:2".encode() + b"\0" + os.urandom(1 << 16) * (size >> 16)

    def test_among_others(self):
        bodies = [self.body(f"a{n}", size) for n, size in enumerate((8 << 20, 100, 1 << 20, (1 << 20) + 65536, 5 << 20))]
        self.queue.publish(bodies)
        worker = self.start_retrying(first="100ms")
        self.record.wait_ended(len(bodies), 60)
        self.assertEqual(len(self.record.begun_twice()), len(bodies))
        self.assertEqual(worker.stop()[0], 0)

    def test_arrives_as_it_was(self):
        body = self.body("a", 8 << 20).replace(b"fail-until:2", b"exit:65\0....")
        self.queue.publish([body])
        worker = self.start_retrying()
        wait_for("its death", lambda: self.queue.dead_depth() == 1)
        [(dead, _)] = self.queue._take(self.queue.dead_name)
        self.assertTrue(dead == body)
        self.assertEqual(worker.stop()[0], 0)

    def test_withdrawn_in_the_middle(self):
        """Its original went back meanwhile. The half that was sent is nothing to the broker, and others go on."""
        relay = Relay(self.broker.port)
        self.addCleanup(relay.close)
        url = self.queue.url().replace(f":{self.broker.port}/", f":{relay.port}/")
        self.queue.publish([self.body("a", 30 << 20)])
        worker = self.start_retrying(first="60s", url=url)
        relay.hold_after(4 << 20)
        wait_for("half of it", relay.holds, 60)
        self.queue.channel.queue_purge(self.queue.name)
        relay.cut_first()
        worker.wait_event("rabbitmq connection lost, reconnecting", count=2)
        whys = [event["why"] for event in worker.events("rabbitmq connection lost, reconnecting")]
        self.assertIn("a message was withdrawn in the middle of its body", whys)
        worker.wait_event("consumer started", count=2)
        self.queue.publish(["b:exit:1"])
        wait_for("both to wait", lambda: self.waiting() == 2, 60)
        self.assertEqual(worker.stop()[0], 0)


class Expiration(Retrying):
    """A message that its producer gave an expiration: what is left of it survives a retry."""

    def assert_dead(self, why):
        wait_for("its death", lambda: self.queue.dead_depth() == 1)
        [(_, properties)] = self.queue._take(self.queue.dead_name)
        self.assertRegex(properties.headers["x-outfall-reason"], why)
        self.assertIsNone(properties.expiration)
        self.assertNotIn("x-outfall-expires", properties.headers)

    def test_too_short_for_another_attempt(self):
        self.queue.publish(["a:exit:1"], expiration="20000")
        worker = self.start_retrying(first="60s")
        self.assert_dead("^expires before its next attempt; exit status 1$")
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["dead"], 1)

    def test_over_when_it_comes_back(self):
        """It would have expired in its queue; the broker takes no notice of it any more."""
        self.queue.publish(["a:fail-until:2"], expiration="3000")
        worker = self.start_retrying(first="2s")
        self.wait_retried(worker)
        expires = time.monotonic() + 3
        worker.send(signal.SIGTSTP)
        wait_for("quiet", lambda: self.queue.consumers() == 0)
        wait_for("its end", lambda: time.monotonic() > expires)
        worker.send(signal.SIGCONT)
        self.assert_dead("^expired$")
        self.assertEqual([run["attempt"] for run in self.record.runs("a")], ["1"])
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["dead"], 1)

    def test_long_enough(self):
        self.queue.publish(["a:fail-until:3"], expiration="60000")
        worker = self.start_retrying(first="100ms")
        self.record.wait_ended(1)
        self.assertEqual([run["attempt"] for run in self.record.runs("a")], ["1", "2", "3"])
        self.assertEqual(worker.stop()[0], 0)


class Refused(Retrying):
    """The broker takes no body over max_message_size, and closes the channel over one that is larger. What is in
    its queues already it gives out all the same: the limit was another one, once (RabbitMQ 4.0 made it 16 MiB)."""

    REJECTED = "job is rejected, no copy of it can be made"

    @classmethod
    def find_broker(cls):
        broker = RabbitMQ()  # of its own: the limit is everybody's
        cls.addClassCleanup(broker.stop)
        return broker

    def limit(self, size):
        """For channels that are opened from now on; from RabbitMQ 4 on for all."""
        self.broker.ctl(
            "eval",
            f"application:set_env(rabbit, max_message_size, {size}), persistent_term:put(max_message_size, {size}).",
        )

    def setUp(self):
        super().setUp()
        self.limit(128 << 20)

    def fill(self, name, size):
        return f"{name}:exit:1".ljust(size)

    def assert_rejected(self, worker, count):
        for event in worker.events(self.REJECTED):
            self.assertEqual((event["level"], event["source"], event["queue"]), ("error", "mq", "jobs"))
            self.assertRegex(event["why"], "the broker refuses it: 406 PRECONDITION_FAILED - message size")
        self.assertEqual(len(worker.events(self.REJECTED)), count)

    def test_retries_beside_it(self):
        small = [self.fill(f"a{n}", 100 * n) for n in range(1, 60)]
        self.queue.publish([*small[:30], self.fill("large", 30000), *small[30:], self.fill("larger", 30001)])
        self.limit(10000)
        worker = self.start_retrying(first="60s", concurrency=70, extra="prefetch = 70")
        self.wait_retried(worker, len(small))
        worker.wait_event(self.REJECTED, count=2)
        self.assert_rejected(worker, 2)
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 5)
        self.assertEqual(self.waiting(), len(small))
        self.assertEqual(self.queue.depth(), 0)

    def test_dead_letters_beside_it(self):
        dead = [f"a{n}:exit:65" for n in range(40)]
        self.queue.publish([*dead[:20], "large:exit:65".ljust(30000), *dead[20:]])
        self.limit(10000)
        worker = self.start_retrying(concurrency=50, extra="prefetch = 50")
        wait_for("the others' death", lambda: self.queue.dead_depth() >= len(dead))
        worker.wait_event(self.REJECTED)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(sorted(self.queue.take_dead()), sorted(dead))

    def test_the_limit_is_lowered_under_them(self):
        """Here nobody can know which ones were taken: none is lost, the refused ones are found."""
        if self.broker.version < (4, 0):
            self.skipTest("a channel keeps its limit before RabbitMQ 4")
        small = [self.fill(f"a{n}", 1000) for n in range(20)]
        self.queue.publish([self.fill("first", 9000)])
        worker = self.start_retrying(first="60s", concurrency=30, extra="prefetch = 30")
        self.wait_retried(worker)
        worker.send(signal.SIGTSTP)
        wait_for("quiet", lambda: self.queue.consumers() == 0)
        self.queue.publish([*small[:10], self.fill("large", 8000), *small[10:], self.fill("larger", 8001)])
        self.limit(5000)
        worker.send(signal.SIGCONT)
        self.wait_retried(worker, 1 + len(small))
        worker.wait_event(self.REJECTED, count=2)
        self.assert_rejected(worker, 2)
        self.assertEqual(worker.stop()[0], 0)
        self.assertGreaterEqual(self.waiting(), 1 + len(small))

    def test_larger_than_max_body_too(self):
        """It would pass by on its way to `dead`, and does not get there."""
        died = RabbitQueue(self.broker, self.queue.vhost, "died")
        self.addCleanup(died.close)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "died"}
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "large", arguments)
        self.addCleanup(self.queue.close)
        self.queue.publish(["x" * 300_000, "y" * 120_000, "z" * 200_000, "a"])
        self.limit(150_000)
        worker = self.start_retrying(worker='max_body = "100k"')
        worker.wait_event("message rejected, larger than max_body, and no copy of it can be made", count=2, seconds=60)
        wait_for("the one that fits", lambda: self.queue.dead_depth() >= 1, 60)
        self.assertIn("a", self.record.ended())
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(sorted(len(body) for body in died.take_all()), [200_000, 300_000])
        self.assertEqual({len(body) for body in self.queue.take_dead()}, {120_000})

    def test_by_enqueue(self):
        self.limit(10000)
        path = self.directory / "outfall.conf"
        path.write_text(self.config(self.queue.section()).replace("@REPORT@", "/dev/null"))
        done = self.run_outfall("enqueue", "-c", path, "mq/jobs", "--body", "x" * 20000, "--count", "3")
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertIn("message size 20000 is larger than", done.stderr)
        self.assertEqual(self.queue.depth(), 0)


class Alarm(Retrying):
    """The broker reads nothing from connections that publish, as long as it has too little memory."""

    @classmethod
    def find_broker(cls):
        broker = RabbitMQ()  # of its own: an alarm is for everybody
        cls.addClassCleanup(broker.stop)
        return broker

    def setUp(self):
        super().setUp()
        self.addCleanup(self.end_alarm)

    def begin_alarm(self):
        self.broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")

    def end_alarm(self):
        self.broker.ctl("set_vm_memory_high_watermark", "0.6")

    def test_a_drain_does_not_wait_for_its_end(self):
        """Not even for what was sent: the originals go back in any case."""
        self.queue.publish(["a:exit:1", "b:exit:65", *(f"c{n}:exit:1" for n in range(20))])
        self.begin_alarm()
        worker = self.start_retrying(first="60s")
        worker.wait_event("publishing blocked by the broker, waiting")
        code, seconds = worker.stop()
        self.figure(f"exit {code} after {seconds:.2f} s of 30")
        self.assertEqual(code, 11)
        self.assertLess(seconds, 4 * patience())
        self.assertEqual({job["fate"] for job in worker.report()["jobs"]}, {"unsettled"})
        self.end_alarm()
        wait_for("all of them, or their copies",
                 lambda: self.queue.depth() + self.queue.dead_depth() + self.waiting() >= 22)  # fmt: skip

    def test_a_large_body_on_its_way_is_no_sign_of_death(self):
        """It fills every buffer between us and a broker that does not read."""
        self.queue.publish(["a:exit:1".ljust(16 << 20)])
        self.begin_alarm()
        section = self.queue.section().replace("url =", 'heartbeat = "1s"  url =')
        retry = 'retry "default" { attempts = 3  first = "60s"  jitter = 0 }\n'
        worker = self.start(self.config(section, retry))
        worker.wait_event("publishing blocked by the broker, waiting")
        deadline = time.monotonic() + 6  # three times as long as silence may take
        wait_for("three times the patience", lambda: time.monotonic() > deadline)
        self.assertEqual(worker.events("rabbitmq connection lost, reconnecting"), [])
        self.end_alarm()
        self.wait_retried(worker)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.waiting(), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
