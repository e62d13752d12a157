"""What tests/soak.sh runs; see there."""

import collections
import os
import random
import signal
import sys
import time

import pika

from brokers import RabbitMQ, RabbitQueue, Redis, RedisList, folder, wait_for
from fault_proxy import FaultProxy
from worker import PLUGIN, Record, Worker

BATCH = 40  # jobs put on each broker between two faults
IN_FLIGHT = 100  # of both workers on both brokers, and what was told but not yet proved
ENOUGH_WAITING = 400  # jobs not yet done beyond which no more are put


class Soak:
    def __init__(self, minutes, seed):
        self.minutes = minutes
        self.random = random.Random(seed)
        self.directory = folder("soak")
        self.record = Record(self.directory / "record")
        self.rabbitmq, self.redis = RabbitMQ(), Redis()
        self.proxies = {"rabbitmq": FaultProxy(self.rabbitmq.port), "redis": FaultProxy(self.redis.port)}
        self.put = set()
        self.workers, self.gone = [], []
        self.faults = collections.Counter()
        self.excused = set()  # what was running when something died without a report
        RabbitQueue(self.rabbitmq, "/").close()

    # --- workers --------------------------------------------------------------------------------

    def config(self, without=None):
        rabbitmq, redis = self.proxies["rabbitmq"].port, self.proxies["redis"].port
        queue = 'queue "jobs" { handler = "h"  prefetch = 20 }'
        jobs = 'list "jobs" { handler = "h"  prefetch = 20  lease = "2s" }'
        return (
            "worker { concurrency = 8 }\n"
            'drain { timeout = "10s"  reserve = "1s"  grace = "500ms"  report = "@REPORT@" }\n'
            'log { level = "info"  format = "json" }\n'
            'retry "default" { attempts = 50  first = "50ms"  max = "500ms" }\n'
            f'rabbitmq "mq" {{ url = "amqp://guest:guest@127.0.0.1:{rabbitmq}"\n'
            '  heartbeat = "1s"  connect_timeout = "1s"\n'
            f'  {"" if without == "queue" else queue} }}\n'
            f'redis "cache" {{ url = "redis://127.0.0.1:{redis}/0"  connect_timeout = "1s"\n'
            f'  {"" if without == "list" else jobs} }}\n'
            f'handler "h" {{ type = "plugin"  path = "{PLUGIN}"  threads = 8 }}\n'
        )

    def start_worker(self):
        name = f"worker{len(self.workers) + len(self.gone) + 1}"
        environment = {"OUTFALL_TEST_RECORD": str(self.record.path)}
        self.workers.append(Worker(self.directory, self.config(), name, environment))

    def replace(self, worker):
        self.workers.remove(worker)
        self.gone.append(worker)
        self.start_worker()

    def pick(self):
        return self.random.choice(self.workers)

    def drain_worker(self):
        worker = self.pick()
        worker.stop(seconds=30)
        self.replace(worker)

    def kill_worker(self):
        worker = self.pick()
        self.excuse_what_runs()
        worker.kill()
        self.excuse_what_runs()
        self.replace(worker)

    def reload_worker(self):
        """One of its queues goes, perhaps amid more trouble, and comes back."""
        worker = self.pick()
        self.reload(worker, self.random.choice(["queue", "list"]))
        self.random.choice([self.cut, lambda: time.sleep(self.random.uniform(0, 1)), lambda: None])()
        self.reload(worker)

    def reload(self, worker, without=None):
        text = self.config(without).replace("@REPORT@", str(worker.report_path))
        worker.config_path.write_text(text)
        count = len(worker.events("configuration reloaded"))
        worker.send(signal.SIGHUP)
        worker.wait_event("configuration reloaded", count + 1)

    def excuse_what_runs(self):
        """Jobs in flight when a process dies: begun or just ended, and perhaps not yet told."""
        self.excused |= set(self.record.begun()[-IN_FLIGHT:])

    # --- brokers --------------------------------------------------------------------------------

    def restart_rabbitmq(self):
        self.excuse_what_runs()
        self.rabbitmq.kill()
        self.rabbitmq.start()
        self.excuse_what_runs()

    def hang(self, broker):
        broker.kill(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.5, 4))  # the fault itself, not a wait for something
        broker.kill(signal.SIGCONT)

    def hang_rabbitmq(self):
        self.hang(self.rabbitmq)

    def hang_redis(self):
        self.hang(self.redis)

    def alarm(self):
        self.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        time.sleep(self.random.uniform(0.5, 3))
        self.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")

    def cut(self):
        proxy = self.proxies[self.random.choice(list(self.proxies))]
        proxy.break_with(self.random.choice(["reset", "truncate", "half_close", "stall"]))
        time.sleep(self.random.uniform(0.1, 3))
        proxy.heal()

    # --- jobs -----------------------------------------------------------------------------------

    def body(self, kind):
        tag = f"{kind}{len(self.put)}"
        self.put.add(tag)
        doing = self.random.choice(["ms:1", "ms:5", "ms:30", "ms:100"])
        return tag, f"{tag}:{doing}"

    def put_jobs(self):
        if len(self.put) - len(set(self.record.ended())) > ENOUGH_WAITING:
            return
        queue = RabbitQueue(self.rabbitmq, "/", declare=False)
        for _ in range(BATCH):
            tag, body = self.body("m")
            properties = pika.BasicProperties(delivery_mode=2, message_id=tag)
            queue.channel.basic_publish("", "jobs", body, properties)  # confirmed
        queue.close()
        RedisList(self.redis).publish([self.body("r")[1] for _ in range(BATCH)])

    # --- the whole ------------------------------------------------------------------------------

    def resident_kb(self):
        sizes = []
        for worker in self.workers:
            with open(f"/proc/{worker.pid}/status") as status:
                sizes += [int(line.split()[1]) for line in status if line.startswith("VmRSS")]
        return sizes

    def trouble(self):
        kinds = [self.drain_worker, self.kill_worker, self.reload_worker, self.reload_worker,
                 self.restart_rabbitmq, self.hang_rabbitmq, self.hang_redis, self.alarm, self.cut,
                 self.cut]  # fmt: skip
        kind = self.random.choice(kinds)
        self.faults[kind.__name__] += 1
        kind()

    def run(self):
        self.start_worker()
        self.start_worker()
        self.put_jobs()
        wait_for("the first jobs", lambda: len(self.record.ended()) > BATCH)
        self.memory_at_start = self.resident_kb()
        ends = time.monotonic() + 60 * self.minutes
        while time.monotonic() < ends:
            self.put_jobs()
            self.trouble()
        self.settle_down()

    def settle_down(self):
        done = lambda: self.put <= set(self.record.ended())
        try:
            wait_for("every job", done, 60)
        except AssertionError:
            pass  # the report says which are lost
        self.memory_at_end = self.resident_kb()
        for worker in self.workers:
            worker.stop(seconds=30)
        self.gone += self.workers

    def announced(self):
        found = set()
        tags = {run["id"]: tag for tag, run in zip(self.record.begun(), self.record.runs())}
        for worker in self.gone:
            told = {e["job"] for e in worker.events("job settled") if e["fate"] == "unsettled"}
            if worker.report_path.exists():
                told |= {j["id"] for j in worker.report()["jobs"] if j["duplicate_possible"]}
            found |= {tags[i] for i in told if i in tags}
        return found

    def reconnects(self):
        return sum(", reconnecting" in line for w in self.gone for line in w.log_text().splitlines())

    def report(self):
        lost = self.put - set(self.record.ended())
        twice = set(self.record.ended_twice())
        announced = twice & self.announced()
        excused = twice & self.excused - announced
        silent = twice - announced - excused
        print("faults:     " + ", ".join(f"{name} {n}" for name, n in sorted(self.faults.items())))
        print(f"jobs:       {len(self.put)}")
        print(f"lost:       {len(lost)} {' '.join(sorted(lost)[:10])}")
        print(f"run twice:  {len(twice)}: announced {len(announced)}, in flight at a sudden death "
              f"{len(excused)}, in silence {len(silent)} {' '.join(sorted(silent)[:10])}")  # fmt: skip
        print(f"reconnects: {self.reconnects()} of {len(self.gone)} workers in succession")
        print(f"memory, kB: {self.memory_at_start} at the start, {self.memory_at_end} at the end")
        return 1 if lost or silent else 0

    def close(self):
        for worker in [*self.workers, *self.gone]:
            worker.kill()
        for proxy in self.proxies.values():
            proxy.close()
        self.rabbitmq.stop()
        self.redis.stop()


def main():
    try:
        minutes = float(sys.argv[1])
    except ValueError:
        sys.exit(f"soak.sh: minutes: not a number: {sys.argv[1]}")
    seed = int(os.environ.get("OUTFALL_SOAK_SEED", random.randrange(1_000_000)))
    print(f"{minutes:g} minutes, OUTFALL_SOAK_SEED={seed}", flush=True)
    os.environ.pop("OUTFALL_TEST_RABBITMQ", None)  # this one is restarted
    soak = Soak(minutes, seed)
    try:
        soak.run()
        code = soak.report()
    finally:
        soak.close()
    sys.exit(code)


if __name__ == "__main__":
    main()
