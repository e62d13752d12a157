"""Runs each limit loop and the worker in turns on brokers of its own and prints the table.

A figure is the median of the rounds; what stands in brackets is the least and the most; a ratio is the
median of the rounds' ratios. CPU is the worker process's own, user and system, children excluded."""

import argparse
import collections
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from brokers import RabbitMQ, RabbitQueue, Redis, RedisList, folder, wait_for  # noqa: E402
from worker import BUILD, OUTFALL, PLUGIN, Worker  # noqa: E402

BENCH = BUILD / "tests" / "bench"
BODY = b"x" * 256
PARALLEL = 4 * os.cpu_count()

Row = collections.namedtuple("Row", "what limit outfall ratio target")


class Bench:
    def __init__(self, rounds):
        self.rounds = rounds
        self.rows = []
        self.mq = RabbitMQ.shared()
        self.redis = Redis()
        [self.vhost] = self.mq.vhosts(1)
        self.numbers = itertools.count(1)

    # --- the parts --------------------------------------------------------------------------

    def queue(self, name=None):
        return RabbitQueue(self.mq, self.vhost, name or f"bench{next(self.numbers)}")

    def list(self, name=None):
        self.redis.client().flushall()
        return RedisList(self.redis, name or "bench")

    def limit(self, program, *arguments):
        done = subprocess.run(
            [str(BENCH / program), *map(str, arguments)], stdout=subprocess.PIPE, check=True
        )
        return json.loads(done.stdout)

    def start(self, *sections, concurrency=16, drain='timeout = "30s"', environment=None):
        config = (
            f"worker {{ concurrency = {concurrency} }}\n"
            f'drain {{ {drain}  report = "@REPORT@" }}\n'
            'log { level = "warn"  format = "json" }\n' + "".join(sections)
        )
        return Worker(folder("bench"), config, "worker", environment)

    def noop(self, threads=4, plugin="plugin_noop", extra=""):
        return f'handler "h" {{ type = "plugin"  path = "{BENCH}/{plugin}.so"  threads = {threads}  {extra} }}\n'

    def run_noop(self, jobs, *sections, handler=None, concurrency=16):
        """The worker with the no-op plugin until so many jobs ran; jobs, seconds, cpu."""
        result = folder("result") / "result.json"
        worker = self.start(
            *sections, handler or self.noop(), concurrency=concurrency,
            environment={"OUTFALL_BENCH_JOBS": str(jobs), "OUTFALL_BENCH_RESULT": str(result)},
        )  # fmt: skip
        wait_for(f"{jobs} jobs", lambda: result.exists() and result.stat().st_size, 120)
        self.stop(worker)
        done = worker.report()["since_start"]["done"]
        if done != jobs:
            raise AssertionError(f"{done} of {jobs} jobs done: {worker.report()}")
        return json.loads(result.read_text())

    def stop(self, worker):
        code, seconds = worker.stop()
        if code != 0:
            raise AssertionError(f"exit {code}\n{worker.log_text()}")
        return seconds

    def against(self, what, limits, ours, target):
        """Higher is better: jobs a second."""
        self.row(what, limits, ours, ratio(ours, limits), target, "{:,.0f}")

    def row(self, what, limits, ours, ratio, target, form):
        shown = [spread(limits, form) if limits else "-", spread(ours, form)]
        self.rows.append(Row(what, *shown, ratio, target))
        print(f"  {what}: {shown[1]}  (limit {shown[0]}, ratio {ratio}, to reach {target})", flush=True)

    # --- what is measured -------------------------------------------------------------------

    def rabbitmq_noop(self, jobs=100_000):
        limits, ours = [], []
        for _ in range(self.rounds):
            queue = self.queue()
            queue.publish([BODY] * jobs, delivery_mode=1)
            limits.append(self.limit("limit_rabbitmq", self.mq.port, self.vhost, queue.name, jobs))
            queue.publish([BODY] * jobs, delivery_mode=1)
            ours.append(self.run_noop(jobs, queue.section(extra="prefetch = 1000", dead=False)))
            queue.channel.queue_delete(queue.name)
        self.against("RabbitMQ, no-op plugin, jobs/s", rates(limits), rates(ours), "0.95")
        limit_cpu, cpu = cpu_per_100k(limits), cpu_per_100k(ours)
        self.row("  CPU per 100,000 jobs, s", limit_cpu, cpu, ratio(cpu, limit_cpu), "1.5 times", "{:.2f}")

    def redis_noop(self, jobs=200_000):
        limits, ours = [], []
        for _ in range(self.rounds):
            jobs_list = self.list()
            jobs_list.publish([BODY] * jobs)
            limits.append(self.limit("limit_redis", self.redis.port, jobs_list.name, jobs))
            jobs_list = self.list()
            jobs_list.publish([BODY] * jobs)
            ours.append(self.run_noop(jobs, jobs_list.section()))
        self.against("Redis list, no-op plugin, jobs/s", rates(limits), rates(ours), "0.9")
        limit_cpu, cpu = cpu_per_100k(limits), cpu_per_100k(ours)
        self.row("  CPU per 100,000 jobs, s", limit_cpu, cpu, ratio(cpu, limit_cpu), "0.30 s", "{:.2f}")

    def plugin_pending(self, jobs=200_000):
        """run() returns at once, a thread of the plugin's completes the job."""
        limits, ours = [], []
        for _ in range(self.rounds):
            jobs_list = self.list()
            jobs_list.publish([BODY] * jobs)
            limits.append(self.limit("limit_redis", self.redis.port, jobs_list.name, jobs))
            jobs_list = self.list()
            jobs_list.publish([BODY] * jobs)
            handler = self.noop(threads=1, plugin="plugin_noop_pending")
            ours.append(self.run_noop(jobs, jobs_list.section(), handler=handler, concurrency=256))
        self.against("Redis list, asynchronous no-op plugin, jobs/s", rates(limits), rates(ours), "-")
        limit_cpu, cpu = cpu_per_100k(limits), cpu_per_100k(ours)
        self.row("  CPU per 100,000 jobs, s", limit_cpu, cpu, ratio(cpu, limit_cpu), "-", "{:.2f}")

    def plugin_isolated(self, jobs=100_000):
        """The limit is the same process under the bare loop of pools; CPU without that process."""
        for depth in (1, 16):
            child = [OUTFALL, "plugin-process", "h", BENCH / "plugin_noop.so", depth, 0, 0, 1]
            handler = self.noop(threads=depth, extra='isolate = "true"')
            limits, ours = [], []
            for _ in range(self.rounds):
                limits.append(self.limit("limit_pool", 1, depth, jobs, *child))
                ours.append(self.run_list(jobs, handler, depth))
            what = f"isolated no-op plugin, {depth} at once"
            self.against(f"{what}, jobs/s", rates(limits), rates(ours), "0.8")
            limit_cpu, cpu = cpu_per_100k(limits), cpu_per_100k(ours)
            self.row("  CPU per 100,000 jobs, s", limit_cpu, cpu, ratio(cpu, limit_cpu), "-", "{:.2f}")
            theirs = [run["children_cpu"] / run["jobs"] * 100_000 for run in ours]
            self.row("  and of the plugin's process, s", [], theirs, "-", "-", "{:.2f}")

    def exec_jobs(self, jobs=4000):
        limits, ours, cpu = [], [], []
        handler = f'handler "h" {{ type = "exec"  command = {{"/bin/true"}} }}\n'
        for _ in range(self.rounds):
            limits.append(self.limit("limit_exec", PARALLEL, jobs))
            jobs_list = self.list()
            worker = self.start(jobs_list.section(), handler, concurrency=PARALLEL)
            wait_for("the worker", lambda: blocked(jobs_list.client))
            begun, cpu_before = time.monotonic(), cpu_seconds(worker.pid)
            jobs_list.publish([BODY] * jobs)
            wait_for("all to be done", lambda: jobs_list.unsettled() == 0, 120, 0.005)
            ours.append({"jobs": jobs, "seconds": time.monotonic() - begun})
            cpu.append((cpu_seconds(worker.pid) - cpu_before) / jobs * 1e6)
            self.stop(worker)
        self.against(f"exec /bin/true, {PARALLEL} at once, jobs/s", rates(limits), rates(ours), "0.9")
        limit_cpu = [run["cpu"] / run["jobs"] * 1e6 for run in limits]
        self.row("  our CPU per job, us", limit_cpu, cpu, ratio(cpu, limit_cpu), "-", "{:.0f}")

    def http_jobs(self, jobs=20_000):
        limits, ours = [], []
        server = subprocess.Popen([str(BENCH / "http_server")], stdout=subprocess.PIPE, text=True)
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/jobs"
        handler = f'handler "h" {{ type = "http"  url = "{url}" }}\n'
        for _ in range(self.rounds):
            limits.append(self.limit("limit_http", url, PARALLEL, jobs))
            jobs_list = self.list()
            worker = self.start(jobs_list.section(), handler, concurrency=PARALLEL)
            wait_for("the worker", lambda: blocked(jobs_list.client))
            begun, cpu_before = time.monotonic(), cpu_seconds(worker.pid)
            jobs_list.publish([BODY] * jobs)
            wait_for("all to be done", lambda: jobs_list.unsettled() == 0, 120, 0.005)
            seconds, cpu = time.monotonic() - begun, cpu_seconds(worker.pid) - cpu_before
            ours.append({"jobs": jobs, "seconds": seconds, "cpu": cpu})
            self.stop(worker)
        server.kill()
        server.wait()
        self.against(f"http, 204 from a local server, {PARALLEL} at once, jobs/s",
                     rates(limits), rates(ours), "-")  # fmt: skip
        limit_cpu, cpu = cpu_per_100k(limits), cpu_per_100k(ours)
        self.row("  CPU per 100,000 jobs, s", limit_cpu, cpu, ratio(cpu, limit_cpu), "-", "{:.2f}")

    def run_list(self, jobs, handler, concurrency):
        """The jobs are there before the worker is; its time counts from the first that is done."""
        jobs_list = self.list()
        jobs_list.publish([BODY] * jobs)
        worker = self.start(jobs_list.section(), handler, concurrency=concurrency)
        wait_for("the first", lambda: jobs_list.unsettled() < jobs, every=0.001)
        children = children_of(worker.pid)
        begun, cpu, left = time.monotonic(), cpu_seconds(worker.pid), jobs_list.unsettled()
        children_cpu = sum(map(cpu_seconds, children))
        wait_for("all to be done", lambda: jobs_list.unsettled() == 0, 120, 0.005)
        seconds, cpu = time.monotonic() - begun, cpu_seconds(worker.pid) - cpu
        children_cpu = sum(map(cpu_seconds, children)) - children_cpu
        self.stop(worker)
        return {"jobs": left, "seconds": seconds, "cpu": cpu, "children_cpu": children_cpu}

    def pool_jobs(self):
        for processes, depth, jobs in ((1, 1, 60_000), (2, 1, 60_000), (1, 16, 300_000)):
            child = [BENCH / "pool_child", depth]
            handler = (
                f'handler "h" {{ type = "pool"  command = {{"{child[0]}", "{depth}"}}  '
                f"processes = {processes} }}\n"
            )
            limits, ours = [], []
            for _ in range(self.rounds):
                limits.append(self.limit("limit_pool", processes, depth, jobs, *child))
                ours.append(self.run_list(jobs, handler, processes * depth))
            what = f"pool of {processes}, {depth} at once in each"
            self.against(f"{what}, jobs/s", rates(limits), rates(ours), "0.8")
            limit_cpu, cpu = cpu_per_100k(limits), cpu_per_100k(ours)
            self.row("  CPU per 100,000 jobs, s", limit_cpu, cpu, ratio(cpu, limit_cpu), "-", "{:.2f}")

    def stop_idle(self):
        for kind, make in (("RabbitMQ", self.queue), ("Redis", self.list)):
            took = []
            for _ in range(self.rounds * 3):
                queue = make()
                worker = self.start(queue.section(), self.noop())
                wait_consuming(queue)
                took.append(self.stop(worker) * 1000)
            self.row(f"SIGTERM to exit, idle, {kind}, ms", [], took, "-", "10 ms", "{:.1f}")

    def stop_after_last_job(self, jobs=50):
        for kind, make in (("RabbitMQ", self.queue), ("Redis", self.list)):
            took = []
            for _ in range(self.rounds):
                queue, place = make(), folder("last")
                handler = (
                    f'handler "h" {{ type = "exec"  command = {{"{BENCH}/handler_clock", '
                    f'"{place}/gate", "{place}/record"}} }}\n'
                )
                queue.publish([BODY] * jobs)
                record = place / "record"
                record.touch()
                worker = self.start(queue.section(), handler, concurrency=jobs)
                wait_for(f"{jobs} running", lambda: record.read_text().count("begin") == jobs)
                worker.send(signal.SIGTERM)
                wait_for("the intake to be shut", lambda: shut(queue))
                (place / "gate").touch()
                if worker.wait_exit() != 0:
                    raise AssertionError(worker.log_text())
                exited = time.monotonic()
                ends = [float(l.split()[1]) for l in record.read_text().splitlines() if l[0] == "e"]
                took.append((exited - max(ends)) * 1000)
            self.row(f"last of {jobs} jobs' end to exit, {kind}, ms", [], took, "-", "10 ms", "{:.1f}")

    def give_back(self, jobs=10_000):
        for kind, make in (("RabbitMQ", self.queue), ("Redis", self.list)):
            took = []
            for _ in range(self.rounds):
                queue, place = make(), folder("back")
                record = place / "record"
                record.touch()
                handler = f'handler "h" {{ type = "plugin"  path = "{PLUGIN}"  threads = 1 }}\n'
                queue.publish([f"first:gate:{place}/gate"] + [BODY] * jobs)
                worker = self.start(
                    queue.section(extra=f"prefetch = {jobs + 1}  concurrency = 1"), handler,
                    environment={"OUTFALL_TEST_RECORD": str(record)},
                )  # fmt: skip
                wait_for("the first to run", lambda: "begin" in record.read_text())
                wait_for("all to be taken", lambda: queue.depth() == 0)
                begun = time.monotonic()
                worker.send(signal.SIGTERM)
                wait_for("all to be back", lambda: queue.depth() == jobs, every=0.001)
                took.append((time.monotonic() - begun) * 1000)
                (place / "gate").touch()
                worker.wait_exit()
            self.row(f"giving back {jobs:,} held jobs, {kind}, ms", [], took, "-", "200 ms", "{:.0f}")

    def idle(self, seconds=10):
        queue, jobs_list = self.queue(), self.list()
        exec_handler = 'handler "e" { type = "exec"  command = {"/bin/true"} }\n'
        worker = self.start(
            queue.section(), jobs_list.section(handler="e"), exec_handler, self.noop()
        )
        wait_consuming(queue)
        wait_consuming(jobs_list)
        status = Path(f"/proc/{worker.pid}/status").read_text()
        rss_mb = int(status.split("VmRSS:")[1].split()[0]) / 1024
        before, begun = cpu_seconds(worker.pid), time.monotonic()
        time.sleep(seconds)  # the one thing here that is measured over time itself
        share = (cpu_seconds(worker.pid) - before) / (time.monotonic() - begun) * 100
        self.stop(worker)
        self.row("resident memory, idle, one queue of each kind, MB", [], [rss_mb], "-", "8 MB", "{:.1f}")
        self.row(f"CPU while idle, over {seconds} s, % of a core", [], [share], "-", "0.1 %", "{:.3f}")

    def many_queues(self, jobs=50_000, many=100):
        """The cost of a job must not grow with the number of queues."""
        cost = {1: [], many: []}
        for _ in range(self.rounds):
            for count in cost:
                queues = [self.queue() for _ in range(count)]
                for queue in queues:
                    queue.publish([BODY] * (jobs // count), delivery_mode=1)
                lines = "".join(
                    f'  queue "{q.name}" {{ handler = "h"  prefetch = 100 }}\n'
                    for q in queues
                )
                section = f'rabbitmq "mq" {{\n  url = "{queues[0].url()}"\n{lines}}}\n'
                cost[count].append(self.run_noop(jobs, section))
                for queue in queues:
                    queue.channel.queue_delete(queue.name)
                    queue.close()
        one, most = cpu_per_100k(cost[1]), cpu_per_100k(cost[many])
        self.row(f"CPU per 100,000 jobs, 1 -> {many} queues, s", one, most,
                 ratio(most, one), "flat", "{:.2f}")  # fmt: skip

    def many_lists(self, jobs=50_000, many=100):
        cost = {1: [], many: []}
        for _ in range(self.rounds):
            for count in cost:
                self.redis.client().flushall()
                lists = [RedisList(self.redis, f"many{n}") for n in range(count)]
                for jobs_list in lists:
                    jobs_list.publish([BODY] * (jobs // count))
                lines = "".join(f'  list "{l.name}" {{ handler = "h" }}\n' for l in lists)
                section = f'redis "cache" {{\n  url = "{lists[0].url()}"\n{lines}}}\n'
                cost[count].append(self.run_noop(jobs, section))
        one, most = cpu_per_100k(cost[1]), cpu_per_100k(cost[many])
        self.row(f"CPU per 100,000 jobs, 1 -> {many} lists, s", one, most,
                 ratio(most, one), "flat", "{:.2f}")  # fmt: skip


def median(values):
    return statistics.median(values)


def ratio(ours, limits):
    """The median of the rounds' own ratios: what disturbs a round disturbs both halves of it."""
    return f"{median([a / b for a, b in zip(ours, limits)]):.2f}"


def rates(runs):
    return [run["jobs"] / run["seconds"] for run in runs]


def cpu_per_100k(runs):
    return [run["cpu"] / run["jobs"] * 100_000 for run in runs]


def spread(values, form):
    if len(values) == 1:
        return form.format(values[0])
    least, most = form.format(min(values)), form.format(max(values))
    return f"{form.format(median(values))} [{least}..{most}]"


def cpu_seconds(pid):
    """All threads, with the scheduler's resolution instead of the clock tick's."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def blocked(client):
    return any("b" in c["flags"] for c in client.client_list())


def wait_consuming(queue):
    if queue.kind == "rabbitmq":
        wait_for("a consumer", lambda: queue.consumers() > 0)
    else:
        wait_for("a blocked pop", lambda: blocked(queue.client))


def shut(queue):
    return queue.consumers() == 0 if queue.kind == "rabbitmq" else not blocked(queue.client)


def print_table(rows):
    widths = [max(len(cell) for cell in column) for column in zip(*rows, HEAD)]
    for row in [HEAD, Row(*("-" * w for w in widths)), *rows]:
        print("| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |")


HEAD = Row("what", "limit", "outfall", "ratio", "to reach")
PARTS = ["rabbitmq_noop", "redis_noop", "plugin_pending", "plugin_isolated", "exec_jobs", "pool_jobs",
         "http_jobs", "stop_idle", "stop_after_last_job", "give_back", "idle", "many_queues",
         "many_lists"]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help=f"only parts with these words: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not OUTFALL.exists():
        sys.exit(f"{OUTFALL} is not built")
    parts = [p for p in PARTS if not options.words or any(w in p for w in options.words)]
    bench = Bench(options.rounds)
    for part in parts:
        getattr(bench, part)()
    print(f"\n{os.cpu_count()} cores, median of {options.rounds} rounds [least..most], 256-byte bodies\n")
    print_table(bench.rows)


if __name__ == "__main__":
    main()
