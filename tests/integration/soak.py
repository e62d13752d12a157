"""What tests/soak.sh runs; see there. The jobs are put by soak_producers.py and judged by soak_oracle.py."""

import collections
import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis

from brokers import RabbitQueue, folder, wait_for
from cluster import Cluster
from fault_proxy import FaultProxy
from sentinels import Jobs, SentinelSet
from soak_oracle import Oracle
from soak_producers import ENOUGH_WAITING, RabbitProducer, RedisProducer
from worker import HANDLER, PLUGIN, Worker

WORKERS = 3
DRAIN_S = 15
LATE_S = 5  # an exit behind its deadline, on a busy machine
QUORUM = {"x-queue-type": "quorum"}
# What the flaky ones fail at is tried again later.
RABBIT_QUEUES = {"quorum": QUORUM, "classic": None, "flaky": QUORUM}
REDIS_LISTS = ["jobs", "flaky"]
HANDLERS = collections.defaultdict(lambda: "h", flaky="program")
# What the allocator keeps is no growth; a leak of ten bytes a job is more in an hour.
MOST_GROWTH_KB = 1024
JUDGED_MINUTES = 20  # in fewer it is not known what memory fills only once


class Elder:
    """The worker that is never stopped: what it holds of the machine must not grow."""

    def __init__(self, worker):
        self.worker = worker
        self.kb, self.descriptors = [], []

    def sample(self):
        status = Path(f"/proc/{self.worker.pid}/status").read_text()
        self.kb.append(int(status.split("VmRSS:")[1].split()[0]))
        self.descriptors.append(len(os.listdir(f"/proc/{self.worker.pid}/fd")))

    def growth_kb(self):
        """Of the last quarter over the second one; the first fills what fills only once."""
        quarter = len(self.kb) // 4
        return statistics.median(self.kb[-quarter:]) - statistics.median(self.kb[quarter : 2 * quarter])

    def more_descriptors(self):
        """At the end, at rest, than ever in the first half."""
        return self.descriptors[-1] - max(self.descriptors[: len(self.descriptors) // 2])


class Soak:
    def __init__(self, minutes, seed):
        self.minutes, self.random = minutes, random.Random(seed)
        self.directory = folder("soak")
        self.oracle = Oracle()
        self.cluster, self.servers = Cluster(), SentinelSet()
        self.proxies = [FaultProxy(node.port) for node in self.cluster.nodes]
        self.workers, self.started = [], 0
        self.exits, self.faults = collections.Counter(), collections.Counter()
        self.wrong = []  # what is not as it should be, as sentences
        for name, arguments in {**RABBIT_QUEUES, "dead": QUORUM}.items():
            RabbitQueue(self.random.choice(self.cluster.nodes), "/", name, arguments).close()
        self.producers = [RabbitProducer(self.oracle, seed, self.cluster),
                          RedisProducer(self.oracle, seed, self.servers)]  # fmt: skip

    def say(self, text):
        print(time.strftime("%H:%M:%S ") + text, flush=True)

    def is_wrong(self, text):
        self.wrong.append(text)
        self.say("WRONG so far: " + text)

    # --- workers --------------------------------------------------------------------------------

    def config(self, record, without=None):
        def queues(kind, names, extra):
            return "\n".join(
                f'  {kind} "{name}" {{ handler = "{HANDLERS[name]}"  prefetch = 20 {extra} }}'
                for name in names
                if (kind, name) != without
            )

        urls = self.cluster.urls([proxy.port for proxy in self.proxies])
        return (
            "worker { concurrency = 5 }\n"
            f'drain {{ timeout = "{DRAIN_S}s"  reserve = "2s"  grace = "1s"  report = "@REPORT@" }}\n'
            'log { level = "info"  format = "json" }\n'
            'retry "default" { attempts = 50  first = "200ms"  max = "5s" }\n'
            f'rabbitmq "mq" {{ urls = {{{urls}}}  heartbeat = "2s"  connect_timeout = "2s"\n'
            + queues("queue", RABBIT_QUEUES, 'dead = "dead"')
            + f'\n}}\nredis "cache" {{ url = "{self.servers.url()}"  connect_timeout = "2s"  wait_replicas = 1  wait_timeout = "500ms"\n'
            + queues("list", REDIS_LISTS, 'lease = "6s"')
            + f'\n}}\nhandler "h" {{ type = "plugin"  path = "{PLUGIN}"  threads = 5 }}\n'
            f'handler "program" {{ type = "exec"  command = {{"{HANDLER}", "{record}"}} }}\n'
        )

    def start_worker(self):
        self.started += 1
        name = f"worker{self.started}"
        record = self.directory / f"{name}.record"
        environment = {"OUTFALL_TEST_RECORD": str(record), "RUNTIME_DIRECTORY": str(self.directory)}
        worker = Worker(self.directory, self.config(record), name, environment)
        worker.record_path = record
        self.oracle.watch(worker)
        self.workers.append(worker)
        return worker

    def pick(self):
        """One that may be stopped."""
        return self.random.choice([w for w in self.workers if w is not self.elder.worker])

    def fill_hands(self):
        """More than all of them run at once, so that a stop finds jobs that have not begun."""
        if len(self.oracle.missing()) < ENOUGH_WAITING:
            for producer in self.producers:
                producer.put_if_possible()

    @contextlib.contextmanager
    def replaced(self):
        """One of them ends, and another begins; not in this order, as a deployment does it, at times."""
        worker = self.pick()
        self.fill_hands()
        early = self.random.random() < 0.3
        if early:
            self.start_worker()
        yield worker
        self.workers.remove(worker)
        if not early:
            self.start_worker()

    def drain_worker(self):
        with self.replaced() as worker:
            self.drain(worker)

    def hurry_worker(self):
        with self.replaced() as worker:
            self.drain(worker, again_after_s=self.random.uniform(1.1, 3))

    def drain(self, worker, again_after_s=None):
        begun = time.monotonic()
        worker.send(signal.SIGTERM)
        if again_after_s is not None:
            time.sleep(again_after_s)
            with contextlib.suppress(ProcessLookupError):
                worker.send(signal.SIGTERM)
        try:
            code = worker.wait_exit(DRAIN_S + 30)
        except AssertionError:
            self.is_wrong(f"{worker.name} does not end")
            worker.kill()
            self.oracle.has_killed(worker)
            return
        self.exits[code] += 1
        self.judge_exit(worker, code, time.monotonic() - begun)

    def judge_exit(self, worker, code, seconds):
        try:
            report = worker.report()
        except (OSError, ValueError) as why:
            self.is_wrong(f"{worker.name}: exit {code}, no report: {why}")
            return
        self.oracle.take_report(worker)
        fates = report["fates"]
        right = (
            11 if fates["unsettled"] else
            12 if report["hurry"] == "asked" else
            10 if report["interrupted"] else 0
        )  # fmt: skip
        if code != right or code != report["exit_code"]:
            self.is_wrong(f"{worker.name}: exit {code}, the report says {report['exit_code']}: {fates}, "
                          f"interrupted {report['interrupted']}, hurry {report['hurry']}")  # fmt: skip
        if seconds > DRAIN_S + LATE_S:
            self.is_wrong(f"{worker.name}: exit after {seconds:.1f} s, timeout {DRAIN_S} s")

    def kill_worker(self):
        with self.replaced() as worker:
            worker.kill()
            self.oracle.has_killed(worker)
            self.exits["killed"] += 1

    def reload_worker(self):
        """One of its queues goes, perhaps amid other trouble, and comes back."""
        worker = self.random.choice(self.workers)
        kinds = [("queue", name) for name in RABBIT_QUEUES] + [("list", name) for name in REDIS_LISTS]
        self.reload(worker, self.random.choice(kinds))
        self.rest(0.5, 3)
        self.reload(worker)

    def reload(self, worker, without=None):
        text = self.config(worker.record_path, without).replace("@REPORT@", str(worker.report_path))
        worker.config_path.write_text(text)
        worker.send(signal.SIGHUP)

    def quiet_worker(self):
        worker = self.random.choice(self.workers)
        worker.send(signal.SIGTSTP)
        self.rest(1, 4)
        worker.send(signal.SIGCONT)

    def freeze_worker(self):
        """Longer than a lease and a heartbeat, as a virtual machine that is moved."""
        worker = self.random.choice(self.workers)
        worker.send(signal.SIGSTOP)
        self.rest(3, 12)
        worker.send(signal.SIGCONT)

    def look_for_dead(self):
        for worker in list(self.workers):
            code = worker.process.poll()
            if code is not None:
                self.is_wrong(f"{worker.name} ended unasked with {code}: {worker.log_text()[-300:]}")
                self.oracle.has_killed(worker)
                self.workers.remove(worker)
                replacement = self.start_worker()
                if worker is self.elder.worker:
                    self.elder = Elder(replacement)

    # --- brokers: what is broken is mended when the block ends ----------------------------------

    def insist(self, mend, *arguments):
        """A machine that is busy enough lets a node's start run into its own deadlines."""
        for attempt in range(5):
            try:
                return mend(*arguments)
            except (RuntimeError, subprocess.CalledProcessError) as why:
                self.say(f"{self.latest}: attempt {attempt + 1} to mend it: {why}")
        raise AssertionError(f"{self.latest} cannot be mended")

    @contextlib.contextmanager
    def rabbitmq_node_killed(self):
        node = self.random.choice(self.cluster.nodes)
        with self.oracle.strike("rabbitmq"):
            node.kill()
            yield
            self.insist(node.start)

    @contextlib.contextmanager
    def rabbitmq_node_hangs(self):
        node = self.random.choice(self.cluster.nodes)
        with self.oracle.strike("rabbitmq"):
            node.kill(signal.SIGSTOP)
            yield
            node.kill(signal.SIGCONT)

    @contextlib.contextmanager
    def rabbitmq_node_away(self):
        node = self.random.choice(self.cluster.nodes)
        with self.oracle.strike("rabbitmq"):
            node.ctl("stop_app")
            yield
            self.insist(node.ctl, "start_app")

    @contextlib.contextmanager
    def rabbitmq_leader_moves(self):
        queue = self.random.choice(["quorum", "flaky"])
        self.cluster.move_leader(queue, self.random.choice(self.cluster.nodes))
        yield

    @contextlib.contextmanager
    def rabbitmq_leader_stalls(self):
        queue = self.random.choice(["quorum", "flaky"])
        node = self.random.choice(self.cluster.nodes)
        with node.leader_stalled("/", queue, seconds=self.random.uniform(1, 8)):
            yield

    @contextlib.contextmanager
    def rabbitmq_alarm(self):
        node = self.random.choice(self.cluster.nodes)
        node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        yield
        self.insist(node.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")

    @contextlib.contextmanager
    def rabbitmq_cut(self):
        proxy = self.random.choice(self.proxies)
        proxy.break_with(self.random.choice(["reset", "truncate", "half_close", "stall"]))
        yield
        proxy.heal()

    @contextlib.contextmanager
    def redis_cut(self):
        with contextlib.suppress(redis.RedisError):  # it is being reconfigured
            self.servers.client(self.servers.master()).client_kill_filter(_type="normal", skipme=True)
        yield

    @contextlib.contextmanager
    def redis_master_killed(self):
        with self.redis_failover():
            master = self.servers.master()
            master.kill()
            yield
            wait_for("another master", lambda: self.servers.master() is not master, 300)
            self.servers.bring_back(master)

    @contextlib.contextmanager
    def redis_master_hangs(self):
        with self.redis_failover():
            master = self.servers.master()
            master.kill(signal.SIGSTOP)
            yield
            master.kill(signal.SIGCONT)

    @contextlib.contextmanager
    def redis_planned_failover(self):
        with self.redis_failover():
            sentinel = self.servers.ask(self.servers.sentinels[0])
            with contextlib.suppress(redis.ResponseError):  # one is going on, or has just been
                sentinel.execute_command("SENTINEL", "FAILOVER", "jobs")
            yield

    @contextlib.contextmanager
    def redis_failover(self):
        with self.oracle.strike("redis"):
            yield
            wait_for("a whole set of Redis servers", self.servers.is_whole, 300, 0.5)

    # --- the whole ------------------------------------------------------------------------------

    # How often of each kind; a node that starts costs seconds of two cores.
    BROKER_TROUBLE = {
        rabbitmq_node_killed: 2, rabbitmq_node_hangs: 3, rabbitmq_node_away: 1, rabbitmq_leader_moves: 3,
        rabbitmq_leader_stalls: 3, rabbitmq_alarm: 2, rabbitmq_cut: 5, redis_cut: 3, redis_master_killed: 2,
        redis_master_hangs: 2, redis_planned_failover: 2,
    }  # fmt: skip
    WORKER_TROUBLE = {
        drain_worker: 5, hurry_worker: 1, kill_worker: 3, reload_worker: 3, quiet_worker: 1, freeze_worker: 1,
    }  # fmt: skip

    def draw(self, kinds):
        [kind] = self.random.choices(list(kinds), list(kinds.values()))
        self.faults[kind.__name__] += 1
        self.latest = kind.__name__
        return kind

    def rest(self, least, most):
        """The fault itself, or the calm between two; no wait for something."""
        time.sleep(self.random.uniform(least, most))

    def trouble(self):
        try:
            self.make_trouble()
        except RuntimeError as why:  # rabbitmqctl, amid what it is to make: a leader that is being elected
            self.say(f"{self.latest}: {why}")

    def make_trouble(self):
        with self.draw(self.BROKER_TROUBLE)(self) if self.random.random() < 0.6 else contextlib.nullcontext():
            self.rest(0, 5)
            if self.random.random() < 0.7:
                self.draw(self.WORKER_TROUBLE)(self)
            self.rest(0, 5)

    def run(self):
        self.elder = Elder(self.start_worker())
        for _ in range(WORKERS - 1):
            self.start_worker()
        for producer in self.producers:
            producer.start()
        wait_for("the first jobs", lambda: self.oracle.done() > 0, 30)
        self.ends = time.monotonic() + 60 * self.minutes
        self.next_line = time.monotonic()
        while time.monotonic() < self.ends:
            self.look()
            self.trouble()
            self.look()
            self.rest(3, 9)
        self.settle_down()

    def look(self):
        self.look_for_dead()
        self.elder.sample()
        if time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + 60
            self.say(self.line())

    def line(self):
        jobs = self.oracle.jobs
        missing = self.oracle.missing()
        oldest = max([time.monotonic() - jobs[tag].put_at for tag in missing], default=0)
        twice = {why: len(tags) for why, tags in self.oracle.twice().items()}
        exits = " ".join(f"{code}:{n}" for code, n in sorted(self.exits.items(), key=str))
        return (
            f"put {len(jobs)}, done {self.oracle.done()}, to do {len(missing)} (oldest {oldest:.0f} s); run twice: "
            f"{', '.join(f'{why} {n}' for why, n in twice.items() if n) or 'none'}; exits {exits or 'none'}; elder {self.elder.kb[-1]} kB, {self.elder.descriptors[-1]} descriptors; "
            f"{sum(self.faults.values())} faults, the last {getattr(self, 'latest', 'none')}; load {os.getloadavg()[0]:.1f}"
        )

    def settle_down(self):
        self.say("calm: no more jobs, no more trouble")
        for producer in self.producers:
            producer.stop()
        # A node of RabbitMQ from 4.3 on waits for a minute for a consumer that was cut off from it.
        with contextlib.suppress(AssertionError):  # the verdict says which are lost
            wait_for("every job", lambda: not self.oracle.missing(), 240, 0.5)
            wait_for("nothing to be left", lambda: not self.left(), 120, 1)
        self.elder.sample()
        self.say(self.line())
        for worker in self.workers:
            self.drain(worker)
        self.oracle.close()
        self.oracle.read()

    def left(self):
        """What the brokers still have that is not dead, by queue."""
        node = self.cluster.nodes[0]
        rows = node.ctl("list_queues", "--no-table-headers", "name", "messages").splitlines()
        found = dict(row.split("\t") for row in rows)
        found = {name: int(n) for name, n in found.items() if name != "dead"}
        found |= {name: Jobs(self.servers, name).unsettled() for name in REDIS_LISTS}
        return {name: n for name, n in found.items() if n}

    def dead(self):
        """Nothing here is to die: as many attempts as these have nobody uses up."""
        queue = RabbitQueue(self.cluster.nodes[0], "/", "dead", declare=False)
        dead = [body.decode() for body, _ in queue.take_properties()]
        for name in REDIS_LISTS:
            dead += Jobs(self.servers, name).take_dead()
        return {body.split(":")[0] for body in dead}

    def judge(self):
        dead = self.dead()
        twice, lost = self.oracle.twice(), self.oracle.missing() - dead
        for what, tags in (("lost", lost), ("run twice in silence", twice["in silence"]), ("dead", dead)):
            if tags:
                self.is_wrong(f"{len(tags)} jobs {what}")
                for tag in sorted(tags)[:20]:
                    print("    " + self.oracle.story(tag))
        if left := self.left():
            self.is_wrong(f"still in the brokers: {left}")
        for watched in self.oracle.workers:
            for bad in watched.bad_lines[:3]:
                self.is_wrong(f"{watched.worker.name}: {bad[:300]}")
        if self.minutes >= JUDGED_MINUTES and self.elder.growth_kb() > MOST_GROWTH_KB:
            self.is_wrong(f"the elder grew by {self.elder.growth_kb()} kB")
        if self.elder.more_descriptors() > 0:
            self.is_wrong(f"the elder has {self.elder.more_descriptors()} descriptors more than before")
        return twice, lost

    def report(self):
        twice, lost = self.judge()
        jobs = self.oracle.jobs
        sure = sum(job.sure for job in jobs.values())
        kb = self.elder.kb
        print("faults:      " + ", ".join(f"{name} {n}" for name, n in sorted(self.faults.items())))
        print(f"jobs:        {len(jobs)}, of which the broker confirmed {sure}")
        print(f"lost:        {len(lost)}")
        print("run twice:   " + ", ".join(f"{why} {len(tags)}" for why, tags in twice.items()))
        print("exits:       " + ", ".join(f"{code} {n} times" for code, n in sorted(self.exits.items(), key=str)))
        print(f"reconnects:  {sum(w.reconnects for w in self.oracle.workers)} of {self.started} workers in succession")
        print(f"the elder:   {kb[0]} kB at first, {kb[len(kb) // 2]} half-way, {kb[-1]} at the end; descriptors "
              f"{self.elder.descriptors[0]}, at most {max(self.elder.descriptors)}, at the end "
              f"{self.elder.descriptors[-1]}")  # fmt: skip
        if self.wrong:
            print("logs:        " + self.keep())
        print("VERDICT:     " + ("WRONG: " + "; ".join(self.wrong) if self.wrong else "right"), flush=True)
        return 1 if self.wrong else 0

    def keep(self):
        """For whoever looks for the reason. The brokers' folders are large, and go."""
        kept = tempfile.mkdtemp(prefix="outfall-soak.")
        shutil.copytree(self.directory, kept, dirs_exist_ok=True)
        for node in self.cluster.nodes:
            shutil.copy(node.directory / "rabbitmq" / "output.log", Path(kept) / f"{node.name}.log")
        return kept

    def close(self):
        for worker in self.workers:
            worker.kill()
        for proxy in self.proxies:
            proxy.close()
        self.cluster.stop()
        self.servers.stop()


def main():
    try:
        minutes = float(sys.argv[1])
    except ValueError:
        sys.exit(f"soak.sh: minutes: not a number: {sys.argv[1]}")
    seed = int(os.environ.get("OUTFALL_SOAK_SEED", random.randrange(1_000_000)))
    print(f"{minutes:g} minutes, OUTFALL_SOAK_SEED={seed}, pid {os.getpid()}", flush=True)
    soak = Soak(minutes, seed)
    soak.say(f"RabbitMQ {'.'.join(map(str, soak.cluster.nodes[0].version))}, {soak.servers.version()}")
    try:
        soak.run()
        code = soak.report()
    except Exception:
        soak.say("the soak itself fails; logs: " + soak.keep())
        raise
    finally:
        soak.close()
    sys.exit(code)


if __name__ == "__main__":
    main()
