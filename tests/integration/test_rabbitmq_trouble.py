#!/usr/bin/python3
"""What a RabbitMQ does that has little to do with us, and must cost no more than itself: a leader that does not
answer, headers that grow, a limit on connections, a password that is a token."""

import signal
import struct
import time
import unittest

import pika

from brokers import RabbitQueue
from relay import Relay
from worker import RabbitCase, wait_for

FULL = 131072 - 8 - 14  # of a frame: what its header may take


class Headers(RabbitCase, unittest.TestCase):
    def fill(self, body, spare):
        """A message whose properties leave so many bytes of the frame."""
        properties = pika.BasicProperties(delivery_mode=2, headers={"pad": ""})
        used = sum(len(piece) for piece in properties.encode())
        properties.headers["pad"] = "x" * (FULL - used - spare)
        self.queue.channel.basic_publish("", self.queue.name, body, properties)

    def test_headers_that_the_broker_makes_larger_than_a_frame(self):
        """It counts deliveries of a quorum queue in a header, however full they are."""
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "quorum", {"x-queue-type": "quorum"})
        self.addCleanup(self.queue.close)
        self.fill("full", 0)
        self.queue.publish(["a", "b"])
        with self.broker.connect(self.queue.vhost) as connection:  # somebody gives it back
            channel = connection.channel()
            method, _, _ = channel.basic_get(self.queue.name)
            channel.basic_nack(method.delivery_tag, requeue=True)
        worker = self.start(self.config(self.queue.section()))
        self.record.wait_ended(3)
        self.assertEqual(worker.events("rabbitmq connection lost, reconnecting"), [])
        self.assertEqual(worker.stop()[0], 0)

    def test_headers_that_leave_no_room_for_a_retry(self):
        self.fill("full:exit:1", 10)
        self.queue.publish(["a:exit:1", "b"])
        worker = self.start(self.config(self.queue.section(), 'retry "default" { attempts = 2 first = "10ms" }\n'))
        event = worker.wait_event("job is rejected, no copy of it can be made")
        self.assertIn("queue", event)
        wait_for("the other one's second attempt", lambda: len(self.record.runs("a")) == 2)
        code, took = worker.stop()[:2]
        self.assertEqual(code, 0)
        fates = [e["fate"] for e in worker.events("job settled")]
        self.assertIn("dead", fates)
        wait_for("nothing is left", lambda: self.queue.depth() == 0)


class Logins(RabbitCase, unittest.TestCase):
    def test_a_password_as_long_as_a_token(self):
        password = "t" * 3000
        self.broker.ctl("add_user", "token", password)
        self.addCleanup(self.broker.ctl, "delete_user", "token")
        self.broker.ctl("set_permissions", "-p", self.queue.vhost, "token", ".*", ".*", ".*")
        url = f"amqp://token:{password}@127.0.0.1:{self.broker.port}/{self.queue.vhost}"
        self.queue.publish(["a"])
        worker = self.start(self.config(self.queue.section(url=url)))
        self.record.wait_ended(1)
        self.assertNotIn(password, worker.log_text())
        self.assertEqual(worker.stop()[0], 0)

    def test_a_limit_on_connections_is_waited_for(self):
        """A rolling deploy: the old workers still have theirs."""
        self.queue.publish(["a"])
        self.broker.ctl("set_vhost_limits", "-p", self.queue.vhost, '{"max-connections":1}')
        worker = self.start(self.config(self.queue.section()))
        event = worker.wait_event("rabbitmq connection lost, reconnecting")
        self.assertIn("limit", event["why"])
        self.broker.ctl("clear_vhost_limits", "-p", self.queue.vhost)
        self.record.wait_ended(1, 30)
        self.assertEqual(worker.stop()[0], 0)

    def test_one_address_that_refuses_is_not_all_of_them(self):
        self.queue.publish(["a"])
        good = self.queue.url()
        bad = good.rsplit("/", 1)[0] + "/nowhere"
        section = self.queue.section().replace(f'url = "{good}"', f'urls = {{"{bad}", "{good}"}}')
        for _ in range(3):  # they are tried in random order
            worker = self.start(self.config(section))
            self.wait_consuming(worker)
            self.assertEqual(worker.stop()[0], 0)
        only_bad = self.queue.section(url=bad)
        self.assertEqual(self.start(self.config(only_bad)).wait_exit(), 69)


class WithoutLeader(RabbitCase, unittest.TestCase):
    """Its broker answers basic.consume after a minute or more, and with 541, for the whole connection."""

    def test_a_queue_that_costs_the_connection_is_not_asked_again_at_once(self):
        bad = RabbitQueue(self.broker, self.queue.vhost, "bad", {"x-queue-type": "quorum"})
        self.addCleanup(bad.close)
        relay = Relay(self.broker.port)
        self.addCleanup(relay.close)
        url = f"amqp://guest:guest@127.0.0.1:{relay.port}/{self.queue.vhost}"
        text = self.queue.section(url=url).rstrip().removesuffix("}") + 'queue "bad" { handler = "h" }\n}\n'
        words = b"INTERNAL_ERROR"  # and not whose
        close = struct.pack(">HHH", 10, 50, 541) + bytes([len(words)]) + words + struct.pack(">HH", 0, 0)
        with self.broker.leader_stalled(self.queue.vhost, "bad", seconds=7):
            worker = self.start(self.config(text))
            worker.wait_event("consumer started")
            moves = lambda to: [m for m in worker.events("channel moved") if (m["queue"], m["to"]) == ("bad", to)]
            wait_for("basic.consume", lambda: moves("subscribing"))
            since = time.monotonic()
            wait_for("it to take long", lambda: time.monotonic() > since + 1.2)
            relay.put_in(struct.pack(">BHI", 1, 0, len(close)) + close + b"\xce")
            worker.wait_event("queue has cost the connection, not consumed for a while")
            worker.wait_event("consumer started", 2)
            self.queue.publish(["a"])
            self.record.wait_ended(1)
            wait_for("the other to be ready", lambda: moves("ready"))
            self.assertEqual(len(moves("subscribing")), 1)
        bad.publish(["b"])
        self.record.wait_ended(2, 30)
        self.assertEqual(len(worker.events("rabbitmq connected")), 2)
        self.assertEqual(worker.stop()[0], 0)


class Strangers(RabbitCase, unittest.TestCase):
    """What no RabbitMQ says, and other brokers may."""

    def test_a_message_returned_where_nothing_was_published(self):
        relay = Relay(self.broker.port)
        self.addCleanup(relay.close)
        url = f"amqp://guest:guest@127.0.0.1:{relay.port}/{self.queue.vhost}"
        worker = self.start(self.config(self.queue.section(url=url)))
        worker.wait_event("consumer started")
        method = struct.pack(">HHH", 60, 50, 312) + b"\x08NO_ROUTE\x00\x01x"  # to the default exchange
        header = struct.pack(">HHQH", 60, 0, 5, 0)
        frames = ((1, method), (2, header), (3, b"hello"))
        relay.put_in(b"".join(struct.pack(">BHI", kind, 1, len(body)) + body + b"\xce" for kind, body in frames))
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        self.assertEqual(len(worker.events("rabbitmq connected")), 1)
        self.assertEqual(self.record.begun(), ["a"])
        self.assertEqual(worker.stop()[0], 0)


class Transactions(RabbitCase, unittest.TestCase):
    def test_unfit_messages_after_many_were_given_back(self):
        """More than fifty single nacks put the channel into transactions, where an answer holds only
        when it is committed: so must that to a message that never becomes a job."""
        self.queue.publish([f"first:gate:{self.gate()}"] + [f"j{n}" for n in range(69)])
        extra = 'prefetch = 100 concurrency = 1'
        worker = self.start(self.config(self.queue.section(extra=extra, dead=False), worker='max_body = "1k"',
                                        concurrency=1))
        self.record.wait_begun(1)
        wait_for("a full prefetch", lambda: self.queue.depth() == 0)

        worker.send(signal.SIGTSTP)
        wait_for("what it held to be back", lambda: self.queue.depth() == 69)
        self.queue.channel.queue_purge(self.queue.name)
        self.queue.publish(["x" * 5000] * 150 + ["last"])
        worker.send(signal.SIGCONT)
        self.open_gate()
        wait_for("the job behind them", lambda: "last" in self.record.ended())
        self.assertEqual(worker.stop()[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
