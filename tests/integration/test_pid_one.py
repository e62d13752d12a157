"""The worker as the first process of a container: signals arrive although nobody else's would, and
orphans are reaped."""

import os
import signal
import subprocess
import unittest
from pathlib import Path

from worker import RedisCase, wait_for

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def unshare_works():
    try:
        return subprocess.run([*UNSHARE, "true"], stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


@unittest.skipUnless(unshare_works(), "LOUD SKIP: no PID namespaces here (unshare is not permitted)")
class PidOne(RedisCase):
    def start_first(self, config):
        worker = self.start(config, wrapper=UNSHARE)
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        worker.pid = int(wait_for("the namespace", lambda: children.read_text().split())[0])
        wait_for("the worker itself", lambda: os.readlink(f"/proc/{worker.pid}/exe").endswith("outfall"))
        return worker

    def test_drains(self):
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_first(self.config(self.queue.section()))
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(self.record.ended(), ["a"])
        self.assertEqual(worker.report()["fates"]["done"], 1)

    def test_a_signal_before_anybody_listens(self):
        """It reads a configuration that does not come to its end yet."""
        late = self.directory / "late.conf"
        os.mkfifo(late)
        config = self.config(self.queue.section()) + f'include("{late}")\n'
        worker = self.start_first(config)
        with open(late, "w") as out:  # it has come to this file, and waits for what is in it
            worker.send(signal.SIGTERM)
            out.write("# nothing\n")
        self.assertEqual(worker.wait_exit(), 0)
        worker.wait_event("drain report")

    def test_reaps_orphans(self):
        """Each job leaves a grandchild behind that ends later, with only PID 1 to reap it."""
        script = f"(sleep 0.05; echo end orphan >> {self.record.path}) > /dev/null 2>&1 &"
        self.queue.publish(["x"] * 20)
        worker = self.start_first(
            self.config(self.queue.section(), self.exec_handler(command=["/bin/sh", "-c", script]))
        )
        self.record.wait_ended(20)
        wait_for("no zombies", lambda: self.zombies(worker) == 0)
        self.assertEqual(worker.stop()[0], 0)

    def zombies(self, worker):
        pids = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        found = 0
        for pid in pids:
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    found += stat.read().rsplit(")", 1)[1].split()[0] == "Z"
            except FileNotFoundError:
                pass
        return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
