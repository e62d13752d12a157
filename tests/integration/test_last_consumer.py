"""Whether quiet and drain, asked for by an operator, may leave a queue to nobody."""

import time
import unittest

from fault_proxy import FaultProxy
from worker import RabbitCase, RedisCase, patience, wait_for


class LastConsumerCases:
    def start_fleet(self, policy, size=2, **options):
        self.sockets = [self.directory / f"a{n}.sock" for n in range(size)]
        workers = [
            self.start(
                self.config(
                    self.queue.section(**options),
                    self.exec_handler(),
                    f'admin {{ socket = "{socket}"  last_consumer = "{policy}" }}\n',
                    worker=f'name = "w{n}"',
                )
            )
            for n, socket in enumerate(self.sockets)
        ]
        for n in range(size):
            wait_for("ready", lambda n=n: self.ctl(n, "status").returncode == 0 and self.is_ready(n))
        return workers

    def is_ready(self, n):
        return '"intake":"open"' in self.ctl(n, "status", "--json").stdout.replace(" ", "")

    def ctl(self, n, *arguments):
        return self.run_outfall("ctl", "-s", self.sockets[n], *arguments)

    def assert_refused(self, done):
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertIn(f"nobody else takes from {self.queue.source}/{self.queue.name}", done.stderr)
        self.assertIn("--force", done.stderr)

    def is_refused(self, n):
        """Is it now? The brokers hear a moment later who has gone."""
        if self.ctl(n, "quiet").returncode == 1:
            return True
        self.assertEqual(self.ctl(n, "resume").returncode, 0)
        return False

    def test_the_last_one_is_refused(self):
        first, last = self.start_fleet("refuse")
        self.assertEqual(self.ctl(0, "drain", "--wait").returncode, 0)
        self.assertEqual(first.wait_exit(), 0)
        wait_for("it to be known", lambda: self.is_refused(1))
        for words in (["drain"], ["drain", "--wait"], ["quiet"]):
            self.assert_refused(self.ctl(1, *words))
        self.queue.publish(["j"])
        self.record.wait_ended(1)
        done = self.ctl(1, "drain", "--wait", "--force")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(last.wait_exit(), 0)

    def test_who_is_quiet_does_not_count(self):
        workers = self.start_fleet("refuse")
        self.assertEqual(self.ctl(0, "quiet").returncode, 0)
        wait_for("the other one to know", lambda: self.is_refused(1))
        self.assertEqual(self.ctl(0, "resume").returncode, 0)
        wait_for("and to know again", lambda: self.ctl(1, "quiet").returncode == 0)
        self.assertEqual(self.ctl(1, "drain", "--wait").returncode, 0)  # it takes nothing away
        wait_for("it to be known", lambda: self.is_refused(0))
        self.assert_refused(self.ctl(0, "quiet"))
        self.assertEqual(workers[1].wait_exit(), 0)
        self.assertEqual(workers[0].stop()[0], 0)  # a signal is not asked

    def test_a_warning(self):
        (worker,) = self.start_fleet("warn", size=1)
        done = self.ctl(0, "quiet")
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertIn("warning: nobody else takes from", done.stderr)
        queues = worker.wait_event("nobody else is left")["queues"]
        self.assertEqual(queues, f"{self.queue.source}/{self.queue.name}")
        done = self.ctl(0, "drain", "--wait")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(worker.wait_exit(), 0)

    def test_a_broker_that_does_not_answer_holds_nobody(self):
        proxy = FaultProxy(self.broker.port)
        self.addCleanup(proxy.close)
        url = self.queue.url().replace(f":{self.broker.port}/", f":{proxy.port}/")
        (worker,) = self.start_fleet("refuse", size=1, url=url)
        proxy.break_with("stall")
        begun = time.monotonic()
        done = self.ctl(0, "quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLess(time.monotonic() - begun, 2 + 3 * patience())
        self.assertEqual(worker.wait_event("who else takes from some queues is not known")["queues"], 1)
        proxy.heal()


class RedisLastConsumer(LastConsumerCases, RedisCase):
    def test_who_has_died_does_not_count(self):
        first, last = self.start_fleet("refuse", extra='lease = "3s"')
        self.assertFalse(self.is_refused(1))
        first.kill()
        wait_for("its lease to run out", lambda: self.is_refused(1))
        self.assertEqual(last.stop()[0], 0)


class RabbitLastConsumer(LastConsumerCases, RabbitCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
