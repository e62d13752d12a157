"""A set of Redis servers with real Sentinels, and a job list on whichever of them is the master."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from brokers import RedisList, RedisServer, wait_for


class SentinelSet:
    """A master, two replicas and three Sentinels that think it gone after two seconds; on a busy machine it
    may well be silent for one."""

    PASSWORD = "data:p@ss/word"

    def __init__(self, sentinel_password=None):
        self.secret = ["--requirepass", self.PASSWORD, "--masterauth", self.PASSWORD,
                       "--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1]  # fmt: skip
        self.sentinel_password = sentinel_password
        self.nodes = [RedisServer(*self.secret)]
        for _ in range(2):
            self.nodes.append(RedisServer(*self.secret, *self.replica_of(self.nodes[0])))
        wait_for("both replicas", lambda: self.online(self.nodes[0]) == 2)
        lines = [
            f"sentinel monitor jobs 127.0.0.1 {self.nodes[0].port} 2",
            f"sentinel auth-pass jobs {self.PASSWORD}",
            "sentinel down-after-milliseconds jobs 2000",
            "sentinel failover-timeout jobs 3000",
        ]
        if sentinel_password:
            lines.append(f"requirepass {sentinel_password}")
        self.sentinels = [RedisServer(sentinel=lines) for _ in range(3)]
        wait_for("the Sentinels to know each other", self.is_complete, 30)

    @staticmethod
    def replica_of(node):
        return "--replicaof", "127.0.0.1", node.port

    def version(self):
        server = self.client(self.nodes[0]).info("server")
        return "Valkey " + server["valkey_version"] if "valkey_version" in server else "Redis " + server["redis_version"]

    def online(self, node):
        info = self.client(node).info("replication")
        return sum(1 for n in range(2) if info.get(f"slave{n}", {}).get("state") == "online")

    def is_complete(self):
        """By their names: some versions of redis-py give the parsers of these commands arguments they do not know."""
        masters = [self.ask(s).execute_command("SENTINEL MASTER", "jobs") for s in self.sentinels]
        return all(m["num-other-sentinels"] == 2 and m["num-slaves"] == 2 for m in masters)

    def client(self, node):
        return node.client(password=self.PASSWORD, socket_timeout=5)

    def role(self, node):
        """None: it does not say, because it is being reconfigured."""
        try:
            return self.client(node).role()[0].decode()
        except redis.ConnectionError:
            return None

    def ask(self, sentinel):
        return sentinel.client(password=self.sentinel_password)

    def master(self):
        """As a majority of the Sentinels has it."""
        ports = [int(self.ask(s).execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "jobs")[1])
                 for s in self.sentinels if s.process.poll() is None]  # fmt: skip
        port = max(ports, key=ports.count)
        return next(node for node in self.nodes if node.port == port)

    def is_whole(self):
        """All three serve, and the Sentinels agree on who is the master."""
        try:
            master = self.master()
            return self.role(master) == "master" and self.online(master) == 2
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def bring_back(self, node):
        """As a replica, whatever it was: alone it would be an empty master until the Sentinels see it."""
        node.options = (*self.secret, *self.replica_of(self.master()))
        node.start()

    def url(self, password="data%3Ap%40ss%2Fword", extra=""):
        hosts = ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels)
        if self.sentinel_password:
            extra += f"?sentinel_password={self.sentinel_password}"
        return f"redis+sentinel://:{password}@{hosts}/jobs/2{extra}"

    def stop(self):
        for server in self.sentinels + self.nodes:
            server.stop()


class Jobs(RedisList):
    """The list in the set's database 2, on whichever node is the master now."""

    def __init__(self, servers, name="jobs"):
        self.servers = servers
        self.name, self.source, self.dead_name = name, "cache", "{%s}:dead" % name
        self.broker = self
        self.reconnect()

    def reconnect(self):
        # Who is promoted throws out its clients, and may do so more than once.
        self.client = redis.Redis(
            "127.0.0.1", self.servers.master().port, db=2, password=self.servers.PASSWORD,
            retry=Retry(NoBackoff(), 5), retry_on_error=[redis.ConnectionError],
        )  # fmt: skip

    def url(self, password=None):
        return self.servers.url()
