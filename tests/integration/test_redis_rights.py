"""The rights that worker/sources/README.md names for Redis are those that it takes: no more, no less. Each row of its
table becomes a user."""

import re
import signal
import unittest
from pathlib import Path

from brokers import RedisList, RedisServer, wait_for
from worker import RedisCase

TOP = Path(__file__).resolve().parents[2]
SOURCES = TOP / "worker" / "sources"


def table():
    """What for: its keys and its commands."""
    text = (SOURCES / "README.md").read_text().split("## Redis: rights", 1)[1].split("\n## ", 1)[0]
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]  # client\|id is one word
        if len(cells) == 3 and not cells[0].startswith("-"):
            rows[cells[0]] = [re.findall(r"`([^`]*)`", cell.replace("\\|", "|")) for cell in cells[1:]]
    return rows


class Rights(RedisCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = RedisServer()
        cls.addClassCleanup(cls.server.stop)
        cls.rows = table()

    def setUp(self):
        super().setUp()
        self.admin = self.server.client(decode_responses=True)
        self.admin.flushall()
        self.admin.execute_command("ACL", "LOG", "RESET")
        self.list = RedisList(self.server)

    def user(self, *rows, name="u"):
        """With the rights of these rows, and its URL."""
        rules = []
        for row in rows:
            keys, commands = self.rows[row]
            rules += ["~" + key.replace("NAME", "jobs") for key in keys]
            rules += ["+" + command for command in commands]
        self.admin.execute_command("ACL", "SETUSER", name, "reset", "on", ">secret", *rules)
        return f"redis://{name}:secret@127.0.0.1:{self.server.port}/0"

    def denied(self):
        return {(entry["object"], entry["context"]) for entry in self.admin.acl_log()}

    def section(self, url, extra=""):
        return f'redis "cache" {{ url = "{url}" {extra}\n list "jobs" {{ handler = "h" lease = "3s" }} }}\n'

    def work(self, *rows, extra=""):
        """All that can become of a job, the end of a worker that is killed, and a drain."""
        url = self.user(*rows)
        dead = self.start(self.config(self.section(url, extra), concurrency=1))
        dead.wait_event("redis connected")
        self.list.publish([f"orphan:gate:{self.gate('dead')}"])
        self.record.wait_begun(1)
        dead.kill()
        worker = self.start(self.config(self.section(url, extra), concurrency=2))
        worker.wait_event("redis connected")
        self.open_gate("dead")
        self.record.wait_ended(1)
        self.list.publish(["done", "again:fail-until:2", "bad:exit:65"])
        self.record.wait_ended(3)
        wait_for("the dead letter", lambda: self.admin.llen("{jobs}:dead") == 1)
        self.list.publish([f"g{n}:gate:{self.gate()}" for n in range(6)])
        wait_for("two to run", lambda: len([t for t in self.record.begun() if t.startswith("g")]) == 2)
        worker.send(signal.SIGTERM)
        worker.wait_event("drain moved")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertNotIn("NOPERM", worker.log_text() + dead.log_text())
        return worker

    def test_take_jobs(self):
        self.work("take jobs")
        left = {what for what, _ in self.denied()}
        asked = {command for command in self.rows["asked at the login, and done without"][1]}
        self.assertLessEqual(left, asked)
        self.assertGreater(len(left), 0, "nothing was asked that could be done without")

    def test_and_with_what_is_asked_at_the_login(self):
        worker = self.work("take jobs", "asked at the login, and done without")
        self.assertEqual(self.denied(), set())
        worker.wait_event("redis keeps nothing on disk, a restart of it loses all waiting jobs")

    def test_replicas(self):
        self.work("take jobs", "`wait_replicas`", extra='wait_replicas = 1 wait_timeout = "50ms"')
        self.assertNotIn("wait", {what for what, _ in self.denied()})

    def enqueue(self, url, *words, extra=""):
        path = self.directory / "producer.conf"
        path.write_text(self.section(url, extra) + self.exec_handler())
        done = self.run_outfall("enqueue", "-c", path, "cache/jobs", "--body", "hello", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.denied() - {("client|setname", "toplevel")}, set())

    def test_enqueue(self):
        self.enqueue(self.user("`outfall enqueue`"))
        self.assertEqual(self.admin.lrange("jobs", 0, -1), ["hello"])

    def test_enqueue_for_later(self):
        self.enqueue(self.user("`outfall enqueue --delay`"), "--delay", "1h")
        self.assertEqual(self.admin.zcard("{jobs}:delayed"), 1)

    def test_each_command_of_a_script_is_in_the_table(self):
        """Those that a run does not come by, too; and the table names none that no script has any more."""
        known = {name.lower() for name in self.admin.execute_command("COMMAND")}
        used = set()
        for path in SOURCES.glob("redis/redis_*.lua"):
            used |= {word.lower() for word in re.findall(r"'([A-Z]{3,})'", path.read_text())} & known
        sent = {"evalsha", "script|load", "blmove", "client|id", "client|unblock", "select"}
        self.assertEqual(used, set(self.rows["take jobs"][1]) - sent)


if __name__ == "__main__":
    unittest.main(verbosity=2)
