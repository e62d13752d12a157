"""What depends on the version that RabbitMQ says it has: a relay in front of the real one says another, and keeps
what the worker sends."""

import contextlib
import re
import socket
import struct
import threading
import unittest

from worker import RabbitCase

BASIC_CONSUME, BASIC_REJECT, BASIC_NACK = (60, 20), (60, 90), (60, 120)


class Relay:
    def __init__(self, port, version):
        self.version, self.port = version, port
        self.sent = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.port))
                for source, sink, see in ((client, server, self.keep), (server, client, self.rewrite)):
                    threading.Thread(target=self.pump, args=(source, sink, see), daemon=True).start()

    def pump(self, source, sink, see):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(see(data))
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def keep(self, data):
        self.sent += data
        return data

    def rewrite(self, data):
        """Only what has as many letters fits."""
        return re.sub(rb"(?<=version\x53\x00\x00\x00\x06)\d\.\d\d\.\d", self.version.encode(), data, count=1)

    def methods(self, wanted):
        """The payloads of the methods of this kind that the worker sent, behind the header AMQP0091."""
        at, found = 8, []
        while at + 8 <= len(self.sent):
            kind, _, size = struct.unpack_from(">BHI", self.sent, at)
            payload = bytes(self.sent[at + 7 : at + 7 + size])
            if kind == 1 and struct.unpack_from(">HH", payload) == wanted:
                found.append(payload)
            at += 7 + size + 1
        return found


class Versions(RabbitCase):
    def start_behind(self, version, queue="", handler="", **options):
        self.relay = Relay(self.broker.port, version)
        self.addCleanup(self.relay.listener.close)
        section = re.sub(r"(@127\.0\.0\.1:)\d+", rf"\g<1>{self.relay.listener.getsockname()[1]}",
                         self.queue.section(extra=queue))  # fmt: skip
        worker = self.start(self.config(section, self.exec_handler(extra=handler), **options))
        server = worker.wait_event("rabbitmq connected")["server"]
        self.assertEqual(server, f"RabbitMQ {version}")
        worker.wait_event("consumer started")
        return worker

    def test_consumer_timeout_is_asked_for_where_it_is_known(self):
        worker = self.start_behind("3.12.0", queue='consumer_timeout = "1h"')
        (consume,) = self.relay.methods(BASIC_CONSUME)
        name = b"x-consumer-timeout"
        at = consume.index(name) + len(name)
        self.assertIn(consume[at : at + 1], b"Il")
        self.assertEqual(int.from_bytes(consume[at + 1 : at + (5 if consume[at : at + 1] == b"I" else 9)]), 3600000)
        self.assertEqual(worker.stop()[0], 0)

    def test_and_else_it_is_said_that_it_is_not(self):
        worker = self.start_behind("3.11.0", queue='consumer_timeout = "1h"')
        self.assertNotIn(b"x-consumer-timeout", self.relay.sent)
        self.assertIn("consumer_timeout is not for this broker", worker.log_text())
        self.assertEqual(worker.stop()[0], 0)

    def returns(self, version, code):
        """A job that its handler gives back once: the worker's rejects and nacks until then."""
        worker = self.start_behind(version, handler='exit_codes = "cli-consumer"', concurrency=1)
        self.queue.publish([f"j:exit:{code}"])
        self.record.wait_begun(2)
        worker.send(9)
        worker.wait_exit()
        return self.relay.methods(BASIC_REJECT), self.relay.methods(BASIC_NACK)

    def test_a_failure_that_goes_back_is_rejected_from_4_on(self):
        rejects, nacks = self.returns("4.10.8", 4)
        self.assertEqual((rejects[0][-1], nacks), (1, []))  # with requeue

    def test_an_interruption_never_is(self):
        rejects, nacks = self.returns("4.10.8", 6)
        self.assertEqual(rejects, [])
        self.assertTrue(nacks)

    def test_before_4_both_are_the_same_to_the_broker(self):
        rejects, nacks = self.returns("3.10.8", 4)
        self.assertEqual(rejects, [])
        self.assertTrue(nacks)


if __name__ == "__main__":
    unittest.main(verbosity=2)
