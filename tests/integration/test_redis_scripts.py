#!/usr/bin/python3
"""The Lua scripts against a real redis-server of their own: what each promises at its top."""

import itertools
import json
import os
import pathlib
import random
import re
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


def counts(field):
    return field.split(b":", 1)[1]


def id_of(field):
    return int(field.split(b":")[0])


def body_of(member):
    """What is behind the facts, where there are any."""
    found = re.fullmatch(rb"\d+:\d+:\d+\.?\d*\.?\d*:(.*)", member, re.DOTALL)
    return found.group(1) if found else member


class Worker:
    """Calls the scripts the way the worker does."""

    def __init__(self, case, name):
        self.r, self.name = server, name
        self.scripts = case.scripts
        self.held, self.wake = f"q:held:{name}", f"q:wake:{name}"

    def turn(self, claim=0, done=(), retried=(), dead=(), returned=(), checkpoints=(),
             room=1 << 30, largest=1 << 30, lost_most=5, suspects=2, dead_list="q:dead"):
        args = [self.name, LEASE, claim, room, largest, lost_most, suspects, len(done), len(retried),
                len(dead), len(returned), len(checkpoints), *itertools.chain.from_iterable(checkpoints),
                *done]
        dead = [(field, reason, *(error or [""])) for field, reason, *error in dead]
        for group in (retried, dead, returned):
            args += itertools.chain.from_iterable(group)
        reply = self.scripts["turn"](
            keys=["q", self.held, "q:workers", "q:seq", "q:delayed", dead_list, f"{dead_list}:notes",
                  "q:returned", self.wake, "q:checkpoints", "q:dead"], args=args)
        if reply[0] == 0:
            self.last_id = reply[1]
            return None
        (self.next_due, self.dry, self.buried, self.trouble, self.passed_by, self.missing, left,
         claimed) = reply[1:]
        self.left = list(zip(left[::2], left[1::2]))
        return list(zip(claimed[::2], claimed[1::2]))

    def renew(self, how="bring back", client=""):
        reply = self.scripts["renew"](
            keys=["q", "q:workers", "q:delayed", "q:returned", "q:clients", self.held, self.wake, "q:seq"],
            args=[self.name, LEASE, how, client, "q:held:", "q:wake:"])
        if reply[0] == 0:
            return None
        brought_back, from_workers, self.more = reply[3:]
        return brought_back, from_workers

    def undo(self, known=()):
        return self.scripts["undo"](
            keys=["q", self.held, "q:workers", "q:returned", self.wake, "q:seq"],
            args=[self.name, LEASE, *known])

    def reclaim(self, jobs):
        return self.scripts["reclaim"](
            keys=["q", self.held, "q:workers", "q:returned", self.wake, "q:seq", "q:delayed"],
            args=[self.name, LEASE, *itertools.chain.from_iterable(jobs)])

    def leave(self, known=()):
        return self.scripts["leave"](
            keys=["q", self.held, "q:workers", self.wake, "q:clients", "q:returned", "q:delayed"],
            args=[self.name, *known])

    def lapse(self, away=1.1):
        """Nothing was heard of it for so many leases."""
        seconds, micros = self.r.time()
        self.r.zadd("q:workers",
                    {self.name: int(seconds * 1000 + micros // 1000 - (away - 1) * LEASE)}, xx=True)


class ScriptCase(unittest.TestCase):
    def setUp(self):
        self.r = server
        self.r.flushall()
        prelude = (SOURCES / "redis_job.lua").read_text()
        self.scripts = {
            name: self.r.register_script(prelude + (SOURCES / f"redis_{name}.lua").read_text())
            for name in ("turn", "renew", "undo", "reclaim", "leave", "delay")}
        self.w = self.joined("w1")

    def joined(self, name):
        w = Worker(self, name)
        self.assertEqual(w.renew("join"), (0, 0))
        return w

    def popped(self, **turn):
        """The jobs of a turn, and how many bodies the script took off the list for them."""
        taken = 0
        with self.r.monitor() as monitor:
            jobs = self.w.turn(**turn)
            self.r.ping()
            for said in monitor.listen():
                words = said["command"].split(" ", 3)
                if words[0].upper() == "PING":
                    return jobs, taken
                if words[0].upper() == "RPOP" and words[1] == "q":
                    taken += int(words[2]) if len(words) > 2 else 1

    def push(self, *bodies):
        for body in bodies:
            self.r.lpush("q", body)

    def bodies(self):
        """The list as a consumer takes it: the head first."""
        return list(reversed(self.r.lrange("q", 0, -1)))

    def everything(self):
        """Every body in the system, wherever it is."""
        found = self.r.lrange("q", 0, -1) + self.r.lrange("q:dead", 0, -1)
        found += [body_of(m) for m in self.r.zrange("q:delayed", 0, -1)]
        for key in self.r.keys("q:held:*"):
            found += self.r.hvals(key)
        for key in self.r.keys("q:wake:*"):
            found += self.r.lrange(key, 0, -1)
        return sorted(found)


class Claiming(ScriptCase):
    def test_in_order_with_ids_of_their_own(self):
        self.push(b"a", b"b", b"c")
        first = self.w.turn(claim=2)
        self.assertEqual([(counts(f), b) for f, b in first], [(b"1:0", b"a"), (b"1:0", b"b")])
        self.assertEqual(self.w.dry, 0)
        [(field, body)] = self.w.turn(claim=2)
        self.assertEqual(body, b"c")
        self.assertEqual(self.w.dry, 1)
        self.assertEqual(len({f for f, _ in first} | {field}), 3)
        self.assertGreater(id_of(field), id_of(first[1][0]))
        self.assertEqual(self.r.hlen(self.w.held), 3)
        self.assertEqual(self.r.llen("q"), 0)

    def test_no_id_comes_twice_whatever_the_server_forgets(self):
        seen = set()
        for forget in (["q:seq"], ["q:seq", "q:workers"], ["q:seq"]):
            self.push(b"a", b"b")
            fields = [f for f, _ in self.w.turn(claim=2)]
            self.w.turn(done=fields)
            self.assertTrue(seen.isdisjoint(id_of(f) for f in fields))
            seen |= {id_of(f) for f in fields}
            self.r.delete(*forget)
            self.w.renew("join")
        self.r.set("q:seq", max(seen) + 10**12)  # a clock that was set back
        self.push(b"c")
        self.assertGreater(id_of(self.w.turn(claim=1)[0][0]), max(seen) + 10**12)

    def test_a_claim_costs_what_it_takes(self):
        """Redis copies each body that is popped: 200 MB for the sake of eight would hold it for a second."""
        self.r.lpush("q", *[b"x" * 1000000] * 200)
        jobs, taken = self.popped(claim=200, room=8 << 20)
        self.assertEqual(len(jobs), 9)
        self.assertLess(taken, 30)
        self.assertEqual(self.r.llen("q"), 191)

    def test_also_where_large_ones_lie_behind_small_ones(self):
        self.r.lpush("q", *[b"x"] * 150)
        self.r.lpush("q", *[b"x" * 1000000] * 200)
        jobs, taken = self.popped(claim=250, room=8 << 20)
        self.assertEqual(len(jobs), 159)
        self.assertLess(taken, 180)

    def test_any_bytes(self):
        bodies = [b"", b"\0\r\n:\xff 1:2:3", bytes(range(256)), b"x" * 300000]
        self.push(*bodies)
        jobs = self.w.turn(claim=10)
        self.assertEqual([b for _, b in jobs], bodies)
        self.w.turn(retried=[(f, "2:0.0", 0) for f, _ in jobs])
        self.assertEqual([b for _, b in self.w.turn(claim=10)], bodies)

    def test_more_than_lua_unpacks(self):
        bodies = [b"%d" % i for i in range(20000)]
        self.r.lpush("q", *bodies)
        jobs = self.w.turn(claim=20000)
        self.assertEqual([b for _, b in jobs], bodies)
        self.w.turn(returned=[(f, "") for f, _ in jobs])
        self.assertEqual(self.bodies(), bodies)
        self.assertEqual(self.r.exists("q:returned", self.w.held), 0)
        jobs = self.w.turn(claim=20000)
        self.w.turn(done=[f for f, _ in jobs])
        self.assertEqual(self.everything(), [])

    def test_bytes_bound_a_claim_but_never_stop_it(self):
        bodies = [b"%03d" % i + b"x" * 997 for i in range(10)]
        self.push(*bodies)
        self.assertEqual([b for _, b in self.w.turn(claim=10, room=2500)], bodies[:3])
        self.assertEqual(self.bodies(), bodies[3:])
        self.assertEqual(len(self.w.turn(claim=10, room=1)), 1)
        self.assertEqual(self.bodies(), bodies[4:])

    def test_bytes_bound_a_claim_of_interrupted_jobs(self):
        self.push(b"x" * 1000, b"y" * 1000)
        jobs = self.w.turn(claim=2)
        self.w.turn(returned=[(f, "3:2.0") for f, _ in jobs])
        self.assertEqual(len(self.w.turn(claim=2, room=1)), 1)
        [(field, body)] = self.w.turn(claim=2)
        self.assertEqual((field.split(b":")[0], counts(field), body),
                         (jobs[1][0].split(b":")[0], b"3:2.0", b"y" * 1000))

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
        self.w.turn(done=[f[0]], retried=[(f[1], "2:0.0", 60000)], dead=[(f[2], "why not")],
                    returned=[(f[3], "1:1.0")])
        self.assertEqual(self.bodies(), [b"returned"])
        self.assertEqual(self.r.hgetall(self.w.held), {f[4]: b"still held"})
        self.assertEqual(self.r.zrange("q:delayed", 0, -1), [b"%d:2:0.0:retried" % id_of(f[1])])
        self.assertTrue(59000 < self.w.next_due <= 60000)
        self.assertEqual(self.r.lrange("q:dead", 0, -1), [b"dead"])
        note = json.loads(self.r.lindex("q:dead:notes", 0))
        self.assertEqual((note["id"], note["attempt"], note["reason"]),
                         (f"q-{id_of(f[2])}", 1, "why not"))
        self.assertEqual(self.w.turn(claim=1), [(b"%d:1:1.0" % id_of(f[3]), b"returned")])

    def test_twice_is_harmless_and_told(self):
        self.push(b"done", b"retried", b"dead", b"returned")
        f = [field for field, _ in self.w.turn(claim=4)]
        told = dict(done=[f[0]], retried=[(f[1], "2:0.0", 60000)], dead=[(f[2], "")],
                    returned=[(f[3], "2:1.0")])
        self.w.turn(**told)
        self.assertEqual(self.w.missing, [])
        before = self.everything()
        self.w.turn(**told)
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.r.llen("q:dead:notes"), 1)
        self.assertEqual(self.w.missing, f[1:])

    def test_returned_in_order_before_what_waits(self):
        self.push(*[b"%d" % i for i in range(10)])
        jobs = self.w.turn(claim=6)
        self.w.turn(returned=[(f, "") for f, _ in jobs[1:]])
        self.assertEqual(self.bodies(), [b"%d" % i for i in range(1, 10)])

    def test_interrupted_one_by_one_they_are_in_order_again(self):
        self.push(*[b"%d" % i for i in range(8)])
        jobs = self.w.turn(claim=6)
        self.w.turn(returned=[(f, "") for f, _ in jobs[4:]])  # never begun
        for n in (2, 0, 3, 1):
            self.w.turn(returned=[(jobs[n][0], "1:1.0")])
        self.assertEqual(self.bodies(), [b"%d" % i for i in range(8)])
        again = self.w.turn(claim=8)
        self.assertEqual([b for _, b in again], [b"%d" % i for i in range(8)])
        self.assertEqual([f for f, _ in again[:4]], [b"%d:1:1.0" % id_of(f) for f, _ in jobs[:4]])

    def test_begun_and_given_back_it_keeps_its_id(self):
        self.push(b"a", b"b")
        jobs = self.w.turn(claim=2)
        self.w.turn(returned=[(jobs[0][0], "1:0.0"), (jobs[1][0], "")])
        again = self.w.turn(claim=2)
        self.assertEqual(id_of(again[0][0]), id_of(jobs[0][0]))
        self.assertEqual(counts(again[1][0]), b"1:0")
        self.w.turn(returned=[(again[0][0], "")])  # and also when it does not begin the next time
        self.assertEqual(id_of(self.w.turn(claim=1)[0][0]), id_of(jobs[0][0]))

    def test_many_large_ones_do_not_hold_the_server(self):
        """For the sake of the order what went back before is taken off again, but not without end."""
        bodies = [b"%03d" % i + b"x" * 250000 for i in range(100)]
        self.r.lpush("q", *bodies)
        jobs = self.w.turn(claim=100)
        self.r.config_resetstat()
        for field, _ in jobs:  # the oldest first: each goes behind those before it
            self.w.turn(returned=[(field, "1:1.0")])
        self.assertLess(self.r.info("commandstats")["cmdstat_rpop"]["calls"], 1500)
        again = [self.w.turn(claim=1)[0] for _ in range(100)]
        self.assertCountEqual([(id_of(f), b[:3]) for f, b in again], [(id_of(f), b[:3]) for f, b in jobs])

    def test_out_of_order_each_keeps_its_facts(self):
        bodies = [b"%03d" % i + b"x" * 500000 for i in range(40)]
        self.r.lpush("q", *bodies)
        jobs = self.w.turn(claim=40)
        order = list(range(40))
        random.Random(7).shuffle(order)
        for i in order:
            self.w.turn(returned=[(jobs[i][0], f"1:{i}.0")])
        again = [self.w.turn(claim=1)[0] for _ in range(40)]
        self.assertCountEqual([(counts(f), b[:3]) for f, b in again],
                              [(b"1:%d.0" % i, b"%03d" % i) for i in range(40)])

    def test_equal_bodies_are_jobs_of_their_own(self):
        self.push(b"same", b"same", b"same", b"same")
        jobs = self.w.turn(claim=3)
        self.w.turn(returned=[(jobs[0][0], "2:0.0"), (jobs[1][0], "1:1.0"), (jobs[2][0], "")])
        again = self.w.turn(claim=4)
        self.assertEqual([counts(f) for f, _ in again], [b"2:0.0", b"1:1.0", b"1:0", b"1:0"])
        self.assertEqual([id_of(f) for f, _ in again[:3]], [id_of(f) for f, _ in jobs])

    def test_bodies_that_differ_in_their_middle_only(self):
        one, two = b"x" * 9000 + b"1" + b"x" * 9000, b"x" * 9000 + b"2" + b"x" * 9000
        self.push(one, two)
        jobs = self.w.turn(claim=2)
        self.w.turn(returned=[(jobs[1][0], "3:0.0")])
        self.w.turn(returned=[(jobs[0][0], "2:0.0")])
        self.assertEqual([(counts(f), b) for f, b in self.w.turn(claim=2)],
                         [(b"2:0.0", one), (b"3:0.0", two)])

    def test_a_deleted_list_has_no_memory(self):
        self.push(b"same")
        [(field, _)] = self.w.turn(claim=1)
        self.w.turn(returned=[(field, "4:3.0")])
        self.r.delete("q")
        self.push(b"same")
        [(again, _)] = self.w.turn(claim=1)
        self.assertEqual(counts(again), b"1:0")
        self.assertNotEqual(id_of(again), id_of(field))

    def test_only_as_long_as_something_is_remembered_has_the_list_a_time_to_live(self):
        self.push(b"a", b"b", b"c")
        [(field, _)] = self.w.turn(claim=1)
        self.assertEqual(self.r.ttl("q"), -1)
        self.w.turn(returned=[(field, "1:1.0")])
        self.assertGreater(self.r.ttl("q"), 3600 * 24 * 365 * 100)
        self.w.turn(claim=1)
        self.assertEqual(self.r.ttl("q"), -1)
        self.assertEqual(self.r.exists("q:returned"), 0)

    def test_a_blocked_pop_that_empties_the_list_takes_no_facts_along(self):
        self.push(b"a")
        [(field, _)] = self.w.turn(claim=1)
        other, third = self.joined("w2"), self.joined("w3")
        self.w.turn(returned=[(field, "1:1.0")])
        self.r.lmove("q", other.wake, "RIGHT", "LEFT")
        self.push(b"b")
        self.assertEqual([(counts(f), b) for f, b in third.turn(claim=1)], [(b"1:0", b"b")])
        self.push(b"c")
        self.assertEqual(other.turn(claim=1), [(b"%d:1:1.0" % id_of(field), b"a")])

    def test_somebody_else_at_the_head(self):
        self.push(*[b"%d" % i for i in range(6)])
        jobs = self.w.turn(claim=4)
        self.w.turn(returned=[(f, "1:1.%d" % i) for i, (f, _) in enumerate(jobs)])
        self.r.rpop("q")
        self.r.rpush("q", b"pushed by another")
        self.assertEqual([(counts(f), b) for f, b in self.w.turn(claim=10)],
                         [(b"1:0", b"pushed by another"), (b"1:1.1", b"1"), (b"1:1.2", b"2"),
                          (b"1:1.3", b"3"), (b"1:0", b"4"), (b"1:0", b"5")])

    def test_a_dead_list_of_another_type_takes_nobody_along(self):
        self.push(b"a", b"b")
        f = [field for field, _ in self.w.turn(claim=2)]
        self.r.set("buried", "no list")
        self.w.turn(done=[f[1]], dead=[(f[0], "why")], dead_list="buried")
        self.assertIn(b"WRONGTYPE", self.w.trouble)
        self.assertIn(b"q:dead", self.w.trouble)
        self.assertEqual(self.r.lrange("q:dead", 0, -1), [b"a"])
        self.assertEqual(self.r.exists(self.w.held), 0)

    def test_a_job_that_cannot_be_buried_anywhere_is_not_lost(self):
        self.push(b"a")
        [(field, _)] = self.w.turn(claim=1)
        self.r.set("q:dead", "no list")
        self.w.turn(dead=[(field, "why")])
        self.assertEqual(self.w.missing, [field])
        self.assertEqual(self.r.hvals(self.w.held), [b"a"])
        self.r.delete("q:dead")

    def test_what_a_handler_said_of_it_is_in_the_note(self):
        self.push(b"a")
        [(field, _)] = self.w.turn(claim=1)
        error = {"class": "Net::ReadTimeout", "message": "\u00e9", "backtrace": ["a.rb:1", "b.rb:2"]}
        self.w.turn(dead=[(field, "why", json.dumps(error))])
        self.assertEqual(json.loads(self.r.lindex("q:dead:notes", 0))["error"], error)

    def test_notes_are_capped(self):
        self.r.lpush("q", *[b"x"] * 1100)
        self.w.turn(dead=[(f, "r") for f, _ in self.w.turn(claim=1100)])
        self.assertEqual(self.r.llen("q:dead"), 1100)
        self.assertEqual(self.r.llen("q:dead:notes"), 1000)


class Crashes(ScriptCase):
    """Counted behind a dot, as soon as a job has begun."""

    def test_counts_come_back_from_returned_and_from_delayed(self):
        self.push(b"returned", b"5:retried")
        (one, _), (two, _) = self.w.turn(claim=2)
        self.w.turn(returned=[(one, "1:0.1")], retried=[(two, "2:0.3", 0)])
        self.assertCountEqual([(counts(f), b) for f, b in self.w.turn(claim=2)],
                              [(b"1:0.1", b"returned"), (b"2:0.3", b"5:retried")])

    def test_a_body_is_not_taken_for_a_count(self):
        bodies = [b"7:x", b".7:x", b".7.8:x", b"1:1:0:x"]
        self.push(*bodies)
        self.w.turn(retried=[(f, "2:0.0", 0) for f, _ in self.w.turn(claim=4)])
        self.assertCountEqual([b for _, b in self.w.turn(claim=8)], bodies)

    def test_dead_with_crashes_has_its_attempt_in_the_note(self):
        self.push(b"a")
        self.w.turn(retried=[(self.w.turn(claim=1)[0][0], "2:1.2", 0)])
        self.w.turn(dead=[(self.w.turn(claim=1)[0][0], "crashed 3 times")])
        note = json.loads(self.r.lindex("q:dead:notes", 0))
        self.assertEqual((note["attempt"], note["reason"]), (2, "crashed 3 times"))


class Lost(ScriptCase):
    """Jobs whose worker died."""

    def dies(self, w, name, suspects=2):
        """The worker dies with what it holds; another one, of that name, brings it back."""
        w.lapse()
        other = self.joined(name)
        other.renew()
        return other

    def test_each_counts_an_interruption_and_a_worker(self):
        self.push(b"a", b"b")
        self.w.turn(retried=[(self.w.turn(claim=1)[0][0], "2:0.1", 0)])
        self.w.turn(claim=2)
        other = self.dies(self.w, "w2")
        got = [other.turn(claim=2) for _ in range(2)]
        self.assertEqual([(counts(f), b) for jobs in got for f, b in jobs],
                         [(b"2:1.1.1", b"a"), (b"1:1.0.1", b"b")])

    def test_a_suspect_is_claimed_alone(self):
        self.push(*[b"%d" % i for i in range(4)])
        self.w.turn(claim=3)
        other = self.dies(self.w, "w2")
        for body in (b"0", b"1", b"2"):
            self.assertEqual([b for _, b in other.turn(claim=10)], [body])
            self.assertEqual(other.dry, 0)
        self.assertEqual([b for _, b in other.turn(claim=10)], [b"3"])
        self.assertEqual(self.r.exists("q:returned"), 0)

    def test_who_may_not_have_one_is_given_others(self):
        self.push(b"a", b"b", b"c")
        self.w.turn(claim=2)
        other = self.dies(self.w, "w2")
        self.assertEqual([b for _, b in other.turn(claim=10, suspects=0)], [b"c"])
        self.assertEqual((other.passed_by, other.dry), (2, 1))
        self.assertEqual(self.bodies(), [b"a", b"b"])
        self.assertEqual([b for _, b in other.turn(claim=10)], [b"a"])

    def test_nobody_looks_far_behind_them(self):
        self.r.lpush("q", *[b"%d" % i for i in range(100)])
        self.w.turn(claim=50)
        other = self.dies(self.w, "w2")
        self.assertEqual(other.turn(claim=10, suspects=0), [])
        self.assertLessEqual(other.passed_by, 30)
        self.assertEqual(self.bodies(), [b"%d" % i for i in range(100)])

    def test_lost_twice_it_is_only_for_those_who_have_no_other_suspect(self):
        self.push(b"a", b"b")
        self.w.turn(claim=1)
        w = self.dies(self.w, "w2")
        w.turn(claim=1)  # "a", which kills it
        w.turn(claim=1)  # and "b", which does not
        w = self.dies(w, "w3")
        self.assertEqual([b for _, b in w.turn(claim=1, suspects=1)], [b"b"])
        self.assertEqual(w.turn(claim=1, suspects=1), [])
        self.assertEqual([b for _, b in w.turn(claim=1, suspects=2)], [b"a"])

    def test_in_the_end_it_is_dead(self):
        self.push(b"a", b"b")
        w = self.w
        for n in range(3):
            self.assertEqual([b for _, b in w.turn(claim=1, lost_most=3)], [b"a"])
            w = self.dies(w, f"w{n + 2}")
        self.assertEqual(w.turn(claim=1, lost_most=3), [])
        self.assertEqual((w.buried, w.dry), (1, 0))
        self.assertEqual([b for _, b in w.turn(claim=1, lost_most=3)], [b"b"])
        self.assertEqual(self.r.lrange("q:dead", 0, -1), [b"a"])
        self.assertEqual(json.loads(self.r.lindex("q:dead:notes", 0))["reason"], "its worker died 3 times")

    def test_with_no_limit_it_never_is(self):
        self.push(b"a")
        w = self.w
        for n in range(8):
            self.assertEqual(len(w.turn(claim=1, lost_most=0)), 1)
            w = self.dies(w, f"w{n + 2}")


class Checkpoints(ScriptCase):
    def settle(self, fate, checkpoint, **more):
        """The one job there is, claimed and settled so."""
        [(field, _)] = self.w.turn(claim=1)
        told = {"done": [field], "retried": [(field, "2:0.0", 0)], "dead": [(field, "")],
                "returned": [(field, more.get("counts", "1:1.0"))]}[fate]
        pairs = [] if checkpoint is None else [(field, checkpoint)]
        self.w.turn(checkpoints=pairs, **{fate: told})

    def kept(self):
        return self.r.hgetall("q:checkpoints")

    def test_the_next_run_is_handed_the_newest(self):
        self.push(b"a")
        self.settle("returned", b"page 3")
        self.settle("retried", b"page 5 \0\xff")
        self.assertEqual(self.w.left, [])
        [(field, _)] = self.w.turn(claim=1)
        self.assertEqual(counts(field), b"2:0.0")
        self.assertEqual(self.w.left, [(field, b"page 5 \0\xff")])

    def test_one_that_leaves_nothing_new_keeps_the_old(self):
        self.push(b"a")
        for fate in ("returned", "returned", "retried"):
            self.settle(fate, b"first" if not self.kept() else None)
        self.w.turn(claim=1)
        self.assertEqual([bytes for _, bytes in self.w.left], [b"first"])

    def test_they_go_to_their_own_jobs(self):
        self.push(*[b"%d" % i for i in range(6)])
        jobs = self.w.turn(claim=6)
        self.w.turn(returned=[(f, "1:1.0") for f, _ in jobs],
                    checkpoints=[(jobs[i][0], b"of %d" % i) for i in (4, 1)])
        jobs = self.w.turn(claim=6)
        self.assertEqual([b for _, b in jobs], [b"%d" % i for i in range(6)])
        self.assertEqual(self.w.left, [(jobs[1][0], b"of 1"), (jobs[4][0], b"of 4")])

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
        self.settle("returned", b"x", counts="1:0.0")
        [(field, _)] = self.w.turn(claim=1)  # the reply is lost, and it is put back unbegun
        self.w.undo()
        self.assertEqual(self.w.turn(claim=1, room=1), [(field, b"a")])
        self.assertEqual(self.w.left, [(field, b"x")])

    def test_it_survives_its_worker(self):
        self.push(b"a")
        self.settle("returned", b"x", counts="1:0.0")
        self.w.turn(claim=1)
        self.w.lapse()
        other = self.joined("w2")
        other.renew()
        [(field, _)] = other.turn(claim=1)
        self.assertEqual(counts(field), b"1:1.0.1")
        self.assertEqual(other.left, [(field, b"x")])

    def test_told_again_it_does_not_replace_a_newer_one(self):
        self.push(b"a")
        [(field, _)] = self.w.turn(claim=1)
        told = dict(returned=[(field, "1:1.0")], checkpoints=[(field, b"old")])
        self.w.turn(**told)
        self.settle("returned", b"new", counts="1:2.0")
        self.w.turn(**told)  # the first reply was lost with its connection
        [(field, _)] = self.w.turn(claim=1)
        self.assertEqual(self.w.left, [(field, b"new")])

    def test_bytes_bound_a_claim(self):
        self.push(b"a", b"b", b"c")
        jobs = self.w.turn(claim=3)
        self.w.turn(returned=[(f, "1:1.0") for f, _ in jobs],
                    checkpoints=[(f, b"x" * 1000) for f, _ in jobs])
        self.assertEqual(len(self.w.turn(claim=3, room=1500)), 2)
        self.assertEqual([b for _, b in self.w.turn(claim=3)], [b"c"])
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

    def test_who_takes_one_at_a_time_takes_turns(self):
        for i in range(40):
            self.delay(0, b"due%02d" % i)
        self.push(*[b"new%d" % i for i in range(3)])
        bodies = [self.w.turn(claim=1)[0][1] for _ in range(30)]
        self.assertEqual(sum(b.startswith(b"new") for b in bodies), 3)

    def test_what_others_put_there_is_a_job(self):
        odd = [b"my raw body", b"", b"12", b"1:2:x", b"\xff\0"]
        for body in odd:
            self.r.zadd("q:delayed", {body: 0})
        self.assertCountEqual([(counts(f), b) for f, b in self.w.turn(claim=10)],
                              [(b"1:0", b) for b in odd])
        self.assertEqual(self.r.exists("q:delayed"), 0)

    def test_only_the_next_due_wakes_somebody(self):
        self.w.renew(client="77")
        self.assertEqual(self.delay(60000, b"a"), [77])
        self.assertEqual(self.delay(90000, b"b"), [])
        self.assertEqual(self.delay(30000, b"c"), [77])


class Leases(ScriptCase):
    def test_jobs_of_a_dead_worker_come_back_once_marked_in_order(self):
        self.push(*[b"%d" % i for i in range(12)])
        jobs = self.w.turn(claim=4)
        self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
        other, third = self.joined("w2"), self.joined("w3")
        self.w.lapse()
        self.assertEqual(other.renew(), (4, 1))
        self.assertEqual(third.renew(), (0, 0))
        self.assertEqual(self.bodies(), [b"%d" % i for i in range(12)])
        again = [other.turn(claim=1)[0][0] for _ in range(4)]
        self.assertEqual(again, [b"%d:1:1.0.1" % id_of(f) for f, _ in jobs])

    def test_many_come_back_in_portions(self):
        """And who is only slow cannot renew between them."""
        self.r.lpush("q", *[b"%d" % i for i in range(2500)])
        self.w.turn(claim=2500)
        other, third = self.joined("w2"), self.joined("w3")
        self.w.lapse()
        self.assertEqual((other.renew(), other.more), ((1000, 1), 1))
        self.assertIsNone(self.w.renew("renew"))
        self.assertIsNone(self.w.turn(claim=1))
        self.assertEqual((third.renew(), third.more), ((1000, 1), 1))
        self.assertEqual((other.renew(), other.more), ((500, 1), 0))
        self.assertEqual(other.renew(), (0, 0))
        self.assertEqual(self.bodies(), [b"%d" % i for i in range(2500)])
        self.assertEqual(self.r.zcard("q:returned"), 2500)
        self.assertEqual(self.r.exists(self.w.held), 0)
        self.assertIsNone(self.r.zscore("q:workers", "w1"))

    def test_large_ones_too(self):
        self.r.lpush("q", *[b"%02d" % i + b"x" * 1000000 for i in range(20)])
        self.w.turn(claim=20)
        other = self.joined("w2")
        self.w.lapse()
        portions = []
        while not portions or other.more:
            portions.append(other.renew()[0])
        self.assertEqual(sum(portions), 20)
        self.assertLessEqual(max(portions), 5)

    def test_a_worker_that_was_only_slow_is_shut_out(self):
        self.push(b"a")
        field = self.w.turn(claim=1)[0][0]
        other = self.joined("w2")
        self.w.lapse()
        other.renew()
        self.assertIsNone(self.w.turn(claim=1, done=[field]))
        self.assertEqual(self.w.last_id, id_of(field))
        self.assertIsNone(self.w.renew())
        self.assertEqual(self.w.undo(), [0, id_of(field)])
        self.assertEqual(self.everything(), [b"a"])
        self.assertEqual(self.w.renew("join"), (0, 0))

    def test_a_lapsed_lease_that_nobody_minded_is_renewed(self):
        self.push(b"a")
        field = self.w.turn(claim=1)[0][0]
        self.w.lapse()
        before = self.r.zscore("q:workers", "w1")
        self.assertEqual(self.w.turn(done=[field]), [])
        self.assertEqual(self.r.zscore("q:workers", "w1"), before)  # renewing is for redis_renew.lua
        self.assertIsNotNone(self.w.renew())
        self.assertEqual(self.joined("w2").renew(), (0, 0))
        self.assertEqual(self.everything(), [])

    def test_who_was_late_itself_judges_nobody(self):
        self.push(b"a")
        self.w.turn(claim=1)
        other = self.joined("w2")
        self.w.lapse()
        other.lapse()
        self.assertEqual(other.renew(), (0, 0))
        self.assertIsNotNone(self.w.renew())
        self.w.lapse()
        self.assertEqual(Worker(self, "w3").renew("join"), (0, 0))
        self.assertEqual(other.renew("renew"), (0, 0))
        self.assertEqual(other.renew(), (1, 1))

    def test_who_has_just_come_judges_only_those_who_were_away_for_long(self):
        """So that workers that do not live for a lease bring back each other's jobs."""
        for away, how, comes_back in ((1.5, "renew", 0), (2.5, "renew", 1), (2.5, "join", 0), (3.5, "join", 1)):
            with self.subTest(away=away, how=how):
                self.setUp()
                self.push(b"a")
                self.w.turn(claim=1)
                other = Worker(self, "w2")
                if how == "renew":
                    other.renew("join")
                self.w.lapse(away)
                self.assertEqual(other.renew(how)[0], comes_back)

    def test_a_worker_does_not_bring_back_its_own(self):
        self.push(b"a")
        self.w.turn(claim=1)
        self.w.lapse()
        self.assertEqual(self.w.renew(), (0, 0))
        self.assertEqual(self.r.hlen(self.w.held), 1)

    def test_what_a_vanished_membership_leaves_has_an_owner(self):
        """Somebody has deleted `workers`, or the server has evicted it."""
        for call in (lambda: self.w.turn(claim=1), self.w.renew, self.w.undo):
            self.setUp()
            self.push(b"a", b"b", b"c")
            self.w.turn(claim=1)
            self.r.delete("q:workers")
            self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
            call()
            self.assertEqual(Worker(self, "w2").renew("join"), (1, 1))
            self.assertEqual(self.bodies(), [b"a", b"b", b"c"])

    def test_undo_puts_back_what_is_not_known(self):
        self.push(*[b"%d" % i for i in range(6)])
        known = [f for f, _ in self.w.turn(claim=2)]
        last = id_of(self.w.turn(claim=2)[1][0])
        self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
        self.assertEqual(self.w.undo(known), [1, last, 2])
        self.assertEqual(self.bodies(), [b"2", b"3", b"4", b"5"])
        self.assertEqual(self.w.undo(known), [1, last, 0])
        self.assertEqual(self.r.hlen(self.w.held), 2)
        self.assertEqual(self.r.exists("q:returned"), 0)

    def test_undo_names_what_only_the_worker_knows(self):
        self.push(b"a", b"b")
        known = [f for f, _ in self.w.turn(claim=2)]
        self.assertEqual(self.w.undo([known[0], "7:1:0", known[1], "8:2:1"])[2:], [0, b"7:1:0", b"8:2:1"])

    def test_who_leaves_puts_back_what_it_does_not_know(self):
        self.push(b"a", b"b", b"c")
        (field, _), _ = self.w.turn(claim=2)
        self.r.lmove("q", self.w.wake, "RIGHT", "LEFT")
        self.assertEqual(self.w.leave([field]), [0, 1])
        self.assertEqual(self.bodies(), [b"b", b"c"])
        self.w.turn(done=[field])
        self.assertEqual(self.w.leave(), [1, 0])
        self.assertEqual(self.r.zcard("q:workers"), 0)

    def test_who_leaves_tells_others_of_what_is_due(self):
        other = self.joined("w2")
        other.renew(client="88")
        self.assertEqual(self.w.leave(), [1, 0])
        self.w.renew("join")
        self.push(b"a")
        self.w.turn(retried=[(self.w.turn(claim=1)[0][0], "2:0.0", 60000)])
        self.assertEqual(self.w.leave(), [1, 0, 88])


class GoingBack(ScriptCase):
    """A server with older data than the worker has seen."""

    def setUp(self):
        super().setUp()
        self.push(b"fresh", b"twin", b"twin")
        (self.fresh, _), (self.twin, _) = self.w.turn(claim=2)
        self.w.turn(retried=[(self.twin, "2:0.0", 0)])
        [(self.again, _)] = self.w.turn(claim=1)

    def goes_back(self, *delayed):
        """To before anything was claimed, or but for what is delayed."""
        self.r.flushall()
        self.push(*[b"fresh", b"twin", b"twin"][len(delayed):])
        for member in delayed:
            self.r.zadd("q:delayed", {member: 0})
        self.r.set("q:seq", 7)
        self.w.renew("join")

    def test_a_fresh_job_is_found_in_the_list(self):
        self.goes_back()
        self.assertEqual(self.w.undo([self.fresh])[1:], [7, 0, self.fresh])
        self.assertEqual(self.w.reclaim([(self.fresh, b"fresh")])[0], 1)
        self.assertEqual(self.r.hgetall(self.w.held), {self.fresh: b"fresh"})
        self.assertEqual(self.bodies(), [b"twin", b"twin"])
        self.assertEqual(self.w.undo([self.fresh])[2:], [0])

    def test_of_equal_bodies_one_is_taken(self):
        self.goes_back()
        self.w.reclaim([(self.again, b"twin")])
        self.assertEqual(self.bodies(), [b"fresh", b"twin"])

    def test_one_with_facts_is_found_by_them(self):
        self.goes_back(self.again + b":twin")
        self.w.reclaim([(self.again, b"twin")])
        self.assertEqual(self.r.exists("q:delayed"), 0)
        self.assertEqual(self.r.hgetall(self.w.held), {self.again: b"twin"})
        self.assertEqual(self.bodies(), [b"twin", b"twin"])

    def test_one_that_went_back_before_takes_its_facts_along(self):
        self.goes_back()
        w2 = self.joined("w2")
        [(field, _)] = w2.turn(claim=1)
        w2.turn(returned=[(field, "1:1.0")])
        self.w.reclaim([(field + b".0" if counts(field) != b"1:0" else b"%d:1:1.0" % id_of(field), b"fresh")])
        self.assertEqual(self.bodies(), [b"twin", b"twin"])
        self.assertEqual(self.r.exists("q:returned"), 0)

    def test_what_others_have_is_told(self):
        self.goes_back()
        self.r.rpop("q")
        reply = self.w.reclaim([(self.fresh, b"fresh"), (self.again, b"twin")])
        self.assertEqual(reply[2:], [self.fresh])
        self.assertEqual(self.r.hvals(self.w.held), [b"twin"])

    def test_a_server_without_data_takes_what_the_worker_has(self):
        self.r.flushall()
        self.w.renew("join")
        self.assertEqual(self.w.undo([self.fresh])[1], 0)
        self.assertEqual(len(self.w.reclaim([(self.fresh, b"fresh")])), 2)
        self.assertEqual(self.r.hvals(self.w.held), [b"fresh"])


class Memory(ScriptCase):
    def test_out_of_memory_takes_neither_lease_nor_job(self):
        self.push(*[b"%d" % i for i in range(4)])
        self.w.turn(claim=1)
        self.w.lapse()
        self.r.config_set("maxmemory", "1")
        try:
            with self.assertRaises(redis.ResponseError):
                self.r.lpush("q", b"refused")
            before = self.r.zscore("q:workers", "w1")
            self.assertIsNotNone(self.w.renew())
            self.assertGreater(self.r.zscore("q:workers", "w1"), before)
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
        for step in range(1500):
            w = rnd.choice(workers)
            mine = held[w.name]
            what = rnd.random()
            if what < 0.3:
                body = b"job %d" % (pushed // 2)
                pushed += 1
                alive.append(body)
                self.r.lpush("q", body)
            elif what < 0.35:
                w.lapse()
            elif what < 0.4:
                if w.renew() is None:
                    held[w.name] = []
                    w.renew("join")
            elif what < 0.42:
                rnd.shuffle(mine)
                del mine[rnd.randrange(len(mine) + 1):]  # it has let go of the others
                if w.undo([f for f, _ in mine])[0] == 0:
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
                             retried=[(f, "2:0.0", rnd.choice([0, 5])) for f, _ in retried],
                             returned=[(f, rnd.choice(["", f"1:{rnd.randrange(2)}.0"])
                                        if not news.get(f) else "1:0.0") for f, _ in returned],
                             lost_most=0, suspects=rnd.randrange(3),
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
