"""What depends on RabbitMQ's version, on the one that is there, which says it. tests/run.sh --brokers brings the others."""

import contextlib
import re
import socket
import struct
import threading
import unittest

from worker import RabbitCase, RabbitQueue, wait_for

BASIC_CONSUME = (60, 20)
LIMIT = 2


class Recorder:
    """A relay that keeps what the worker sends."""

    def __init__(self, port):
        self.port = port
        self.sent = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.port))
                for source, sink, keeps in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self.pump, args=(source, sink, keeps), daemon=True).start()

    def pump(self, source, sink, keeps):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if keeps:
                    self.sent += data
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

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
    def test_the_worker_says_which_it_is(self):
        worker = self.start(self.config(self.queue.section()))
        server = worker.wait_event("rabbitmq connected")["server"]
        self.assertEqual(server, "RabbitMQ " + ".".join(map(str, self.broker.version)))
        self.assertEqual(worker.stop()[0], 0)

    def consumes_with_timeout(self, queue):
        """Whether the consumer that started asked for its timeout; elsewhere it is said that it is not for that one."""
        relay = Recorder(self.broker.port)
        self.addCleanup(relay.listener.close)
        section = re.sub(r"(@127\.0\.0\.1:)\d+", rf"\g<1>{relay.listener.getsockname()[1]}",
                         queue.section(extra='consumer_timeout = "1h"'))  # fmt: skip
        worker = self.start(self.config(section))
        worker.wait_event("consumer started")
        consume = relay.methods(BASIC_CONSUME)[-1]
        name, milliseconds = b"x-consumer-timeout", 3600 * 1000
        has = name in consume
        self.assertEqual("consumer_timeout is not for this" in worker.log_text(), not has)
        if has:
            at = consume.index(name) + len(name)
            width = {b"I": 4, b"l": 8}[consume[at : at + 1]]
            self.assertEqual(int.from_bytes(consume[at + 1 : at + 1 + width], "big"), milliseconds)
        queue.publish(["j"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)
        return has

    def test_consumer_timeout_of_a_classic_queue(self):
        self.assertEqual(self.consumes_with_timeout(self.queue), (3, 12) <= self.broker.version < (4, 3))

    def test_consumer_timeout_of_a_quorum_queue(self):
        queue = RabbitQueue(self.broker, self.queue.vhost, "q", {"x-queue-type": "quorum"})
        self.addCleanup(queue.close)
        self.assertEqual(self.consumes_with_timeout(queue), self.broker.version >= (3, 12))

    def start_returning(self, code):
        """A job that its handler gives back each time, on a queue that lets it die when it came too often."""
        arguments = {
            "x-queue-type": "quorum",
            "x-delivery-limit": LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "few.dead",
        }
        self.few = RabbitQueue(self.broker, self.queue.vhost, "few", arguments)
        self.addCleanup(self.few.close)
        self.few.publish([f"j:exit:{code}"])
        handler = self.exec_handler(extra='exit_codes = "cli-consumer"')
        return self.start(self.config(self.few.section(), handler, concurrency=1))

    def assert_dies_of_its_returns(self, worker):
        wait_for("the broker to have enough", lambda: self.few.dead_depth() == 1)
        self.assertEqual(len(self.record.begun()), 1 + LIMIT)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_failure_that_goes_back_counts_against_a_delivery_limit(self):
        self.assert_dies_of_its_returns(self.start_returning(code=4))

    def test_what_goes_back_without_having_failed_never_dies_of_it(self):
        worker = self.start_returning(code=6)
        self.record.wait_begun(10)
        self.assertEqual(worker.stop()[0], 0)
        wait_for("it to be back", lambda: self.few.depth() == 1)
        self.assertEqual(self.few.dead_depth(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
