"""Three RabbitMQ nodes of our own that are one cluster.

Each has a folder like any private broker (brokers.py). What makes them one is written into the folders
before the first start: the same cookie, the same epmd to find each other, names of their own, and whom
to join. epmd is nobody's but the cluster's, so that it outlives each node."""

import secrets
import subprocess
import threading

from brokers import BROKER_EXEC, RabbitMQ, folder, wait_for
from ports import free_port

NODES = 3


class Node(RabbitMQ):
    """One of them. A kill takes the broker alone."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name  # the cluster starts it

    def erlang_name(self):
        return f"{self.name}@localhost"


class Cluster:
    def __init__(self):
        self.directory = folder("cluster")
        ports = [free_port() for _ in range(NODES + 1)]
        self.epmd_port = ports.pop()
        self.epmd = subprocess.Popen(
            [*BROKER_EXEC, "epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        cookie = secrets.token_hex(16)
        self.nodes = [Node(self.directory / f"n{n}", f"n{n}") for n in range(1, NODES + 1)]
        for node, dist_port in zip(self.nodes, ports):
            self._prepare(node, cookie, dist_port)
        self._start_all()

    def _prepare(self, node, cookie, dist_port):
        inside = node.directory / "rabbitmq"
        (inside / "home").mkdir(parents=True)
        path = inside / "home" / ".erlang.cookie"
        path.write_text(cookie)
        path.chmod(0o400)
        first = self.nodes[0]
        if node is not first:
            (node.directory / "rabbitmq.conf").write_text(
                "cluster_formation.peer_discovery_backend = classic_config\n"
                f"cluster_formation.classic_config.nodes.1 = {first.erlang_name()}\n"
                f"cluster_formation.classic_config.nodes.2 = {node.erlang_name()}\n"
            )
        (inside / "environment").write_text(
            f"""export HOME='{inside}/home'
export ERL_EPMD_PORT={self.epmd_port} ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_NODENAME={node.erlang_name()} RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_CONFIG_FILE='{inside}/rabbitmq'
export RABBITMQ_MNESIA_BASE='{inside}/mnesia' RABBITMQ_MNESIA_DIR='{inside}/mnesia/n'
export RABBITMQ_LOG_BASE='{inside}/log' RABBITMQ_ENABLED_PLUGINS_FILE='{inside}/enabled_plugins'
export RABBITMQ_GENERATED_CONFIG_DIR='{inside}/generated'
export RABBITMQ_FEATURE_FLAGS_FILE='{inside}/feature_flags' RABBITMQ_PID_FILE='{inside}/server.pid'
export RABBITMQ_DIST_PORT={dist_port} RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+sbwt none +sbwtdcpu none +sbwtdio none'
export RUNNING_UNDER_SYSTEMD=1
"""
        )

    def _start_all(self):
        # Side by side from the beginning each might find nobody, and be a cluster of one.
        first, *others = self.nodes
        first.start()
        threads = [threading.Thread(target=node.start) for node in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for("three nodes in one cluster", lambda: self._together() == NODES, 300)

    def _together(self):
        return int(self.nodes[0].ctl("eval", "length(rabbit_nodes:all_running()).").strip())

    def leader_of(self, queue):
        """The node that leads it, asked of any that runs."""
        for node in self.nodes:
            try:
                rows = node.ctl("list_queues", "--no-table-headers", "name", "leader")
            except RuntimeError:
                continue  # it is down
            for row in rows.splitlines():
                name, leader = row.split("\t")
                if name == queue:
                    return next(n for n in self.nodes if n.erlang_name() == leader)
        return None

    def running(self):
        return [node for node in self.nodes if (node.directory / "rabbitmq.pid").exists()]

    def move_leader(self, queue, to):
        """False: the broker would not, because a leader is being elected or that node is away."""
        name = f'rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)'
        said = to.ctl(
            "eval",
            f"{{ok, Queue}} = rabbit_amqqueue:lookup({name}), "
            f"rabbit_quorum_queue:transfer_leadership(Queue, '{to.erlang_name()}').",
        )
        return "migrated" in said

    def urls(self, ports=None):
        ports = ports or [node.port for node in self.nodes]
        return ", ".join(f'"amqp://guest:guest@127.0.0.1:{port}/%2f"' for port in ports)

    def stop(self):
        for node in self.nodes:
            node.stop()
        self.epmd.kill()
        self.epmd.wait()
