"""Private brokers for tests and benchmarks, and the queues in them as a test sees them.

RabbitMQ takes seconds to boot, so one serves a whole run: tests/run.sh starts it and says where
in OUTFALL_TEST_RABBITMQ; a test file that is run by hand boots its own. Each test has a virtual
host of its own there. Redis starts in no time: each test class has one.

What depends on a broker's version asks the broker: `broker.version` is (3, 10, 8), and Redis says besides
whether it `is_valkey`. tests/run.sh --brokers brings other versions.

Queues of both kinds look alike to a test (publish, contents, depth, dead letters), because most tests
want the same of both.
"""

import atexit
import contextlib
import functools
import itertools
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pika
import redis
from ports import free_port

TOP = Path(__file__).resolve().parents[2]
SCRIPT = TOP / "config" / "private_brokers.sh"

# In front of what is a broker's: it may come out of another Debian's root folder (tests/run.sh --brokers).
BROKER_EXEC = ("sh", str(SCRIPT), "exec")
REDIS_SERVER = os.environ.get("OUTFALL_TEST_REDIS") or "redis-server"


def scratch():
    """The folder all of this run's files live in. Its name is in the environment of every process
    we start, which is how those left behind are found."""
    if "OUTFALL_TEST_SCRATCH" not in os.environ:
        path = tempfile.mkdtemp(prefix="outfall-tests.")
        os.environ["OUTFALL_TEST_SCRATCH"] = path
        atexit.register(_clean, path)
        signal.signal(signal.SIGTERM, lambda *_: _give_up(path))
    return Path(os.environ["OUTFALL_TEST_SCRATCH"])


def _clean(path):
    marker = f"OUTFALL_TEST_SCRATCH={path}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            mine = marker in Path("/proc", pid, "environ").read_bytes().split(b"\0")
            if mine and int(pid) != os.getpid():
                os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass  # ended meanwhile, or not ours to look at
    shutil.rmtree(path, ignore_errors=True)


def _give_up(path):
    """Not by an exception: unittest would take it for a failed test and go on."""
    _clean(path)
    os._exit(128 + signal.SIGTERM)


def folder(name):
    return Path(tempfile.mkdtemp(prefix=name + ".", dir=scratch()))


def _script(*args):
    done = subprocess.run(
        ["sh", str(SCRIPT), *map(str, args)], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def _tls_port(path):
    """None: it was started without a folder tls/ (see private_brokers.sh)."""
    return int(path.read_text()) if path.exists() else None


def _numbers(version):
    """(4, 0, 5); what a distribution writes behind it is left out."""
    return tuple(map(int, re.match(r"[\d.]*\d", version)[0].split(".")))


class RabbitMQ:
    """A node of our own. shared() is the run's; a test that kills it makes its own RabbitMQ()."""

    _shared = None
    _vhosts = itertools.count(1)

    def __init__(self, directory=None):
        self.directory = Path(directory or folder("rabbitmq"))
        self.start()

    @classmethod
    def shared(cls):
        if cls._shared is None:
            cls._shared = cls(os.environ.get("OUTFALL_TEST_RABBITMQ"))
        return cls._shared

    def start(self):
        if not (self.directory / "rabbitmq.pid").exists():
            _script("start-rabbitmq", self.directory)
        self.port = int((self.directory / "rabbitmq.port").read_text())
        self.tls_port = _tls_port(self.directory / "rabbitmq.tls-port")

    @property
    def pid(self):
        return int((self.directory / "rabbitmq.pid").read_text())

    def kill(self, how=signal.SIGKILL):
        """SIGKILL, SIGSTOP or SIGCONT. After SIGKILL, start() brings it back on the same port."""
        os.kill(self.pid, how)
        if how == signal.SIGKILL:
            self.stop()

    def stop(self):
        _script("stop", self.directory)

    def ctl(self, *args):
        done = subprocess.run(
            ["sh", str(SCRIPT), "ctl", str(self.directory), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {args[0]}: {done.stdout}")
        return done.stdout

    @contextlib.contextmanager
    def leader_stalled(self, vhost, *queues, seconds):
        """As with a slow disk: the leader of each lives and does nothing, and nobody else is elected. The block lasts
        so long at least. The broker itself looks at its clock: rabbitmqctl may take its time to come."""
        names = ", ".join(f'rabbit_misc:r(<<"{vhost}">>, queue, <<"{name}">>)' for name in queues)
        self.ctl(
            "eval",
            f"Leaders = [begin {{ok, Q}} = rabbit_amqqueue:lookup(Name), {{ok, _, Leader}} = "
            f"ra:members(amqqueue:get_pid(Q)), Leader end || Name <- [{names}]], "
            "[ok = sys:suspend(Leader) || Leader <- Leaders], "
            f"spawn(fun() -> timer:sleep({seconds * 1000:.0f}), [sys:resume(L) || L <- Leaders] end), ok.",
        )
        ends = time.monotonic() + seconds
        yield
        time.sleep(max(0, ends - time.monotonic()))  # the fault itself

    @functools.cached_property
    def version(self):
        with self.connect("/") as connection:
            return _numbers(connection._impl.server_properties["version"])

    def vhosts(self, count):
        """So many virtual hosts of the caller's own, in one call: each call costs a second."""
        names = [f"t{os.getpid()}-{next(self._vhosts)}" for _ in range(count)]
        erlang = "".join(
            f'rabbit_vhost:add(<<"{name}">>, <<"t">>), rabbit_auth_backend_internal:set_permissions('
            f'<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"t">>), '
            for name in names
        )
        self.ctl("eval", erlang + "ok.")
        return names

    def connect(self, vhost):
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                "127.0.0.1", self.port, vhost, pika.PlainCredentials("guest", "guest"), heartbeat=0
            )
        )


class RabbitQueue:
    """A durable queue in a virtual host, seen from outside the worker."""

    kind = "rabbitmq"

    def __init__(self, broker, vhost, name="jobs", arguments=None, declare=True):
        self.broker, self.vhost, self.name = broker, vhost, name
        self.source, self.dead_name = "mq", name + ".dead"
        self._connect()
        if declare:
            self.channel.queue_declare(name, durable=True, arguments=arguments or {})
            self.channel.queue_declare(self.dead_name, durable=True)

    def _connect(self):
        self.connection = self.broker.connect(self.vhost)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def reconnect(self):
        self._connect()

    def url(self, password="guest"):
        return f"amqp://guest:{password}@127.0.0.1:{self.broker.port}/{self.vhost}"

    def section(self, handler="h", extra="", dead=True, url=None, name=None):
        dead = f'dead = "{self.dead_name}"' if dead else ""
        return (
            f'rabbitmq "{self.source}" {{\n  url = "{url or self.url()}"\n'
            f'  queue "{name or self.name}" {{ handler = "{handler}" {dead} {extra} }}\n}}\n'
        )

    def publish(self, bodies, ids=False, **properties):
        """All are in the queue when it returns. Few are confirmed one by one, and so are on disk
        when the broker is killed; many are proved by a round trip. `ids`: each has one, by which
        the worker knows it again."""
        bodies = list(bodies)
        properties.setdefault("delivery_mode", 2)
        with self.broker.connect(self.vhost) as connection:
            channel = connection.channel()
            if len(bodies) <= 100:
                channel.confirm_delivery()
            for body in bodies:
                if ids:
                    properties["message_id"] = secrets.token_hex(8)
                channel.basic_publish("", self.name, body, pika.BasicProperties(**properties))
            channel.queue_declare(self.name, passive=True)

    def depth(self):
        """Ready messages."""
        return self.channel.queue_declare(self.name, passive=True).method.message_count

    def consumers(self):
        return self.channel.queue_declare(self.name, passive=True).method.consumer_count

    def unacked(self):
        """Costs a second; AMQP itself does not tell."""
        rows = self.broker.ctl(
            "list_queues", "-p", self.vhost, "--no-table-headers", "name", "messages_unacknowledged"
        )
        return sum(int(n) for name, n in map(str.split, rows.splitlines()) if name == self.name)

    def _take_many(self, name, count):
        """As a consumer: tens of thousands one by one would take a minute."""
        taken = []
        for _, properties, body in self.channel.consume(name, auto_ack=True) if count else ():
            taken.append((body, properties))
            if len(taken) == count:
                self.channel.cancel()
        return taken

    def _take(self, name):
        count = self.channel.queue_declare(name, passive=True).method.message_count
        taken = self._take_many(name, count if count > 1000 else 0)
        while True:
            method, properties, body = self.channel.basic_get(name, auto_ack=True)
            if method is None:
                return taken
            taken.append((body, properties))

    def take_all(self):
        """What is ready, in order; it is gone afterwards."""
        return [body.decode(errors="replace") for body, _ in self._take(self.name)]

    def take_properties(self):
        return self._take(self.name)

    def take_dead(self):
        return [body.decode(errors="replace") for body, _ in self._take(self.dead_name)]

    def dead_depth(self):
        return self.channel.queue_declare(self.dead_name, passive=True).method.message_count

    def close(self):
        if self.connection.is_open:
            self.connection.close()


class RabbitUser:
    """One who may not do all that guest may, where the case has its queue."""

    def __init__(self, case, configure, write=".*", read=".*"):
        self.case, self.name = case, f"u{case.queue.vhost}"
        case.broker.ctl("add_user", self.name, "secret")
        case.addCleanup(case.broker.ctl, "delete_user", self.name)
        self.may(configure, write, read)

    def may(self, configure, write=".*", read=".*"):
        self.case.broker.ctl("set_permissions", "-p", self.case.queue.vhost, self.name, configure, write, read)

    def url(self):
        return self.case.queue.url().replace("guest:guest", f"{self.name}:secret")


class AskedRedis:
    """Valkey calls itself Redis 7.2, for clients' sake, and says its own version beside."""

    @functools.cached_property
    def _server(self):
        return self.client().info("server")

    @property
    def is_valkey(self):
        return "valkey_version" in self._server

    @property
    def version(self):
        return _numbers(self._server["valkey_version" if self.is_valkey else "redis_version"])


class Redis(AskedRedis):
    def __init__(self, directory=None):
        self.directory = Path(directory or folder("redis"))
        self.start()

    def start(self):
        if not (self.directory / "redis.pid").exists():
            _script("start-redis", self.directory)
        self.port = int((self.directory / "redis.port").read_text())
        self.tls_port = _tls_port(self.directory / "redis.tls-port")

    @property
    def pid(self):
        return int((self.directory / "redis.pid").read_text())

    def kill(self, how=signal.SIGKILL):
        os.kill(self.pid, how)
        if how == signal.SIGKILL:
            self.stop()

    def stop(self):
        _script("stop", self.directory)

    def client(self):
        return redis.Redis("127.0.0.1", self.port)


class RedisServer(AskedRedis):
    """A redis-server with options of its own: one of a set, or one that is to be ill-treated. With
    `sentinel`, the lines of its configuration, it is a Sentinel."""

    def __init__(self, *options, sentinel=None, port=None):
        self.directory = folder("redis-server")
        self.port = port or free_port()
        self.options, self.sentinel = options, sentinel
        self.start()

    def start(self):
        words = [*BROKER_EXEC, REDIS_SERVER]
        if self.sentinel is not None:
            path = self.directory / "sentinel.conf"
            if not path.exists():
                path.write_text("\n".join(self.sentinel) + "\n")
            words += [str(path), "--sentinel"]
        else:
            words += ["--save", "", "--appendonly", "no"]
        # Its own title would be written over the environment, by which we find what we started.
        words += ["--set-proc-title", "no", "--port", str(self.port), "--bind", "127.0.0.1",
                  "--dir", str(self.directory), *map(str, self.options)]  # fmt: skip
        with open(self.directory / "output.log", "ab") as output:
            self.process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        wait_for(f"redis-server on {self.port}", self.answers, every=0.02)

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError((self.directory / "output.log").read_text()[-2000:])
        try:
            return self.client().ping()
        except redis.AuthenticationError:
            return True
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    @property
    def pid(self):
        return self.process.pid

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        if how == signal.SIGKILL:
            self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def client(self, **options):
        return redis.Redis("127.0.0.1", self.port, **options)


class RedisList:
    """A job list. Producers LPUSH, so the next job is at the right end."""

    kind = "redis"

    def __init__(self, broker, name="jobs"):
        self.broker, self.name, self.source = broker, name, "cache"
        self.client = broker.client()
        self.dead_name = "{%s}:dead" % name

    def reconnect(self):
        self.client = self.broker.client()

    def url(self, password=None):
        secret = f":{password}@" if password else ""
        return f"redis://{secret}127.0.0.1:{self.broker.port}/0"

    def section(self, handler="h", extra="", dead=True, url=None, name=None):
        return (
            f'redis "{self.source}" {{\n  url = "{url or self.url()}"\n'
            f'  list "{name or self.name}" {{ handler = "{handler}" {extra} }}\n}}\n'
        )

    def publish(self, bodies, ids=True):
        """Each has one: the list gives it."""
        bodies = list(bodies)
        for at in range(0, len(bodies), 1000):
            self.client.lpush(self.name, *bodies[at : at + 1000])

    def publish_to_all(self, bodies, replicas):
        """On every replica, too, when it returns. One that is "up" and "online" may yet be sent nothing
        until its next acknowledgement, a second later."""
        self.publish(bodies)
        have_it = self.client.wait(replicas, 10000)
        assert have_it == replicas, f"{have_it} of {replicas} replicas have the jobs"

    def depth(self):
        return self.client.llen(self.name)

    def waiting(self):
        """In the order they will be taken."""
        bodies = self.client.lrange(self.name, 0, -1)
        return [body.decode(errors="replace") for body in reversed(bodies)]

    def take_all(self):
        waiting = self.waiting()
        self.client.delete(self.name)
        return waiting

    def claimed(self):
        """How many jobs workers hold, those in the hands of a blocked pop included."""
        count = 0
        for key in self.client.scan_iter("{%s}:*" % self.name):
            if b":held:" in key:
                count += self.client.hlen(key)
            elif b":wake:" in key:
                count += self.client.llen(key)
        return count

    def unsettled(self):
        """Jobs that are not done and not dead, wherever they are."""
        delayed = self.client.zcard("{%s}:delayed" % self.name)
        return self.depth() + delayed + self.claimed()

    def dead_depth(self):
        return self.client.llen(self.dead_name)

    def take_dead(self):
        bodies = self.client.lrange(self.dead_name, 0, -1)
        self.client.delete(self.dead_name)
        return [body.decode(errors="replace") for body in reversed(bodies)]

    def close(self):
        self.client.close()


def wait_for(what, condition, seconds=20, every=0.01):
    """Until condition() is true, and returns what it returned; fails loudly at the deadline."""
    deadline = time.monotonic() + seconds * patience()
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds * patience():.0f} s in vain for: {what}")
        time.sleep(every)


def patience():
    """Sanitized builds are slower; deadlines grow with them, figures are not judged."""
    return {"address": 4, "thread": 8}.get(os.environ.get("OUTFALL_TEST_SANITIZE", ""), 1)
