"""A real cluster of three RabbitMQ nodes and a quorum queue: its leader dies under load, nodes hang, and
no job is lost."""

import signal
import unittest

import pika

from brokers import RabbitQueue, wait_for
from cluster import Cluster
from worker import WorkerCase

JOBS = 600
PREFETCH = 20


class QuorumCluster(WorkerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.stop)
        cls.version = cls.cluster.nodes[0].version

    def setUp(self):
        super().setUp()
        self.name = self.id().split(".")[-1]
        self.queue = RabbitQueue(self.cluster.nodes[0], "/", self.name, {"x-queue-type": "quorum"})

    def tearDown(self):
        super().tearDown()
        for node in self.cluster.nodes:
            node.start()  # who was killed
            node.kill(signal.SIGCONT)

    def start_under_load(self):
        self.tags = [f"j{n}" for n in range(JOBS)]
        self.publish([f"{tag}:ms:10" for tag in self.tags])
        section = (
            f'rabbitmq "mq" {{ urls = {{{self.cluster.urls()}}}  heartbeat = "1s"  connect_timeout = "1s"\n'
            f'  queue "{self.name}" {{ handler = "h"  prefetch = {PREFETCH} }} }}\n'
        )
        worker = self.start(self.config(section, self.plugin_handler(threads=4)))
        self.record.wait_ended(JOBS // 10)
        return worker

    def publish(self, bodies):
        for n, body in enumerate(bodies):
            self.queue.channel.basic_publish(
                "", self.name, body, pika.BasicProperties(delivery_mode=2, message_id=f"m{n}")
            )

    def node_of(self, worker):
        """Whom it is connected to now."""
        url = worker.events("rabbitmq connected")[-1]["url"]
        return next(n for n in self.cluster.nodes if f":{n.port}/" in url)

    def given_back_s(self):
        """After how long at most a queue gives back what was out on a node that died. From 4.3 on it is
        consumer_disconnected_timeout, a minute."""
        return 120 if self.version >= (4, 3) else 60

    def assert_all_done(self, worker):
        wait_for("every job to end", lambda: set(self.record.ended()) == set(self.tags), self.given_back_s())
        survivors = [n for n in self.cluster.nodes if n is not self.struck]
        queue = RabbitQueue(survivors[0], "/", self.name, declare=False)
        wait_for("an empty queue", lambda: queue.depth() == 0)
        # Not the number of consumers: a quorum queue still counts one whose node has died.
        last = wait_for("a publish to be confirmed", lambda: self.publish_one_more(survivors), 60, 0.5)
        wait_for("one more job", lambda: last in self.record.ended(), 30)
        code, _ = worker.stop()
        self.assertEqual(code, 0)
        twice = self.record.ended_twice()
        self.figure(f"lost 0, run twice {len(twice)}, recognised "
                    f"{len(worker.events('job recognised, not run again'))}")  # fmt: skip
        self.assertEqual(twice, [], "this worker knows its own again")

    def publish_one_more(self, survivors):
        """While a leader is elected the broker may say no, and a channel that was told so may go on to be; whether
        it has kept the job all the same, nobody knows."""
        self.tries = getattr(self, "tries", 0) + 1
        queue = RabbitQueue(survivors[self.tries % len(survivors)], "/", self.name, declare=False)
        try:
            queue.channel.basic_publish("", self.name, f"last{self.tries}")
        except pika.exceptions.NackError:
            return None
        finally:
            queue.close()
        return f"last{self.tries}"

    def test_leader_killed_under_load(self):
        worker = self.start_under_load()
        self.struck = self.cluster.leader_of(self.name)
        self.struck.kill()
        self.assert_all_done(worker)

    def test_node_of_the_worker_killed_under_load(self):
        worker = self.start_under_load()
        self.struck = self.node_of(worker)
        self.struck.kill()
        wait_for("another node", lambda: self.node_of(worker) is not self.struck)
        self.assert_all_done(worker)

    def test_node_of_the_worker_hangs_longer_than_the_heartbeat(self):
        worker = self.start_under_load()
        self.struck = self.node_of(worker)
        self.struck.kill(signal.SIGSTOP)
        wait_for("another node", lambda: self.node_of(worker) is not self.struck)
        self.struck.kill(signal.SIGCONT)
        self.assert_all_done(worker)


if __name__ == "__main__":
    unittest.main(verbosity=2)
