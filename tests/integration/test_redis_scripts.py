#!/usr/bin/python3
"""The Lua scripts against a real redis-server of their own: what each promises at its top."""

import itertools
import json
import os
import pathlib
import random
import unittest

import redis

from brokers import Redis

SOURCES = pathlib.Path(__file__).resolve().parents[2] / "worker/sources/redis"
LEASE = 15000


def setUpModule():
    global server
    broker = Redis()
    unittest.addModuleCleanup(broker.stop)
    server = broker.client()


class Worker:
    """Calls the scripts the way redis_list.c does."""

    def __init__(self, case, name):
        self.r, self.name = server, name
        self.scripts = case.scripts
        self.held, self.wake = f"q:held:{name}", f"q:wake:{name}"

    def turn(self, claim=0, done=(), retried=(), dead=(), returned=(), checkpoints=(),
             room=1 << 30, largest=1 << 30):
        args = [self.name, LEASE, claim, room, largest, len(done), len(retried), len(dead),
                len(returned), len(checkpoints), *itertools.chain.from_iterable(checkpoints), *done]
        for group in (retried, dead, returned):
            args += itertools.chain.from_iterable(group)
        reply = self.scripts["turn"](
            keys=["q", self.held, "q:workers", "q:seq", "q:delayed", "q:dead", "q:dead:notes",
                  "q:history", self.wake, "q:checkpoints"], args=args)
        if reply == [0]:
            return None
        self.next_due, self.dry, self.buried, self.trouble, n = reply[1:6]
        self.left = list(zip(reply[6:6 + 2 * n:2], reply[7:6 + 2 * n:2]))
        return list(zip(reply[6 + 2 * n::2], reply[7 + 2 * n::2]))

    def renew(self, how="bring back", client=""):
        return self.scripts["renew"](
            keys=["q", "q:workers", "q:delayed", "q:history", "q:clients", "q:checkpoints"],
            args=[self.name, LEASE, how, client, "q:held:", "q:wake:"])

    def undo(self, known=()):
        return self.scripts["undo"](
            keys=["q", self.held, "q:workers", "q:history", self.wake, "q:checkpoints"],
            args=[self.name, LEASE, *known])

    def leave(self):
        return self.scripts["leave"](
            keys=["q", self.held, "q:workers", self.wake, "q:clients"], args=[self.name])

    def lapse(self):
        self.r.zadd("q:workers", {self.name: 1}, xx=True)


class ScriptCase(unittest.TestCase):
    def setUp(self):
        self.r = server
        self.r.flushall()
        prelude = (SOURCES / "redis_put_back.lua").read_text()
        self.scripts = {
            name: self.r.register_script(prelude + (SOURCES / f"redis_{name}.lua").read_text())
            for name in ("turn", "renew", "undo", "leave", "delay")}
        self.w = self.joined("w1")

    def joined(self, name):
        w = Worker(self, name)
        self.assertEqual(w.renew("join")[0], 1)
        return w

    def push(self, *bodies):
        for body in bodies:
            self.r.lpush("q", body)

    def bodies(self):
        """The list as a consumer takes it: the head first."""
        return list(reversed(self.r.lrange("q", 0, -1)))

    def everything(self):
        """Every body in the system, wherever it is."""
        found = self.r.lrange("q", 0, -1) + self.r.lrange("q:dead", 0, -1)
        found += [m.split(b":", 3)[3] for m in self.r.zrange("q:delayed", 0, -1)]
        for key in self.r.keys("q:held:*"):
            found += self.r.hvals(key)
        for key in self.r.keys("q:wake:*"):
            found += self.r.lrange(key, 0, -1)
        return sorted(found)


class Claiming(ScriptCase):
    def test_in_order_with_ids_of_their_own(self):
        self.push(b"a", b"b", b"c")
        self.assertEqual(self.w.turn(claim=2), [(b"1:1:0", b"a"), (b"2:1:0", b"b")])
        self.assertEqual(self.w.dry, 0)
        self.assertEqual(self.w.turn(claim=2), [(b"3:1:0", b"c")])
        self.assertEqual(self.w.dry, 1)
        self.assertEqual(self.r.hlen(self.w.held), 3)
        self.assertEqual(self.r.llen("q"), 0)

    def test_any_bytes(self):
        bodies = [b"", b"\0\r\n:\xff 1:2:3", bytes(range(256)), b"x" * 300000]
        self.push(*bodies)
        jobs = self.w.turn(claim=10)
        self.assertEqual([b for _, b in jobs], bodies)
        self.w.turn(retried=[(f, "2:0", 0) for f, _ in jobs])
        self.assertEqual([b for _, b in self.w.turn(claim=10)], bodies)

    def test_more_than_lua_unpacks(self):
        bodies = [b"%d" % i for i in range(20000)]
        self.r.lpush("q", *bodies)
        jobs = self.w.turn(claim=20000)
        self.assertEqual([b for _, b in jobs], bodies)
        self.w.turn(returned=[(f, "1:0") for f, _ in jobs])
        self.assertEqual(self.bodies(), bodies)
        self.assertEqual(self.r.exists("q:history", self.w.held), 0)
        jobs = self.w.turn(claim=20000)
        self.w.turn(done=[f for f, _ in jobs])
        self.assertEqual(self.everything(), [])

    def test_bytes_bound_a_claim_but_never_stop_it(self):
        bodies = [b"%03d" % i + b"x" * 997 for i in range(10)]
        self.push(*bodies)
        self.assertEqual(len(self.w.turn(claim=10, room=2500)), 3)
        self.assertEqual(self.bodies(), bodies[3:])
        self.assertEqual(len(self.w.turn(claim=10, room=1)), 1)
        self.assertEqual(self.bodies(), bodies[4:])

    def test_bytes_put_back_keep_what_is_known_of_them(self):
        self.push(b"x" * 1000, b"y" * 1000)
        jobs = self.w.turn(claim=2)
        self.w.turn(returned=[(f, "3:2") for f, _ in jobs])
        self.assertEqual(len(self.w.turn(claim=2, room=1)), 1)
        self.assertEqual(self.w.turn(claim=2), [(b"2:3:2", b"y" * 1000)])

    def test_too_large_a_body_is_buried_unseen(self):
        self.push(b"x" * 11, b"y" * 10)
        self.assertEqual([b for _, b in self.w.turn(claim=5, largest=10)], [b"y" * 10])
        self.assertEqual(self.w.buried, 1)
        self.assertEqual(self.r.lrange("q:dead", 0, -1), [b"x" * 11])
        note = json.loads(self.r.lindex("q:dead:notes", 0))
        self.assertEqual(note["reason"], "larger than max_body")

    def test_a_list_of_the_wrong_type_is_told_and_settling_goes_on(self):
        self.push(b"a")
        field = self.w.turn(claim=1)[0][0]
        self.r.set("q", "no list")
        self.assertEqual(self.w.turn(claim=1, done=[field]), [])
        self.assertIn(b"WRONGTYPE", self.w.trouble)
        self.assertEqual(self.r.exists(self.w.held), 0)

    def test_woken_body_comes_first_or_goes_back(self):
        self.push(b"a", b"b")
        self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
        self.assertEqual([b for _, b in self.w.turn(claim=1)], [b"a"])
        self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
        self.push(b"c")
        self.assertEqual(self.w.turn(claim=0), [])
        self.assertEqual(self.bodies(), [b"b", b"c"])
        self.assertEqual(self.r.exists(self.w.wake), 0)


class Settling(ScriptCase):
    def test_each_fate_has_its_place(self):
        self.push(b"done", b"retried", b"dead", b"returned", b"still held")
        f = [field for field, _ in self.w.turn(claim=5)]
        self.w.turn(done=[f[0]], retried=[(f[1], "2:0", 60000)], dead=[(f[2], "why not")],
                    returned=[(f[3], "1:1")])
        self.assertEqual(self.bodies(), [b"returned"])
        self.assertEqual(self.r.hgetall(self.w.held), {f[4]: b"still held"})
        self.assertEqual(self.r.zrange("q:delayed", 0, -1), [b"2:2:0:retried"])
        self.assertTrue(59000 < self.w.next_due <= 60000)
        self.assertEqual(self.r.lrange("q:dead", 0, -1), [b"dead"])
        note = json.loads(self.r.lindex("q:dead:notes", 0))
        self.assertEqual((note["id"], note["attempt"], note["reason"]), ("q-3", 1, "why not"))
        self.assertEqual(self.w.turn(claim=1), [(b"4:1:1", b"returned")])
        self.assertEqual(self.r.exists("q:history"), 0)

    def test_twice_is_harmless(self):
        self.push(b"done", b"retried", b"dead", b"returned")
        f = [field for field, _ in self.w.turn(claim=4)]
        told = dict(done=[f[0]], retried=[(f[1], "2:0", 60000)], dead=[(f[2], "")],
                    returned=[(f[3], "2:1")])
        self.w.turn(**told)
        before = self.everything()
        self.w.turn(**told)
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.r.llen("q:dead:notes"), 1)
        self.assertEqual(self.r.hvals("q:history"), [b"4:2:1"])

    def test_returned_in_order_before_what_waits(self):
        self.push(*[b"%d" % i for i in range(10)])
        jobs = self.w.turn(claim=6)
        self.w.turn(returned=[(f, "1:0") for f, _ in jobs[1:]])
        self.assertEqual(self.bodies(), [b"%d" % i for i in range(1, 10)])

    def test_interrupted_one_by_one_they_are_in_order_again(self):
        self.push(*[b"%d" % i for i in range(8)])
        jobs = self.w.turn(claim=6)
        self.w.turn(returned=[(f, "1:0") for f, _ in jobs[4:]])  # never begun
        for n in (2, 0, 3, 1):
            self.w.turn(returned=[(jobs[n][0], "1:1!")])
        self.assertEqual(self.bodies(), [b"%d" % i for i in range(8)])
        self.assertEqual(self.r.hlen("q:history"), 4)
        again = self.w.turn(claim=8)
        self.assertEqual([f for f, _ in again[:4]], [b"%d:1:1" % (n + 1) for n in range(4)])
        self.assertEqual(self.r.exists("q:history"), 0)

    def test_interrupted_together_they_are_in_order(self):
        self.push(b"a", b"b", b"c", b"d")
        jobs = self.w.turn(claim=3)
        self.w.turn(returned=[(jobs[n][0], "1:1!") for n in (1, 2, 0)])
        self.assertEqual(self.bodies(), [b"a", b"b", b"c", b"d"])

    def test_begun_and_given_back_it_keeps_its_id(self):
        self.push(b"a", b"b")
        jobs = self.w.turn(claim=2)
        self.w.turn(returned=[(jobs[0][0], "1:0!"), (jobs[1][0], "1:0")])
        first, second = (f for f, _ in self.w.turn(claim=2))
        self.assertEqual(first, b"1:1:0")
        self.assertNotEqual(second, b"2:1:0")

    def test_equal_bodies_keep_their_counts_apart(self):
        self.push(b"same", b"same", b"same")
        jobs = self.w.turn(claim=3)
        self.w.turn(returned=[(jobs[0][0], "2:0"), (jobs[1][0], "1:1"), (jobs[2][0], "1:0")])
        facts = sorted(f for f, _ in self.w.turn(claim=3))
        self.assertEqual(facts, [b"1:2:0", b"2:1:1", b"6:1:0"])

    def test_history_of_equal_bodies_is_bounded_and_expires(self):
        self.r.lpush("q", *[b"same"] * 2000)
        jobs = self.w.turn(claim=2000)
        self.w.turn(returned=[(f, "2:0") for f, _ in jobs])
        self.assertLess(len(self.r.hvals("q:history")[0]), 5000)
        self.assertTrue(0 < self.r.ttl("q:history") <= 7 * 24 * 3600)
        self.assertEqual(len(self.w.turn(claim=2000)), 2000)
        self.assertEqual(self.r.exists("q:history"), 0)

    def test_large_bodies_are_told_apart(self):
        one, two = b"x" * 100000 + b"1", b"x" * 100000 + b"2"
        self.push(one, two)
        jobs = self.w.turn(claim=2)
        self.w.turn(returned=[(jobs[0][0], "2:0"), (jobs[1][0], "3:0")])
        self.assertEqual(self.w.turn(claim=2), [(b"1:2:0", one), (b"2:3:0", two)])

    def test_notes_are_capped(self):
        self.r.lpush("q", *[b"x"] * 1100)
        self.w.turn(dead=[(f, "r") for f, _ in self.w.turn(claim=1100)])
        self.assertEqual(self.r.llen("q:dead"), 1100)
        self.assertEqual(self.r.llen("q:dead:notes"), 1000)


class Crashes(ScriptCase):
    """Counted behind a dot, and only once there are any."""

    def test_counts_come_back_from_the_list_and_from_the_delayed(self):
        self.push(b"returned", b"5:retried")
        (one, _), (two, _) = self.w.turn(claim=2)
        self.w.turn(returned=[(one, "1:0.1")], retried=[(two, "2:0.3", 0)])
        self.assertEqual(self.r.zrange("q:delayed", 0, -1), [b"2:2:0.3:5:retried"])
        self.assertCountEqual(self.w.turn(claim=2),
                              [(b"1:1:0.1", b"returned"), (b"2:2:0.3", b"5:retried")])

    def test_a_body_is_not_taken_for_a_count(self):
        self.push(b"7:x", b".7:x")
        self.w.turn(retried=[(f, "2:0", 0) for f, _ in self.w.turn(claim=2)])
        self.assertCountEqual(self.w.turn(claim=4), [(b"1:2:0", b"7:x"), (b"2:2:0", b".7:x")])

    def test_what_an_older_worker_wrote_is_read(self):
        """It knew of no crashes: three numbers in delayed, held and history."""
        self.r.zadd("q:delayed", {b"7:2:1:9:body": 1})
        self.r.hset("q:held:old", "5:1:0", "held")
        self.r.zadd("q:workers", {"old": 1})
        self.assertEqual(self.w.renew()[2:], [1, 1])
        self.assertCountEqual(self.w.turn(claim=4), [(b"7:2:1", b"9:body"), (b"5:1:1", b"held")])

    def test_dead_with_crashes_has_its_attempt_in_the_note(self):
        self.push(b"a")
        self.w.turn(retried=[(self.w.turn(claim=1)[0][0], "2:1.2", 0)])
        self.w.turn(dead=[(self.w.turn(claim=1)[0][0], "crashed 3 times")])
        note = json.loads(self.r.lindex("q:dead:notes", 0))
        self.assertEqual((note["id"], note["attempt"], note["reason"]), ("q-1", 2, "crashed 3 times"))

    def test_of_a_dead_worker_only_interruptions_are_counted(self):
        self.push(b"a", b"b")
        self.w.turn(retried=[(self.w.turn(claim=1)[0][0], "2:0.1", 0)])
        self.w.turn(claim=2)
        self.w.lapse()
        other = self.joined("w2")
        other.renew()
        self.assertEqual(other.turn(claim=2), [(b"1:2:1.1", b"a"), (b"2:1:1", b"b")])


class Checkpoints(ScriptCase):
    def settle(self, fate, checkpoint, **more):
        """The one job there is, claimed and settled so."""
        [(field, _)] = self.w.turn(claim=1)
        told = {"done": [field], "retried": [(field, "2:0", 0)], "dead": [(field, "")],
                "returned": [(field, more.get("counts", "1:1"))]}[fate]
        pairs = [] if checkpoint is None else [(field, checkpoint)]
        self.w.turn(checkpoints=pairs, **{fate: told})

    def kept(self):
        return self.r.hgetall("q:checkpoints")

    def test_the_next_run_is_handed_the_newest(self):
        self.push(b"a")
        self.settle("returned", b"page 3")
        self.settle("retried", b"page 5 \0\xff")
        self.assertEqual(self.w.left, [])
        self.assertEqual(self.w.turn(claim=1), [(b"1:2:0", b"a")])
        self.assertEqual(self.w.left, [(b"1:2:0", b"page 5 \0\xff")])

    def test_one_that_leaves_nothing_new_keeps_the_old(self):
        self.push(b"a")
        for fate in ("returned", "returned", "retried"):
            self.settle(fate, b"first" if not self.kept() else None)
        self.w.turn(claim=1)
        self.assertEqual([bytes for _, bytes in self.w.left], [b"first"])

    def test_they_go_to_their_own_jobs(self):
        self.push(*[b"%d" % i for i in range(6)])
        jobs = self.w.turn(claim=6)
        self.w.turn(returned=[(f, "1:1") for f, _ in jobs],
                    checkpoints=[(jobs[i][0], b"of %d" % i) for i in (4, 1)])
        jobs = self.w.turn(claim=6)
        self.assertEqual([b for _, b in jobs], [b"%d" % i for i in range(6)])
        self.assertEqual(self.w.left, [(b"2:1:1", b"of 1"), (b"5:1:1", b"of 4")])

    def test_it_ends_with_the_job_or_when_told(self):
        for fate in ("done", "dead", "returned"):
            self.push(fate.encode())
            self.settle("returned", b"x")
            self.assertEqual(len(self.kept()), 1)
            self.settle(fate, b"")
            self.assertEqual(self.kept(), {}, fate)

    def test_too_large_a_body_takes_it_along(self):
        self.push(b"x" * 11)
        self.settle("returned", b"x")
        self.assertEqual(self.w.turn(claim=1, largest=10), [])
        self.assertEqual(self.kept(), {})

    def test_a_job_that_only_left_a_checkpoint_keeps_its_id(self):
        """Its counts are those of a new job; a list of raw bodies would give it another id."""
        self.push(b"a")
        self.settle("returned", b"x", counts="1:0")
        self.w.turn(claim=1)  # the reply is lost, and it is put back unbegun
        self.w.undo()
        self.assertEqual(self.w.turn(claim=1, room=1), [(b"1:1:0", b"a")])
        self.assertEqual(self.w.left, [(b"1:1:0", b"x")])

    def test_it_survives_its_worker(self):
        self.push(b"a")
        self.settle("returned", b"x", counts="1:0")
        self.w.turn(claim=1)
        self.w.lapse()
        other = self.joined("w2")
        other.renew()
        self.assertEqual(other.turn(claim=1), [(b"1:1:1", b"a")])
        self.assertEqual(other.left, [(b"1:1:1", b"x")])

    def test_told_again_it_does_not_replace_a_newer_one(self):
        self.push(b"a")
        [(field, _)] = self.w.turn(claim=1)
        told = dict(returned=[(field, "1:1")], checkpoints=[(field, b"old")])
        self.w.turn(**told)
        self.settle("returned", b"new", counts="1:2")
        self.w.turn(**told)  # the first reply was lost with its connection
        self.w.turn(claim=1)
        self.assertEqual(self.w.left, [(b"1:1:2", b"new")])

    def test_bytes_bound_a_claim(self):
        self.push(b"a", b"b", b"c")
        jobs = self.w.turn(claim=3)
        self.w.turn(returned=[(f, "1:1") for f, _ in jobs],
                    checkpoints=[(f, b"x" * 1000) for f, _ in jobs])
        self.assertEqual(len(self.w.turn(claim=3, room=1500)), 2)
        self.assertEqual(self.w.turn(claim=3), [(b"3:1:1", b"c")])
        self.assertEqual(len(self.w.left), 1)

    def test_it_expires(self):
        self.push(b"a")
        self.settle("returned", b"x")
        self.assertTrue(0 < self.r.ttl("q:checkpoints") <= 7 * 24 * 3600)


class Delaying(ScriptCase):
    def delay(self, ms, body):
        return self.scripts["delay"](keys=["q:delayed", "q:seq", "q:clients"], args=[ms, body])

    def test_due_jobs_take_at_most_half(self):
        for i in range(20):
            self.delay(0, b"due%02d" % i)
        self.push(*[b"new%d" % i for i in range(3)])
        self.delay(60000, b"later")
        bodies = [b for _, b in self.w.turn(claim=8)]
        self.assertEqual(sum(b.startswith(b"due") for b in bodies[:4]), 4)
        self.assertEqual(bodies[4:7], [b"new0", b"new1", b"new2"])
        self.assertTrue(bodies[7].startswith(b"due"))
        self.assertEqual(self.w.next_due, 0)
        self.assertEqual(len(self.w.turn(claim=100)), 15)
        self.assertTrue(0 < self.w.next_due <= 60000)

    def test_only_the_next_due_wakes_somebody(self):
        self.w.renew(client="77")
        self.assertEqual(self.delay(60000, b"a"), [b"77"])
        self.assertEqual(self.delay(90000, b"b"), [])
        self.assertEqual(self.delay(30000, b"c"), [b"77"])


class Leases(ScriptCase):
    def test_jobs_of_a_dead_worker_come_back_once_marked_in_order(self):
        self.push(*[b"%d" % i for i in range(12)])
        self.w.turn(claim=4)
        self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
        other, third = self.joined("w2"), self.joined("w3")
        self.w.lapse()
        self.assertEqual(other.renew()[2:], [4, 1])
        self.assertEqual(third.renew()[2:], [0, 0])
        self.assertEqual(self.bodies(), [b"%d" % i for i in range(12)])
        self.assertEqual([f for f, _ in other.turn(claim=5)],
                         [b"1:1:1", b"2:1:1", b"3:1:1", b"4:1:1", b"9:1:0"])

    def test_a_worker_that_was_only_slow_is_shut_out(self):
        self.push(b"a")
        field = self.w.turn(claim=1)[0][0]
        other = self.joined("w2")
        self.w.lapse()
        other.renew()
        self.assertIsNone(self.w.turn(claim=1, done=[field]))
        self.assertEqual(self.w.renew(), [0])
        self.assertEqual(self.w.undo(), [0])
        self.assertEqual(self.bodies(), [b"a"])
        self.assertEqual(self.w.renew("join")[0], 1)

    def test_a_lapsed_lease_that_nobody_minded_is_renewed(self):
        self.push(b"a")
        field = self.w.turn(claim=1)[0][0]
        self.w.lapse()
        self.assertEqual(self.w.turn(done=[field]), [])
        self.assertEqual(self.r.zscore("q:workers", "w1"), 1)  # renewing is for redis_renew.lua
        self.assertEqual(self.w.renew()[0], 1)
        self.assertEqual(self.joined("w2").renew()[2:], [0, 0])
        self.assertEqual(self.everything(), [])

    def test_who_was_late_itself_judges_nobody(self):
        self.push(b"a")
        self.w.turn(claim=1)
        other = self.joined("w2")
        self.w.lapse()
        other.lapse()
        self.assertEqual(other.renew()[2:], [0, 0])
        self.assertEqual(self.w.renew()[0], 1)
        self.w.lapse()
        self.assertEqual(Worker(self, "w3").renew("join")[2:], [0, 0])
        self.assertEqual(other.renew("renew")[2:], [0, 0])
        self.assertEqual(other.renew()[2:], [1, 1])

    def test_a_worker_does_not_bring_back_its_own(self):
        self.push(b"a")
        self.w.turn(claim=1)
        self.w.lapse()
        self.assertEqual(self.w.renew()[2:], [0, 0])
        self.assertEqual(self.r.hlen(self.w.held), 1)

    def test_undo_puts_back_what_is_not_known(self):
        self.push(*[b"%d" % i for i in range(6)])
        known = [f for f, _ in self.w.turn(claim=2)]
        self.w.turn(claim=2)
        self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
        self.assertEqual(self.w.undo(known), [1, 2])
        self.assertEqual(self.bodies(), [b"2", b"3", b"4", b"5"])
        self.assertEqual(self.w.undo(known), [1, 0])
        self.assertEqual(self.r.hlen(self.w.held), 2)
        self.assertEqual(self.r.exists("q:history"), 0)

    def test_undo_names_what_only_the_worker_knows(self):
        self.push(b"a", b"b")
        known = [f for f, _ in self.w.turn(claim=2)]
        self.assertEqual(self.w.undo([known[0], "7:1:0", known[1], "8:2:1"]), [1, 0, b"7:1:0", b"8:2:1"])

    def test_only_an_empty_worker_leaves(self):
        self.push(b"a", b"b")
        field = self.w.turn(claim=1)[0][0]
        self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
        self.assertEqual(self.w.leave(), 0)
        self.assertEqual(self.bodies(), [b"b"])
        self.w.turn(done=[field])
        self.assertEqual(self.w.leave(), 1)
        self.assertEqual(self.r.zcard("q:workers"), 0)

    def test_out_of_memory_takes_neither_lease_nor_job(self):
        self.push(*[b"%d" % i for i in range(4)])
        self.w.turn(claim=1)
        self.w.lapse()
        self.r.config_set("maxmemory", "1")
        try:
            with self.assertRaises(redis.ResponseError):
                self.r.lpush("q", b"refused")
            self.assertEqual(self.w.renew()[0], 1)
            self.assertGreater(self.r.zscore("q:workers", "w1"), 1)
            self.assertEqual(len(self.w.turn(claim=2)), 2)
        finally:
            self.r.config_set("maxmemory", "0")
        self.assertEqual(self.everything(), [b"%d" % i for i in range(4)])


class Anything(ScriptCase):
    def test_no_job_is_lost_or_doubled(self):
        """Random calls by three workers that also lapse; all bodies stay in exactly one place, and
        whoever claims a job is handed what was left for it last."""
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        rnd = random.Random(seed)
        workers = [self.w, self.joined("w2"), self.joined("w3")]
        held = {w.name: [] for w in workers}
        alive, pushed, left = [], 0, {}
        id_of = lambda field: field.split(b":")[0]
        for step in range(1500):
            w = rnd.choice(workers)
            mine = held[w.name]
            what = rnd.random()
            if what < 0.3:
                body = b"job %d" % pushed
                pushed += 1
                alive.append(body)
                self.r.lpush("q", body)
            elif what < 0.35:
                w.lapse()
            elif what < 0.4:
                if w.renew() == [0]:
                    held[w.name] = []
                    w.renew("join")
            elif what < 0.45:
                self.r.lmove("q", w.wake, "RIGHT", "LEFT") if not self.r.exists(w.wake) else None
            else:
                rnd.shuffle(mine)
                groups = [[], [], [], []]
                for _ in range(rnd.randrange(len(mine) + 1)):
                    rnd.choice(groups).append(mine.pop())
                done, retried, dead, returned = groups
                news = {f: rnd.choice([b"", b"at %d" % step]) for f, _ in retried + returned
                        if rnd.random() < 0.5}
                news.update((f, b"") for f, _ in done + dead)
                got = w.turn(claim=rnd.randrange(5), room=rnd.choice([1, 20, 10000]),
                             done=[f for f, _ in done], dead=[(f, "") for f, _ in dead],
                             retried=[(f, "2:0", rnd.choice([0, 5])) for f, _ in retried],
                             returned=[(f, f"1:{rnd.randrange(2)}") for f, _ in returned],
                             checkpoints=news.items())
                if got is None:
                    held[w.name] = []
                    w.renew("join")
                else:
                    for _, body in done:
                        alive.remove(body)
                    mine += got
                    left.update((id_of(f), bytes) for f, bytes in news.items())
                    handed = {id_of(f): bytes for f, bytes in w.left}
                    expected = {i: left[i] for i in (id_of(f) for f, _ in got) if left.get(i)}
                    self.assertEqual(handed, expected, f"SEED={seed} step {step}")
            self.assertEqual(self.everything(), sorted(alive), f"SEED={seed} step {step}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
