#!/usr/bin/python3
"""A real Redis Cluster: the list is found on whatever node has its slot, and followed when the slot moves
or its master dies, under load."""

import contextlib
import signal
import unittest

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from authority import Authority
from brokers import RedisList, RedisServer
from ports import free_port
from worker import WorkerCase, wait_for

JOBS = 5000


class Cluster:
    """Three masters, one of them with a replica: the one that has the list."""

    def __init__(self):
        self.nodes = [self.node() for _ in range(4)]
        masters, replica = self.nodes[:3], self.nodes[3]
        bounds = [0, 5461, 10923, 16384]
        for node, low, high in zip(masters, bounds, bounds[1:]):
            self.ask(node, "ADDSLOTSRANGE", low, high - 1)
        # As redis-cli --cluster create does. Nodes of one epoch settle that among themselves, and a replica
        # whose master dies before it has heard of the new epoch is denied each vote, for good.
        for epoch, node in enumerate(self.nodes, 1):
            self.ask(node, "SET-CONFIG-EPOCH", epoch)
        for node in self.nodes[1:]:
            self.ask(node, "MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus)
        wait_for("all to have met", lambda: all(self.knows(n) for n in self.nodes))
        owner = wait_for("an owner of the list", lambda: self.owner("jobs"))
        self.ask(replica, "REPLICATE", self.id(owner))
        wait_for("the cluster", lambda: all(self.info(n, "cluster_state") == "ok" for n in self.nodes))
        wait_for("the replica", lambda: replica.client().info("replication").get("master_link_status") == "up")

    @staticmethod
    def node():
        bus = free_port()
        node = RedisServer("--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", 3000,
                           "--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1)  # fmt: skip
        node.bus = bus
        return node

    def ask(self, node, *words):
        return node.client().execute_command("CLUSTER", *words)

    def info(self, node, key):
        text = node.client().execute_command("CLUSTER INFO")
        return text[key] if isinstance(text, dict) else dict(
            line.split(":") for line in text.decode().split("\r\n") if line)[key]  # fmt: skip

    def knows(self, node):
        return int(self.info(node, "cluster_known_nodes")) == 4

    def id(self, node):
        return self.ask(node, "MYID").decode()

    def slot(self, key):
        return self.ask(self.nodes[0], "KEYSLOT", key)

    def owner(self, key):
        """The node that answers for it itself."""
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError):
                node.client().llen(key)
                if node.client().role()[0] == b"master":
                    return node
        return None

    def move_slot(self, key, to):
        """The way redis-cli --cluster reshard does it."""
        slot, source = self.slot(key), self.owner(key)
        self.ask(to, "SETSLOT", slot, "IMPORTING", self.id(source))
        self.ask(source, "SETSLOT", slot, "MIGRATING", self.id(to))
        yield  # half-way: nobody has all of the keys
        while keys := self.ask(source, "GETKEYSINSLOT", slot, 10):
            source.client().execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *self.nodes):
            with contextlib.suppress(redis.RedisError):  # a replica
                self.ask(node, "SETSLOT", slot, "NODE", self.id(to))

    def stop(self):
        for node in self.nodes:
            node.stop()


class Jobs(RedisList):
    def __init__(self, cluster):
        self.cluster = self.broker = cluster
        self.name, self.source, self.dead_name = "jobs", "cache", "{jobs}:dead"
        self.reconnect()

    def reconnect(self):
        owner = wait_for("a node that has the list", lambda: self.cluster.owner(self.name), 30)
        self.client = redis.Redis("127.0.0.1", owner.port, retry=Retry(NoBackoff(), 5),
                                  retry_on_error=[redis.ConnectionError])  # fmt: skip

    def url(self, password=None):
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.cluster.nodes)
        return f"redis+cluster://{hosts}"


class ClusterCase(WorkerCase):
    def setUp(self):
        super().setUp()
        self.cluster = Cluster()
        self.addCleanup(self.cluster.stop)
        self.queue = Jobs(self.cluster)

    def consume(self):
        section = self.queue.section(extra='lease = "9s"')
        worker = self.start(self.config(section, self.plugin_handler()))
        worker.wait_event("redis connected")
        return worker

    def under_load(self):
        self.queue.publish_to_all([f"j{n}:ms:2" for n in range(JOBS)], replicas=1)
        worker = self.consume()
        self.record.wait_ended(JOBS // 10)
        return worker

    def assert_each_ran(self, worker):
        """All of them, and one that came later; tells which ran twice."""
        self.queue.reconnect()
        wait_for("all to end", lambda: len(set(self.record.ended())) == JOBS, 60)
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0)
        self.queue.publish(["last"])
        wait_for("the last", lambda: "last" in self.record.ended())
        twice = self.record.ended_twice()
        self.figure(f"{JOBS} jobs, lost 0, run twice {len(twice)}")
        self.assertEqual(worker.stop()[0], 0)
        return twice

    def test_slot_moved_twice(self):
        worker = self.under_load()
        first = self.cluster.owner("jobs")
        others = [n for n in self.cluster.nodes[:3] if n is not first]
        for to in (others[0], first):
            for _ in self.cluster.move_slot("jobs", to):
                wait_for("the worker to stand still", lambda: self.says(worker, "TRYAGAIN", "ASK"))
            self.assertIs(self.cluster.owner("jobs"), to)
            ended = len(self.record.ended())
            wait_for("work to go on", lambda: len(self.record.ended()) > ended)
        self.assertEqual(self.assert_each_ran(worker), [])

    def says(self, worker, *words):
        """Since the link was restored last."""
        since = 0
        events = worker.events()
        for n, event in enumerate(events):
            if event["event"] == "redis link restored":
                since = n
        return any(word in event.get("why", "") for event in events[since:] for word in words)

    def test_slot_moved_while_waiting(self):
        worker = self.consume()
        wait_for("a blocked pop", lambda: any("b" in c["flags"] for c in self.queue.client.client_list()))
        first = self.cluster.owner("jobs")
        to = next(n for n in self.cluster.nodes[:3] if n is not first)
        for _ in self.cluster.move_slot("jobs", to):
            pass
        self.queue.reconnect()
        self.queue.publish(["j1"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_master_killed(self):
        worker = self.under_load()
        old = self.cluster.owner("jobs")
        old.kill(signal.SIGKILL)
        worker.wait_event("redis link restored", seconds=30)
        self.assertIs(self.cluster.owner("jobs"), self.cluster.nodes[3])
        self.assertLessEqual(len(self.assert_each_ran(worker)), JOBS // 10)

    def test_first_nodes_of_the_url_are_gone(self):
        owner = self.cluster.owner("jobs")
        self.assertIsNot(owner, self.cluster.nodes[0])
        config = self.config(self.queue.section(url=self.queue.url().replace("//", "//127.0.0.1:1,")))
        self.queue.publish(["j1"])
        worker = self.start(config)
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_node_is_no_server_of_its_own(self):
        owner = self.cluster.owner("jobs")
        other = next(node for node in self.cluster.nodes[:3] if node is not owner)
        worker = self.start(self.config(self.queue.section(url=f"redis://127.0.0.1:{other.port}/0")))
        self.assertEqual(worker.wait_exit(), 69)
        self.assertIn("write redis+cluster://", worker.log_text())

    def test_enqueue_is_redirected(self):
        worker = self.consume()
        done = self.run_outfall("enqueue", "-c", worker.config_path, "cache/jobs", "--body", "j1")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.run_outfall("enqueue", "-c", worker.config_path, "cache/jobs", "--body", "j2",
                                "--delay", "100ms")  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.record.wait_ended(2)

    def test_enqueue_while_the_slot_moves(self):
        """The list is empty, so there is none where the slot still is: that node says ASK."""
        worker = self.consume()
        first = self.cluster.owner("jobs")
        to = next(n for n in self.cluster.nodes[:3] if n is not first)
        for _ in self.cluster.move_slot("jobs", to):
            done = self.run_outfall("enqueue", "-c", worker.config_path, "cache/jobs", "--body", "j1",
                                    "--count", "3")  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.record.begun(), [])
        self.record.wait_ended(3)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_section_without_a_list(self):
        """There is nothing by which to find a node, and nothing that it is needed for."""
        empty = f'redis "empty" {{ url = "{self.queue.url()}" }}\n'
        worker = self.start(self.config(self.queue.section(), empty))
        worker.wait_event("redis connected", 2)
        self.queue.publish(["j1"])
        self.record.wait_ended(1)
        config = self.config(self.queue.section(), empty.replace("}\n", 'list "late" { handler = "h" } }\n'))
        worker.config_path.write_text(config.replace("@REPORT@", str(worker.report_path)))
        worker.send(signal.SIGHUP)
        line = worker.wait_event("setting needs a restart")
        self.assertIn("another list may be on another node", line["why"])
        self.assertEqual(worker.stop()[0], 0)

    def test_reload_keeps_to_the_list(self):
        """Another may be on another node; the same one may go and come."""
        worker = self.consume()

        def reload(name, count):
            config = self.config(self.queue.section(name=name))
            worker.config_path.write_text(config.replace("@REPORT@", str(worker.report_path)))
            worker.send(signal.SIGHUP)
            worker.wait_event("configuration reloaded", count)

        reload("other", 1)
        line = worker.wait_event("setting needs a restart")
        self.assertIn("another list may be on another node", line["why"])
        worker.wait_event("queue drained")
        reload("jobs", 2)
        self.queue.publish(["j1"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)


class Encrypted(WorkerCase):
    def test_the_way_through_another_node(self):
        ca = Authority(self.directory / "ca", "tests")
        pem, key = self.directory / "server.pem", self.directory / "server.key"
        ca.issue(pem, key, "127.0.0.1", names="IP:127.0.0.1")
        words = [word for name, value in {
            "cluster-enabled": "yes", "tls-cluster": "yes", "tls-replication": "yes", "tls-auth-clients": "no",
            "tls-ca-cert-file": ca.pem, "tls-cert-file": pem, "tls-key-file": key,
        }.items() for word in ("--" + name, value)]  # fmt: skip
        ports = [free_port() for _ in range(2)]
        nodes = [RedisServer(*words, "--cluster-port", free_port(), "--tls-port", port) for port in ports]
        for node in nodes:
            self.addCleanup(node.stop)
        slot = nodes[0].client().execute_command("CLUSTER", "KEYSLOT", "jobs")
        elsewhere, owner = nodes
        owner.client().execute_command("CLUSTER", "ADDSLOTS", slot)
        others = [n for n in range(16384) if n != slot]
        elsewhere.client().execute_command("CLUSTER", "ADDSLOTS", *others)
        bus = owner.options[owner.options.index("--cluster-port") + 1]
        elsewhere.client().execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1], bus)
        for node in nodes:
            wait_for("the cluster", lambda node=node: "cluster_state:ok" in self.info(node))
        owner.client().lpush("jobs", "j1")
        worker = self.start(self.config(
            f'redis "cache" {{ url = "rediss+cluster://127.0.0.1:{ports[0]}"\n'
            f'ca_file = "{ca.pem}"\nlist "jobs" {{ handler = "h" }} }}\n'))  # fmt: skip
        self.record.wait_ended(1)
        event = worker.wait_event("redis connected")
        self.assertEqual((event["master"], event["tls"]), (f"127.0.0.1:{ports[1]}", "TLSv1.3"))
        self.assertEqual(worker.stop()[0], 0)

    @staticmethod
    def info(node):
        text = node.client().execute_command("CLUSTER INFO")
        return "".join(f"{k}:{v}\n" for k, v in text.items()) if isinstance(text, dict) else text.decode()


if __name__ == "__main__":
    unittest.main(verbosity=2)
