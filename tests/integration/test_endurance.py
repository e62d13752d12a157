"""Very many jobs through one worker: no process, no descriptor and no memory is left behind."""

import os
import unittest
from pathlib import Path

from worker import BUILD, RedisCase, is_guardian, wait_for


def children(pid):
    """Process ids and states of the worker's children that run handlers: {1234: "S"}."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid and not is_guardian(entry.name):
            found[int(entry.name)] = fields[0]
    return found


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kb(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


class Endurance(RedisCase):
    # Freed memory that the allocator keeps for the next job is no growth; a leak of ten bytes for each job is.
    MOST_GROWTH_KB = 1024

    def run_many(self, handler, jobs, resting, concurrency=8):
        """The first tenth fills whatever fills only once; the rest must change nothing."""
        worker = self.start(
            self.config(self.queue.section(), handler, concurrency=concurrency, level="warn")
        )
        self.wait_consuming(worker)
        self.publish(jobs // 10)
        self.wait_done(worker, resting)
        files, memory = descriptors(worker.pid), resident_kb(worker.pid)
        self.publish(jobs - jobs // 10)
        self.wait_done(worker, resting)
        growth = resident_kb(worker.pid) - memory
        self.figure(f"{jobs:,} jobs: {descriptors(worker.pid)} descriptors, {growth:+} kB resident")
        self.assertEqual(descriptors(worker.pid), files)
        self.assertLess(growth, self.MOST_GROWTH_KB)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], jobs)
        return worker

    def publish(self, count):
        for at in range(0, count, 10000):
            self.queue.client.lpush(self.queue.name, *[b"x"] * min(10000, count - at))

    def wait_done(self, worker, resting):
        """However slow the machine: as long as there is progress there is hope."""
        left = self.queue.unsettled()
        while left:
            left = wait_for("progress", lambda: self.progress_from(left), 60, 0.1)[0]
        wait_for(
            f"{resting} children at rest, and no zombie",
            lambda: len(children(worker.pid)) == resting
            and "Z" not in children(worker.pid).values(),
        )

    def progress_from(self, left):
        now = self.queue.unsettled()
        return (now,) if now < left else None

    def test_exec_100_000(self):
        self.run_many(self.exec_handler(command=["/bin/true"]), 100_000, resting=0)

    def test_pool_1_000_000(self):
        command = f'"{BUILD}/tests/bench/pool_child", "4"'
        handler = f'handler "h" {{ type = "pool"  command = {{{command}}}  processes = 2 }}\n'
        self.run_many(handler, 1_000_000, resting=2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
