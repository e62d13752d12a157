"""A real cluster of three RabbitMQ nodes: a quorum queue's leader dies under load, nodes hang or are away when
retries fall due, and no job is lost."""

import signal
import time
import unittest

import pika

from brokers import RabbitQueue, wait_for
from cluster import Cluster
from worker import WorkerCase

JOBS = 600
PREFETCH = 20
QUORUM = {"x-queue-type": "quorum"}


def setUpModule():
    global cluster
    cluster = Cluster()
    unittest.addModuleCleanup(cluster.stop)


class ClusterCase(WorkerCase):
    def setUp(self):
        super().setUp()
        self.cluster, self.version = cluster, cluster.nodes[0].version
        self.name = self.id().split(".")[-1]

    def tearDown(self):
        super().tearDown()
        for node in self.cluster.nodes:
            node.start()  # who was killed
            node.kill(signal.SIGCONT)

    def publish(self, bodies):
        for n, body in enumerate(bodies):
            self.queue.channel.basic_publish(
                "", self.name, body, pika.BasicProperties(delivery_mode=2, message_id=f"m{n}")
            )


class QuorumCluster(ClusterCase):
    def setUp(self):
        super().setUp()
        self.queue = RabbitQueue(self.cluster.nodes[0], "/", self.name, QUORUM)

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


class ClassicQueue(ClusterCase):
    def test_a_worker_that_starts_while_its_node_is_away_waits_for_it(self):
        home, other = self.cluster.nodes[0], self.cluster.nodes[1]
        self.queue = RabbitQueue(home, "/", self.name)
        self.publish(["j"])
        home.ctl("stop_app")
        url = f"amqp://guest:guest@127.0.0.1:{other.port}/%2f"
        worker = self.start(self.config(self.queue.section(url=url)))
        wait_for("a first refusal", lambda: "404" in worker.log_text())
        home.ctl("start_app")
        self.record.wait_ended(1, 60)
        self.assertEqual(worker.stop()[0], 0)


class RetriesFallDue(ClusterCase):
    """While those who are to have them are away. The worker is connected to a node that stays."""

    COUNT = 10
    FIRST_S = 5

    def fail_all(self, home, arguments=None):
        """Each has failed once, and is to be tried again FIRST_S later."""
        self.queue = RabbitQueue(home, "/", self.name, arguments)
        self.stays = next(node for node in self.cluster.nodes if node is not home)
        self.bodies = [f"r{n}:fail-until:2" for n in range(self.COUNT)]
        self.publish(self.bodies)
        retry = f'retry "default" {{ attempts = 5  backoff = "constant"  first = "{self.FIRST_S}s"  jitter = 0 }}\n'
        url = f"amqp://guest:guest@127.0.0.1:{self.stays.port}/%2f"
        worker = self.start(self.config(self.queue.section(url=url), retry))
        wait_for("all to have failed", lambda: len(worker.events("job settled")) == self.COUNT)
        self.due = time.monotonic() + self.FIRST_S
        return worker

    def wait_until_due(self):
        time.sleep(max(0, self.due + 1 - time.monotonic()))  # and something more

    def assert_all_tried_again(self, worker):
        wait_for("each to end", lambda: len(set(self.record.ended())) == self.COUNT, 120)
        self.assertEqual(worker.stop()[0], 0)
        self.figure(f"lost 0, run twice {len(self.record.ended_twice())}")
        self.assertEqual(len(self.record.begun()), 2 * self.COUNT)

    def test_while_the_node_of_a_classic_queue_is_away(self):
        """What the broker could not hand over it tries again, by default after three minutes."""
        for node in self.cluster.nodes:
            node.ctl("eval", "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 5000).")
        home = self.cluster.nodes[0]
        worker = self.fail_all(home)
        home.ctl("stop_app")
        self.wait_until_due()
        home.ctl("start_app")
        self.assert_all_tried_again(worker)

    def test_while_the_leader_of_a_quorum_queue_is_dead(self):
        worker = self.fail_all(self.cluster.nodes[1], QUORUM)
        leader = self.cluster.leader_of(self.name)
        leader.kill() if leader is not self.stays else self.cluster.nodes[1].kill()
        self.wait_until_due()
        self.assert_all_tried_again(worker)

    def test_while_a_majority_hangs(self):
        """To each other and to the worker's node they are cut off."""
        worker = self.fail_all(self.cluster.nodes[2], QUORUM)
        others = [node for node in self.cluster.nodes if node is not self.stays]
        for node in others:
            node.kill(signal.SIGSTOP)
        self.wait_until_due()
        for node in others:
            node.kill(signal.SIGCONT)
        self.assert_all_tried_again(worker)


if __name__ == "__main__":
    unittest.main(verbosity=2)
