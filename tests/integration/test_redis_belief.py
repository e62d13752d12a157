#!/usr/bin/python3
"""What a worker believes of its list, and what the server knows: a freeze past the lease, a server that forgets, keys
that others have made, a connection that may not wait. Jobs are neither lost nor left in limbo."""

import signal
import time
import unittest

from brokers import RedisList, RedisServer
from worker import WorkerCase, patience, wait_for


class BeliefCase(WorkerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = RedisServer()
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        super().setUp()
        self.r = self.broker.client()
        self.r.flushall()
        self.r.config_set("maxmemory-policy", "noeviction")
        self.queue = RedisList(self.broker)
        self.addCleanup(self.queue.close)

    def consume(self, *lists, concurrency=1, lease="1s", extra="", url=None):
        """A worker of these lists, each with the exec test handler."""
        text = f'redis "cache" {{ url = "{url or self.queue.url()}"\n'
        text += "".join(f'  list "{name}" {{ handler = "h"  lease = "{lease}" {extra} }}\n'
                        for name in lists or ("jobs",))
        return self.start(self.config(text + "}\n", self.exec_handler(), concurrency=concurrency))

    def wait_member(self, name="jobs", count=1):
        wait_for("a member", lambda: self.r.zcard("{%s}:workers" % name) >= count)

    def all_run(self, *tags):
        wait_for("all to end", lambda: set(self.record.ended()) >= set(tags), 30)


class Leases(BeliefCase):
    def test_frozen_past_its_lease_and_alone(self):
        """docker pause, a snapshot, a debugger: the link is up all the time."""
        tags = [f"j{n}" for n in range(12)]
        self.queue.publish([f"{tag}:ms:100" for tag in tags])
        worker = self.consume(extra="prefetch = 6")
        self.record.wait_ended(2)
        worker.send(signal.SIGSTOP)
        time.sleep(1.6)  # longer than the lease: it is what is tested
        worker.send(signal.SIGCONT)
        self.all_run(*tags)
        wait_for("nothing in its name", lambda: self.queue.unsettled() == 0)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.ended_twice(), [])

    def test_a_membership_that_goes_while_it_waits(self):
        for forget in (self.r.flushall, lambda: self.r.delete("{jobs}:workers")):
            with self.subTest(forget=forget):
                worker = self.consume()
                self.wait_member()
                wait_for("a blocked pop", lambda: any("b" in c["flags"] for c in self.r.client_list()))
                before = len(self.record.ended())
                forget()
                self.queue.publish(["a", "b", "c"])
                wait_for("all three", lambda: len(self.record.ended()) >= before + 3)
                self.assertEqual(worker.stop()[0], 0)
                self.assertEqual(self.r.keys("{jobs}:wake:*") + self.r.keys("{jobs}:held:*"), [])


class Forgetting(BeliefCase):
    """The same server under the same address, with less than it had."""

    def test_finished_while_it_was_gone_runs_no_second_time(self):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(4)])
        worker = self.consume(concurrency=2, extra="prefetch = 4", lease="15s")
        self.record.wait_begun(2)
        bodies = self.queue.waiting() + sorted(sum((self.r.hvals(k) for k in self.r.keys("{jobs}:held:*")), []))
        self.broker.kill()
        self.open_gate()
        self.record.wait_ended(2)
        self.broker.start()  # without a disk it has nothing
        self.assertEqual(len(bodies), 4)
        self.all_run("j0", "j1", "j2", "j3")
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(worker.report()["fates"]["unsettled"], 0)

    def test_older_data_with_these_jobs_still_in_the_list(self):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(4)])
        bodies = self.r.lrange("jobs", 0, -1)
        worker = self.consume(concurrency=2, extra="prefetch = 4", lease="15s")
        self.record.wait_begun(2)
        ids = [int(field.split(b":")[0]) for key in self.r.keys("{jobs}:held:*") for field in self.r.hkeys(key)]
        pipe = self.r.pipeline()
        pipe.flushall()
        pipe.rpush("jobs", *bodies)
        pipe.set("{jobs}:seq", min(ids) - 1)
        pipe.execute()
        worker.wait_event("claims that the server has forgotten, claiming them again")
        self.open_gate()
        self.all_run("j0", "j1", "j2", "j3")
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(self.r.llen("jobs"), 0)


class BadKeys(BeliefCase):
    """Of one list: the other one of the section works on, and a drain ends in time."""

    def setUp(self):
        super().setUp()
        self.other = RedisList(self.broker, "other")
        self.addCleanup(self.other.close)

    def test_a_raw_body_among_the_delayed_is_a_job(self):
        self.r.zadd("{jobs}:delayed", {"raw": 1})
        self.other.publish(["o1", "o2"])
        worker = self.consume("jobs", "other")
        self.all_run("raw", "o1", "o2")
        self.assertEqual(worker.stop()[0], 0)

    def test_a_dead_list_that_is_none(self):
        self.r.set("buried", "no list")
        self.queue.publish(["bad:exit:65"])
        self.other.publish(["o1", "o2"])
        text = f'redis "cache" {{ url = "{self.queue.url()}"\n  list "jobs" {{ handler = "h" dead = "buried" }}\n'
        text += '  list "other" { handler = "h" }\n}\n'
        worker = self.start(self.config(text, self.exec_handler()))
        self.all_run("o1", "o2")
        event = worker.wait_event("list not as it should be")
        self.assertIn("WRONGTYPE", event["why"])
        wait_for("the dead job", lambda: self.r.llen("{jobs}:dead") == 1)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual([e["fate"] for e in worker.events("job settled") if e["queue"] == "jobs"], ["dead"])

    def test_a_list_that_becomes_something_else(self):
        worker = self.consume("jobs", "other")
        self.wait_member("other")
        for key, what in (("{jobs}:delayed", "WRONGTYPE"), ("{jobs}:workers", "WRONGTYPE")):
            self.r.delete(key)
            self.r.set(key, "x")
            self.other.publish([f"o{key[-3:]}"])
            self.all_run(f"o{key[-3:]}")
            wait_for("to be told", lambda: any(what in e["why"] for e in worker.events("list refused, trying again")))
            self.r.delete(key)
        self.queue.publish(["back"])
        self.all_run("back")
        self.assertEqual(worker.stop()[0], 0)


class Suspects(BeliefCase):
    def test_a_job_that_takes_its_worker_along_is_dead_in_the_end(self):
        """And those beside it are not."""
        self.queue.publish(["killer:kill-worker:now", "n1", "n2", "n3"])
        for deaths in range(1, 9):
            worker = self.consume(concurrency=2, extra="prefetch = 4")
            try:
                wait_for("the worker to die or to be done",
                         lambda: worker.process.poll() is not None or self.queue.dead_depth() > 0)
            except AssertionError:
                break
            if self.queue.dead_depth() > 0:
                break
        self.assertLessEqual(deaths, 6)
        self.all_run("n1", "n2", "n3")
        wait_for("nothing else", lambda: self.queue.unsettled() == 0 and self.queue.depth() == 0)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.queue.take_dead(), ["killer:kill-worker:now"])


class Servers(BeliefCase):
    def test_what_loses_jobs_is_warned_of(self):
        self.r.config_set("maxmemory-policy", "allkeys-lru")
        worker = self.consume()
        self.assertEqual(
            worker.wait_event("redis throws away jobs when its memory is full, set maxmemory-policy noeviction")
            ["setting"], "allkeys-lru")
        worker.wait_event("redis keeps nothing on disk, a restart of it loses all waiting jobs")
        worker.stop()

    def test_who_may_not_wait_says_so_and_looks(self):
        self.r.acl_setuser("w", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"],
                           commands=["-blmove"])
        self.addCleanup(self.r.acl_deluser, "w")
        worker = self.consume(url=f"redis://w:secret@127.0.0.1:{self.broker.port}/0")
        event = worker.wait_event("cannot wait for jobs, looking for them now and then instead")
        self.assertIn("blmove", event["why"])
        for n in range(5):
            begun = time.monotonic()
            self.queue.publish([f"j{n}"])
            self.record.wait_ended(n + 1)
            self.assertLess(time.monotonic() - begun, 1.5 * patience())
        self.assertEqual(len(worker.events("cannot wait for jobs, looking for them now and then instead")), 1)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_producer_needs_no_right_but_to_push(self):
        self.r.execute_command("ACL", "SETUSER", "p", "on", ">secret", "resetkeys", "~jobs", "-@all", "+lpush",
                               "+client|setname", "+client|id", "+select")
        self.addCleanup(self.r.acl_deluser, "p")
        path = self.directory / "producer.conf"
        path.write_text(f'redis "cache" {{ url = "redis://p:secret@127.0.0.1:{self.broker.port}/0"\n'
                    '  list "jobs" { handler = "h" } }\n' + self.exec_handler())
        done = self.run_outfall("enqueue", "-c", path, "cache/jobs", "--body", "hello")
        self.assertEqual((done.returncode, self.queue.waiting()), (0, ["hello"]), done.stderr)

    def test_a_producer_waits_for_replicas_too(self):
        path = self.directory / "producer.conf"
        path.write_text(f'redis "cache" {{ url = "{self.queue.url()}" wait_replicas = 1 wait_timeout = "100ms"\n'
                    '  list "jobs" { handler = "h" } }\n' + self.exec_handler())
        done = self.run_outfall("enqueue", "-c", path, "cache/jobs", "--body", "hello")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("not on 1 replicas", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
