#!/usr/bin/python3
"""A Redis that is there and cannot serve: a replica, loading, busy, full, without its scripts, with
other rights. Under load each must cost time and nothing else: no job lost, none run twice."""

import threading
import unittest

import redis

from brokers import RedisList, RedisServer
from worker import WorkerCase, wait_for

JOBS = 400


class Trouble(WorkerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = RedisServer("--enable-debug-command", "yes", "--busy-reply-threshold", "50")
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        super().setUp()
        self.admin = self.broker.client()
        self.admin.replicaof("no", "one")
        self.admin.config_set("maxmemory", 0)
        self.admin.config_set("key-load-delay", 0)
        self.admin.flushall()
        self.queue = RedisList(self.broker)
        self.addCleanup(self.queue.close)

    def load(self, url=None, **kinds):
        """A worker in the middle of its jobs."""
        self.queue.publish([f"j{n}:ms:5" for n in range(JOBS)])
        worker = self.start(
            self.config(self.queue.section(url=url, extra='lease = "15s"'), self.plugin_handler(**kinds))
        )
        self.record.wait_ended(40)
        return worker

    def assert_each_ran_once(self, worker, jobs=JOBS):
        self.record.wait_ended(jobs, 30)
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0)
        self.assertEqual(sorted(self.record.ended()), sorted(f"j{n}" for n in range(jobs)))
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["fates"]["unsettled"], 0)

    def down(self, worker):
        return [e.get("why", "") for e in worker.events("redis link down, reconnecting")]

    def told(self, worker):
        return self.down(worker) + [e["why"] for e in worker.events("list refused, trying again")]

    def wait_told(self, worker, *words):
        """What the log says of the trouble has one of these words."""
        wait_for(
            " or ".join(words),
            lambda: any(word in why for why in self.told(worker) for word in words),
        )

    def demote(self):
        self.admin.replicaof("127.0.0.1", 1)  # nobody is there: it keeps what it has, read-only

    def test_a_demoted_master(self):
        worker = self.load()
        self.demote()
        self.wait_told(worker, "READONLY")
        self.wait_told(worker, "this is a replica, of 127.0.0.1:1")
        # Nothing claims to be up meanwhile.
        self.assertEqual(worker.events("redis link restored"), [])
        self.admin.replicaof("no", "one")
        self.assert_each_ran_once(worker)
        self.assertEqual(len(worker.events("redis link restored")), 1)

    def test_a_demoted_master_unblocks_who_waits(self):
        self.queue.publish(["j0"])
        worker = self.start(self.config(self.queue.section(), self.plugin_handler()))
        self.record.wait_ended(1)
        wait_for("a blocked pop", lambda: any("b" in c["flags"] for c in self.admin.client_list()))
        self.demote()
        self.wait_told(worker, "READONLY")
        self.admin.replicaof("no", "one")
        self.queue.publish(["j1"])
        self.assert_each_ran_once(worker, 2)

    def test_a_replica_from_the_start(self):
        self.queue.publish([f"j{n}" for n in range(10)])
        self.demote()
        worker = self.start(self.config(self.queue.section(), self.plugin_handler()))
        self.wait_told(worker, "this is a replica")
        self.assertIsNone(worker.process.poll())
        self.assertEqual(worker.events("redis connected"), [])
        self.admin.replicaof("no", "one")
        self.assert_each_ran_once(worker, 10)

    def test_loading(self):
        """From the start and under load; the server keeps what it has."""
        filler = self.admin.pipeline()
        for n in range(300):
            filler.set(f"filler{n}", "x" * 20000)
        filler.execute()
        self.admin.config_set("loading-process-events-interval-bytes", 1024)
        worker = self.load()
        self.admin.config_set("key-load-delay", 5000)
        reload = threading.Thread(target=self.reload)
        reload.start()
        self.wait_told(worker, "LOADING")
        late = self.start(self.config(self.queue.section(), self.plugin_handler()))
        self.wait_told(late, "LOADING")
        reload.join()
        self.record.wait_ended(JOBS, 30)
        self.assertEqual(late.stop()[0], 0)
        self.assert_each_ran_once(worker)

    def reload(self):
        self.broker.client().execute_command("DEBUG", "RELOAD")

    def test_scripts_flushed(self):
        worker = self.load()
        while len(self.record.ended()) < JOBS:
            self.admin.script_flush()
            count = min(len(self.record.ended()), JOBS - 1)
            wait_for("progress between two flushes", lambda: len(self.record.ended()) > count)
        self.assert_each_ran_once(worker)
        self.wait_told(worker, "NOSCRIPT")

    def test_busy_with_anothers_script(self):
        worker = self.load()
        busy = threading.Thread(target=self.loop_for_ever)
        busy.start()
        self.wait_told(worker, "BUSY")
        self.broker.client().script_kill()
        busy.join()
        self.assert_each_ran_once(worker)

    def loop_for_ever(self):
        try:
            self.broker.client().eval("while true do end", 0)
        except redis.ResponseError:
            pass  # killed, as it was meant to be

    def test_full(self):
        """What makes room, or none, is still done: that is how a full server becomes less full."""
        worker = self.load()
        self.admin.config_set("maxmemory", 1)
        with self.assertRaises(redis.ResponseError):
            self.admin.set("x", "y")
        self.assert_each_ran_once(worker)
        self.assertEqual(self.down(worker), [])

    def test_rights_taken_and_given_back(self):
        self.admin.acl_setuser("w", enabled=True, passwords=["+secret"], keys=["*"],
                               categories=["+@all"])
        self.addCleanup(self.admin.acl_deluser, "w")
        worker = self.load(url=f"redis://w:secret@127.0.0.1:{self.broker.port}/0")
        self.admin.acl_setuser("w", enabled=True, commands=["-evalsha"])
        self.wait_told(worker, "NOPERM")
        self.admin.execute_command("ACL", "SETUSER", "w", "+@all", "off")
        self.admin.execute_command("CLIENT", "KILL", "USER", "w")
        self.wait_told(worker, "WRONGPASS")
        self.admin.execute_command("ACL", "SETUSER", "w", "on")
        self.assert_each_ran_once(worker)
        self.assertNotIn("secret", worker.log_text())

    def test_rights_that_are_just_enough(self):
        """No ROLE, which is dangerous to Redis' mind, and no key but the list's own."""
        self.admin.execute_command(
            "ACL", "SETUSER", "just", "on", ">secret", "resetkeys", "~jobs", "~{jobs}:*", "-@all",
            "+@read", "+@write", "+@scripting", "+@connection", "+time", "-@dangerous",
            "+client|unblock", "+client|id", "+client|setname",
        )  # fmt: skip
        self.addCleanup(self.admin.acl_deluser, "just")
        worker = self.load(url=f"redis://just:secret@127.0.0.1:{self.broker.port}/0")
        self.demote()
        self.wait_told(worker, "READONLY")
        self.admin.replicaof("no", "one")
        self.assert_each_ran_once(worker)


if __name__ == "__main__":
    unittest.main(verbosity=2)
