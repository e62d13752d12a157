"""Every fault of the network in every phase of a worker's life, on both brokers.

The worker reaches its broker through a proxy that breaks (fault_proxy.py). Alive, it must come back
and finish everything once the network is healed; draining, it must exit in time whatever happens, and
a second worker must find the rest. Nothing is ever lost. What ran twice was in flight when the
network broke, and a drained worker has said so.

Each case is a row of the product PHASES x FAULTS and a test of its own: RabbitLive.test_idle_stall."""

import signal
import time
import unittest

from brokers import RabbitMQ, RabbitQueue, Redis, RedisList, patience, wait_for
from fault_proxy import FAULTS, FaultProxy
from worker import WorkerCase

CUTS = {"half_close", "reset", "truncate", "refuse"}  # noticed as soon as bytes flow
SILENT = {"stall", "black_hole"}  # noticed by silence only
DRAIN_S = 4
CONCURRENCY, PREFETCH = 2, 4
RETRY = 'retry "default" { attempts = 5  backoff = "constant"  first = "50ms"  jitter = 0 }\n'


class FaultCase(WorkerCase):
    def setUp(self):
        super().setUp()
        self.make_queue()
        self.proxy = FaultProxy(self.broker.port)
        self.addCleanup(self.proxy.close)

    def start_worker(self):
        drain = f'timeout = "{DRAIN_S}s"  reserve = "1s"  grace = "500ms"'
        return self.start(
            self.config(
                self.section(), self.plugin_or_exec, RETRY, drain=drain, concurrency=CONCURRENCY
            )
        )

    # Threads for most; a process where a job is to fail and succeed later.
    plugin_or_exec = ""

    def use_plugin(self):
        self.plugin_or_exec = self.plugin_handler(threads=CONCURRENCY)

    def use_exec(self):
        self.plugin_or_exec = self.exec_handler()

    def gated(self, count):
        return [f"g{n}:gate:{self.gate()}" for n in range(count)]

    def notices(self, fault):
        return fault in CUTS or fault in SILENT

    def wait_noticed(self, worker, fault):
        """The worker says that the connection is gone, if this fault is of that kind."""
        if self.notices(fault):
            wait_for(
                f"{fault} to be noticed", lambda: ", reconnecting" in worker.log_text()
            )

    def wait_all_done(self, tags, seconds=40):
        wait_for("every job to be done", lambda: set(self.record.ended()) >= set(tags), seconds)
        wait_for("nothing to be left", self.nothing_left, seconds)

    def run_twice(self):
        return set(self.record.begun_twice())


class Live(FaultCase):
    def case(self, phase, fault):
        getattr(self, phase)(fault)

    def finish(self, worker, tags):
        """What the broker gives out again has run here, or runs: nothing has to run twice."""
        self.proxy.heal()
        self.wait_all_done(tags)
        code, _ = worker.stop()
        self.assertEqual(code, 0)
        self.assertEqual(self.run_twice(), set())

    def connecting(self, fault):
        self.use_plugin()
        self.proxy.break_with(fault)
        self.publish(["a", "b"])
        worker = self.start_worker()
        if self.notices(fault):
            wait_for("two attempts", lambda: self.attempts(worker) >= 2)
        self.finish(worker, ["a", "b"])

    def attempts(self, worker):
        """Refused ones are only in the log; the others are seen here."""
        return max(self.proxy.accepted, worker.log_text().count("refused"))

    def idle(self, fault):
        self.use_plugin()
        worker = self.start_worker()
        self.wait_consuming()
        self.proxy.break_with(fault)
        self.publish(["a", "b"])
        self.wait_noticed(worker, fault)
        self.finish(worker, ["a", "b"])

    def running(self, fault):
        self.use_plugin()
        jobs = self.gated(6)
        self.publish(jobs)
        worker = self.start_worker()
        self.record.wait_begun(CONCURRENCY)
        self.proxy.break_with(fault)
        self.wait_noticed(worker, fault)
        self.open_gate()
        self.record.wait_ended(CONCURRENCY)
        self.finish(worker, [j.split(":")[0] for j in jobs])

    def settling(self, fault):
        self.use_plugin()
        jobs = [f"s{n}:ms:3" for n in range(300)]
        self.publish(jobs)
        worker = self.start_worker()
        self.record.wait_ended(20)
        self.proxy.break_with(fault)
        self.wait_noticed(worker, fault)
        self.finish(worker, [j.split(":")[0] for j in jobs])

    def retrying(self, fault):
        self.use_exec()
        jobs = [f"r{n}:fail-until:2" for n in range(30)]
        self.publish(jobs)
        worker = self.start_worker()
        self.record.wait_begun(4)
        self.proxy.break_with(fault)
        self.wait_noticed(worker, fault)
        self.proxy.heal()
        self.wait_all_done([j.split(":")[0] for j in jobs])
        self.assertEqual(worker.stop()[0], 0)
        # Once failed, once done; a copy whose confirm was cut off may come on top of its original.
        ended_twice = self.record.ended_twice()
        self.assertLessEqual(len(ended_twice), PREFETCH + CONCURRENCY, ended_twice)


class Draining(FaultCase):
    def case(self, phase, fault):
        self.use_plugin()
        jobs = self.gated(6)
        self.publish(jobs)
        worker = self.start_worker()
        self.record.wait_begun(CONCURRENCY)
        getattr(self, phase)(worker, fault)
        self.assert_exits_in_time(worker)
        self.second_worker_finishes(worker, [j.split(":")[0] for j in jobs])

    def stop(self, worker):
        self.stopped = time.monotonic()
        worker.send(signal.SIGTERM)

    def wait_moved(self, worker, to):
        wait_for(to, lambda: f'"to":"{to}"' in worker.log_text(), every=0.001)

    def closing(self, worker, fault):
        self.proxy.break_with(fault)
        self.stop(worker)
        self.open_gate()

    def finishing(self, worker, fault):
        self.stop(worker)
        self.wait_moved(worker, "finishing")
        self.proxy.break_with(fault)
        self.open_gate()

    def hurrying(self, worker, fault):
        self.stop(worker)
        self.wait_moved(worker, "hurrying")
        self.proxy.break_with(fault)

    def flushing(self, worker, fault):
        self.stop(worker)
        self.wait_moved(worker, "finishing")
        self.open_gate()
        wait_for("the last job's end", lambda: len(self.record.ended()) == 2, every=0.0005)
        self.proxy.break_with(fault)

    def assert_exits_in_time(self, worker):
        code = worker.wait_exit(30)
        seconds = time.monotonic() - self.stopped
        self.assertIn(code, (0, 10, 11), worker.log_text()[-2000:])
        self.assertLess(seconds, DRAIN_S + (0.3 if patience() == 1 else 2 * patience()))

    def second_worker_finishes(self, first, tags):
        ended_before = set(self.record.ended())
        announced = {j["id"] for j in first.report()["jobs"] if j["duplicate_possible"]}
        announced |= {e["job"] for e in first.events("job settled") if e["fate"] == "unsettled"}
        ids = {run["id"]: tag for tag in tags for run in self.record.runs(tag)}
        self.proxy.heal()
        self.open_gate()
        second = self.start_worker()
        self.wait_all_done(tags)
        self.assertEqual(second.stop()[0], 0)
        doubled = {tag for tag in ended_before if len(self.record.runs(tag)) > 1}
        self.assertLessEqual(doubled, {ids[i] for i in announced if i in ids}, "in silence")


class Rabbit:
    arguments = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = RabbitMQ.shared()
        [cls.vhost] = cls.broker.vhosts(1)

    def make_queue(self):
        self.queue = RabbitQueue(self.broker, self.vhost, self.id().split(".")[-1], self.arguments)
        self.addCleanup(self.queue.close)
        # Each message with an id of its own, so that the report's jobs are known by it.
        self.numbers = iter(range(1_000_000))

    def publish(self, bodies):
        for body in bodies:
            self.queue.publish([body], message_id=f"m{next(self.numbers)}")

    def section(self):
        url = f"amqp://guest:guest@127.0.0.1:{self.proxy.port}/{self.vhost}"
        text = self.queue.section(url=url, extra=f"prefetch = {PREFETCH}")
        return text.replace("  queue", '  heartbeat = "1s"  connect_timeout = "700ms"\n  queue', 1)

    def wait_consuming(self):
        wait_for("a consumer", lambda: self.queue.consumers() > 0)

    def nothing_left(self):
        return self.queue.depth() == 0


class Quorum(Rabbit):
    """The same on a queue with a leader: another process of the broker has the word on what is settled."""

    arguments = {"x-queue-type": "quorum"}


class RedisBroker:
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = Redis()
        cls.addClassCleanup(cls.broker.stop)

    def make_queue(self):
        self.broker.client().flushall()
        self.queue = RedisList(self.broker)
        self.addCleanup(self.queue.close)

    def publish(self, bodies):
        self.queue.publish(bodies)

    def section(self):
        url = f"redis://127.0.0.1:{self.proxy.port}/0"
        text = self.queue.section(url=url, extra=f'prefetch = {PREFETCH}  lease = "1s"')
        return text.replace("  list", '  connect_timeout = "700ms"\n  list', 1)

    def wait_consuming(self):
        def blocked():
            return any("b" in client["flags"] for client in self.queue.client.client_list())

        wait_for("a blocked pop", blocked)

    def nothing_left(self):
        return self.queue.unsettled() == 0


PHASES = {
    Live: ["connecting", "idle", "running", "settling", "retrying"],
    Draining: ["closing", "finishing", "hurrying", "flushing"],
}


def add_cases(cls):
    for kind, phases in PHASES.items():
        if not issubclass(cls, kind):
            continue
        for phase in phases:
            for fault in FAULTS:

                def test(self, phase=phase, fault=fault):
                    self.case(phase, fault)

                setattr(cls, f"test_{phase}_{fault}", test)
    return cls


@add_cases
class RabbitLive(Rabbit, Live):
    pass


@add_cases
class RabbitDraining(Rabbit, Draining):
    pass


@add_cases
class QuorumLive(Quorum, Live):
    pass


@add_cases
class QuorumDraining(Quorum, Draining):
    pass


@add_cases
class RedisLive(RedisBroker, Live):
    def test_a_large_body_over_a_slow_line(self):
        """It takes longer than the lease to come, and keeps neither the lease nor the link from living."""
        self.use_plugin()
        self.publish(["large:done:" + "x" * 2_500_000])
        self.proxy.break_with("slow")
        worker = self.start_worker()
        self.wait_all_done(["large"])
        self.assertEqual(worker.stop()[0], 0)
        self.assertNotIn("reconnecting", worker.log_text())
        self.assertEqual(self.run_twice(), set())


@add_cases
class RedisDraining(RedisBroker, Draining):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
