"""Pools: long-lived processes that take jobs as JSON lines, on both brokers; what they may do, what they
should not do, and what becomes of their jobs when they, or the worker, end."""

import os
import random
import signal
import time
import unittest
from pathlib import Path

from worker import BUILD, RabbitCase, RedisCase, children_of, patience, wait_for

TIGHT = 'timeout = "2s"  reserve = "500ms"  grace = "300ms"'
ONCE = 'retry "default" { attempts = 1 }\n'
SEED = random.SystemRandom().randrange(1 << 30)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class PoolCases:
    def start_pool(self, *bodies, words=(), processes=1, extra="", queue="", sections=(), **options):
        self.queue.publish(bodies)
        handler = self.pool_handler(words=words, processes=processes, extra=extra)
        options.setdefault("concurrency", 16)
        return self.start(
            self.config(self.queue.section(extra=queue), handler, *sections, **options)
        )

    def stop_clean(self, worker):
        self.assertEqual(worker.stop()[0], 0)

    def attempts(self, tag):
        return [int(run["attempt"]) for run in self.record.runs(tag)]

    def pids(self):
        return {run["pid"] for run in self.record.runs()}

    def lines(self, word):
        return [line for line in self.record.lines() if line.startswith(word + " ")]

    def wait_lines(self, word, count=1):
        return wait_for(f"{count} lines of {word}", lambda: len(self.lines(word)) >= count and self.lines(word))

    def most_at_once(self):
        now = most = 0
        for line in self.record.lines():
            now += {"begin": 1, "end": -1}.get(line.split()[0], 0)
            most = max(most, now)
        return most

    def assert_fates(self, worker, **expected):
        fates = worker.report()["fates"]
        self.assertEqual({k: v for k, v in fates.items() if v}, expected, worker.report())

    def assert_logged(self, worker, event, **facts):
        def found():
            return [e for e in worker.events(event) if all(e.get(k) == v for k, v in facts.items())]

        return wait_for(f"{event} with {facts}", found)

    # --- what it says ---------------------------------------------------------------------------

    def test_each_answer_is_a_fate(self):
        worker = self.start_pool("a", "b:reject", "c:fail-until:3", f"d:return-until:{self.gate()}")
        wait_for("it to be given back", lambda: len(self.record.runs("d")) >= 2)
        self.open_gate()
        self.record.wait_ended(3)
        wait_for("the other to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("c"), [1, 2, 3])
        self.assertEqual(set(self.attempts("d")), {1})  # given back is no attempt
        self.assertEqual(self.queue.take_dead(), ["b:reject"])
        self.assertEqual(self.queue.take_all(), [])
        self.assertEqual(len(self.pids()), 1)

    def test_it_is_told_the_facts(self):
        worker = self.start_pool("a:done", extra='timeout = "7s"')
        self.record.wait_ended(1)
        run = self.record.runs("a")[0]
        self.assertEqual(run["attempt"], "1")
        self.assertEqual(run["queue"], self.queue.name)
        self.assertEqual(run["source"], self.queue.source)
        self.assertEqual(run["timeout_ms"], "7000")
        self.assertEqual(run["bytes"], "6")
        self.assertEqual(run["redelivered"], "0")
        self.stop_clean(worker)

    def test_bodies_of_any_size(self):
        sizes = [0, 1, 4096, 65536, 1_000_000, 5_000_000]
        bodies = [f"b{size}:done\n".encode() + b"\xff" * size for size in sizes]
        worker = self.start_pool(*bodies, words=["concurrency=4"])
        self.record.wait_ended(len(sizes), 60)
        self.stop_clean(worker)
        for size, body in zip(sizes, bodies):
            self.assertEqual(self.record.runs(f"b{size}")[0]["bytes"], str(len(body)))

    def test_what_it_writes_is_in_the_log(self):
        worker = self.start_pool("a:log:slow disk")
        self.record.wait_ended(1)
        pid = int(self.record.runs("a")[0]["pid"])
        job = self.record.runs("a")[0]["id"]
        self.assert_logged(
            worker, "handler wrote", handler="h", pid=pid, job=job, line="slow disk", level="warn"
        )
        self.assert_logged(
            worker, "handler wrote", handler="h", pid=pid, stream="stderr", line="stderr of a"
        )
        self.stop_clean(worker)

    def test_its_surroundings_are_the_handlers(self):
        worker = self.start_pool(
            "a:environment:POOL_WORD",
            extra='directory = "/tmp"  environment = {"PATH", "POOL_WORD=five"}',
        )
        self.record.wait_ended(1)
        self.assertEqual(self.lines("environment"), ["environment a POOL_WORD=five cwd=/tmp"])
        self.stop_clean(worker)

    def test_a_checkpoint_reaches_the_next_run(self):
        worker = self.start_pool(f"a:checkpoint:{self.gate()}", drain=TIGHT)
        self.record.wait_begun(1)
        self.assert_logged(worker, "job progressed", note="half of it")
        self.assertEqual(worker.stop()[0], 10)
        again = self.start_pool()
        self.record.wait_ended(1)
        self.stop_clean(again)
        self.assertEqual([run["checkpoint"] for run in self.record.runs("a")], ["None", "half"])
        self.assertEqual(self.attempts("a"), [1, 1])

    # --- how many at once -----------------------------------------------------------------------

    def test_several_in_several_processes(self):
        jobs = [f"j{n}:gate:{self.gate()}" for n in range(6)]
        worker = self.start_pool(*jobs, words=["concurrency=3"], processes=2)
        self.record.wait_begun(6)
        pids = [run["pid"] for run in self.record.runs()]
        self.assertEqual(sorted(map(pids.count, set(pids))), [3, 3])
        self.open_gate()
        self.record.wait_ended(6)
        self.stop_clean(worker)

    def test_per_process_is_the_most(self):
        jobs = [f"j{n}:ms:5" for n in range(40)]
        worker = self.start_pool(*jobs, words=["concurrency=8"], processes=2, extra="per_process = 2")
        self.record.wait_ended(40)
        self.stop_clean(worker)
        self.assertLessEqual(self.most_at_once(), 4)

    def test_what_it_says_is_the_most(self):
        worker = self.start_pool(
            *[f"j{n}:ms:5" for n in range(30)], words=["concurrency=3"], extra="per_process = 9"
        )
        self.record.wait_ended(30)
        self.stop_clean(worker)
        self.assertEqual(self.most_at_once(), 3)

    def test_another_concurrency_later(self):
        jobs = [f"j{n}:gate:{self.gate()}" for n in range(4)]
        worker = self.start_pool("a:ready:4", *jobs, queue="prefetch = 8")
        self.record.wait_begun(5)
        self.open_gate()
        self.record.wait_ended(5)
        self.assert_logged(worker, "process changed its concurrency", handler="h", to=4)
        self.stop_clean(worker)

    def test_a_queues_and_a_handlers_concurrency_hold(self):
        jobs = [f"j{n}:ms:5" for n in range(20)]
        worker = self.start_pool(*jobs, words=["concurrency=8"], extra="concurrency = 3")
        self.record.wait_ended(20)
        self.stop_clean(worker)
        self.assertLessEqual(self.most_at_once(), 3)

    # --- getting ready --------------------------------------------------------------------------

    def test_no_job_is_taken_before_it_is_ready(self):
        worker = self.start_pool("a", "b", words=[f"ready={self.gate('ready')}"])
        worker.wait_event("process started")
        self.assert_logged(worker, "process started", handler="h")
        self.assertEqual(self.queue.depth(), 2)
        self.assertEqual(worker.events("consumer started"), [])
        self.open_gate("ready")
        self.record.wait_ended(2)
        self.stop_clean(worker)

    def test_a_stop_while_it_gets_ready(self):
        worker = self.start_pool("a", words=["never-ready"], extra='ready_timeout = "60s"')
        worker.wait_event("process started")
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 1 * patience())
        self.assertEqual(self.queue.depth(), 1)
        self.assertEqual(worker.report()["why"], "SIGTERM")

    def test_quiet_while_it_gets_ready(self):
        worker = self.start_pool("a", words=[f"ready={self.gate('ready')}"])
        worker.wait_event("process started")
        worker.send(signal.SIGTSTP)
        worker.wait_event("drain moved")
        self.open_gate("ready")
        worker.wait_event("process ready")
        self.assertEqual(self.record.begun(), [])
        worker.send(signal.SIGCONT)
        self.record.wait_ended(1)
        self.stop_clean(worker)

    def test_one_that_is_never_ready_does_not_keep_the_others(self):
        bad = self.pool_handler("bad", words=["never-ready"], extra='ready_timeout = "200ms"')
        worker = self.start_pool("a", sections=[bad])
        self.record.wait_ended(1)
        self.assert_logged(
            worker, "process killed", handler="bad", why="it was not ready in time"
        )
        self.assert_logged(
            worker, "handler not ready in time, its jobs will wait for it", handler="bad"
        )
        self.assert_logged(worker, "process will be started again", handler="bad")
        self.stop_clean(worker)

    def test_a_program_that_cannot_run_is_tried_again(self):
        program = self.directory / "program"
        program.write_text("#!/no/such/interpreter\n")
        program.chmod(0o755)
        handler = f'handler "h" {{ type = "pool"  command = {{"{program}"}}  ready_timeout = "100ms" }}\n'
        self.queue.publish(["a"])
        worker = self.start(self.config(self.queue.section(), handler))
        worker.wait_event("process not started", 3)
        self.stop_clean(worker)
        wait_for("the job to be back", lambda: self.queue.depth() == 1)

    # --- ends of processes ----------------------------------------------------------------------

    def test_a_crash_takes_its_own_jobs_only(self):
        gated = [f"j{n}:gate:{self.gate()}" for n in range(3)]
        worker = self.start_pool(*gated, words=["concurrency=2"], processes=2)
        self.record.wait_begun(3)
        self.queue.publish(["bad:exit-once:3"])
        wait_for("it to come again", lambda: len(self.record.runs("bad")) == 2)
        self.open_gate()
        self.record.wait_ended(4)
        died = self.record.runs("bad")[0]["pid"]
        there = {run["id"] for run in self.record.runs() if run["pid"] == died}
        twice = [run for run in self.record.runs() if run["attempt"] == "2"]
        self.assertEqual({run["id"] for run in twice}, there)
        self.assertEqual({run["crashes"] for run in twice}, {"1"})
        self.assertEqual(self.record.ended_twice(), [])
        ended = self.assert_logged(worker, "process ended", handler="h", by="status 3")
        self.assertEqual(ended[0]["pid"], int(died))
        self.stop_clean(worker)

    def test_what_crashes_its_process_again_and_again_is_poison(self):
        retry = 'retry "default" { attempts = 9  crashes = 2  first = "50ms" }\n'
        worker = self.start_pool("a:kill:11", "b", sections=[retry])
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.record.wait_ended(1)
        self.stop_clean(worker)
        self.assertEqual(len(self.record.runs("a")), 2)
        self.assertEqual([run["crashes"] for run in self.record.runs("a")], ["0", "1"])
        settled = [e for e in worker.events("job settled") if e["fate"] == "dead"]
        self.assertIn("crashed 2 times, at last: its process ended by SIGSEGV", settled[0]["reason"])

    def test_killed_under_load(self):
        """SIGKILL to one of the processes, ten times: nothing is lost, and what ran twice was there."""
        chance = random.Random(SEED)
        count, concurrency, kills = 2000, 4, 10
        retry = 'retry "default" { attempts = 9  crashes = "none"  first = "10ms"  max = "10ms" }\n'
        worker = self.start_pool(
            *[f"j{n}:ms:3" for n in range(count)], words=[f"concurrency={concurrency}"], processes=2,
            sections=[retry], level="info",
        )  # fmt: skip
        for n in range(kills):
            done = len(self.record.ended())
            wait_for("some more", lambda: len(self.record.ended()) > done + 20, 60, 0.002)
            os.kill(int(chance.choice(self.record.runs()[-20:])["pid"]), signal.SIGKILL)
            wait_for("its death", lambda: len(worker.events("process ended")) > n)
        wait_for("every job", lambda: len(set(self.record.ended())) == count, 120)
        wait_for("nothing to be left", lambda: self.queue.depth() == 0)
        self.stop_clean(worker)
        more = len(self.record.begun()) - count
        self.figure(f"{kills} kills, {count} jobs: lost 0, {more} runs too many (seed {SEED})")
        self.assertLessEqual(more, kills * concurrency)
        self.assertEqual(worker.report()["since_start"]["done"], count)
        self.assertEqual(self.queue.dead_depth(), 0)

    def test_max_jobs_loses_nothing(self):
        count, wave = 0, 50
        worker = self.start_pool(words=["concurrency=2"], processes=2, extra="max_jobs = 20")
        while len(worker.events("process ready")) < 6:
            self.queue.publish([f"j{count + n}:ms:2" for n in range(wave)])
            count += wave
            self.record.wait_ended(count, 60)
        self.assert_logged(worker, "process will be replaced", handler="h", why="max_jobs")
        self.stop_clean(worker)
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(worker.report()["since_start"]["done"], count)

    def test_max_memory_loses_nothing(self):
        worker = self.start_pool("a:grow:80", extra='max_memory = "60M"')
        self.record.wait_ended(1)
        first = int(self.record.runs("a")[0]["pid"])
        wait_for("it to be replaced", lambda: self.more_until_replaced(worker))
        wait_for("its end", lambda: not is_running(first))
        self.assertIn(f"eof pid={first}", self.record.lines())
        self.stop_clean(worker)
        self.assertEqual(self.record.begun_twice(), [])

    def more_until_replaced(self, worker):
        n = len(self.record.begun())
        self.queue.publish([f"m{n}"])
        self.record.wait_ended(n + 1)
        return [e for e in worker.events("process will be replaced") if e["why"] == "max_memory"]

    # --- misbehaviour ---------------------------------------------------------------------------

    def test_what_it_should_not_say_is_logged_by_name(self):
        worker = self.start_pool("a:rubbish:3", "b:twice", "c:wrong-id", "d")
        self.record.wait_ended(4)
        ignored = wait_for(
            "five lines", lambda: len(worker.events("line of a process ignored")) >= 5
            and worker.events("line of a process ignored")
        )  # fmt: skip
        pid = int(self.record.runs("a")[0]["pid"])
        self.assertEqual({(e["handler"], e["pid"]) for e in ignored}, {("h", pid)})
        self.assertEqual(self.pids(), {str(pid)})
        self.stop_clean(worker)
        self.assertEqual(worker.report()["since_start"]["done"], 4)

    def test_too_much_rubbish_ends_it(self):
        worker = self.start_pool("a:rubbish:30", sections=[ONCE])
        why = "what it writes to stdout makes no sense"
        self.assert_logged(worker, "process killed", handler="h", why=why)
        wait_for("the job to be dead", lambda: self.queue.dead_depth() == 1)
        self.queue.publish(["b"])
        wait_for("another to do it", lambda: "b" in self.record.ended())
        self.stop_clean(worker)

    def test_a_closed_stdout_ends_it(self):
        worker = self.start_pool("a:mute", sections=[ONCE])
        self.assert_logged(worker, "process ended", handler="h", jobs=1, level="warn")
        wait_for("the job to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)

    def test_one_that_stops_reading_is_replaced(self):
        ballast = b"\n" + b"x" * 100_000
        jobs = [f"j{n}:done".encode() + ballast for n in range(4)]
        worker = self.start_pool(
            "a:stop-listening", *jobs, words=["concurrency=8", "hesitant"],
            extra='stall_timeout = "300ms"  max_jobs = 1000',
        )  # fmt: skip
        self.assert_logged(worker, "process killed", handler="h", why="it stopped reading")
        wait_for("all jobs, by another", lambda: len(set(self.record.ended())) == 5)
        self.stop_clean(worker)
        self.assertEqual(len(self.pids()), 2)
        self.assertEqual(self.queue.take_all(), [])

    def test_one_that_does_not_answer_meets_its_timeout(self):
        """It is asked, it is killed, its job has failed; its neighbour is innocent."""
        worker = self.start_pool(
            f"a:deaf:{self.gate('never')}", f"b:extend:{self.gate()}", words=["concurrency=2"],
            extra='timeout = "300ms"', sections=[ONCE], drain='timeout = "30s"  grace = "200ms"',
        )  # fmt: skip
        wait_for("the deaf one to be dead", lambda: self.queue.dead_depth() == 1)
        self.assertEqual(self.wait_lines("cancel"), ["cancel a reason=timeout"])
        wait_for("its neighbour to run again", lambda: len(self.record.runs("b")) == 2)
        self.open_gate()
        self.record.wait_ended(1)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("b"), [1, 1])
        a, b = (self.record.runs(tag)[0]["id"] for tag in "ab")
        fates = {e["job"]: e for e in reversed(worker.events("job settled"))}
        self.assertEqual(fates[a]["reason"], "timed out: timeout = 300ms")
        self.assertEqual(fates[b]["fate"], "returned")
        self.assertEqual(fates[b]["reason"], f"its process was killed because of job {a[:50]}")

    # --- the drain ------------------------------------------------------------------------------

    def test_a_drain_lets_jobs_finish(self):
        jobs = [f"j{n}:gate:{self.gate()}" for n in range(20)]
        worker = self.start_pool(*jobs, words=["concurrency=2"], processes=2, queue="prefetch = 8")
        self.record.wait_begun(4)
        wait_for("a full prefetch", lambda: self.queue.depth() <= 12)
        worker.send(signal.SIGTERM)
        notices = self.wait_lines("notice", 2)
        remaining = int(notices[0].split("remaining_ms=")[1].split()[0])
        self.assertGreater(remaining, 15000)
        self.assertLess(remaining, 30000)
        wait_for("held jobs to be back", lambda: self.queue.depth() == 16)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertCountEqual(self.record.begun(), self.record.ended())
        self.assertEqual(len(self.record.ended()), 4)
        self.assertEqual(worker.report()["fates"]["done"], 4)
        self.assertEqual(len(self.lines("notice")), 2)  # once each

    def test_the_idle_may_go_when_the_drain_begins(self):
        worker = self.start_pool(f"a:gate:{self.gate()}", processes=2)
        self.record.wait_begun(1)
        wait_for("both", lambda: len(worker.events("process ready")) == 2)
        worker.send(signal.SIGTERM)
        busy = self.record.runs("a")[0]["pid"]
        idle = self.wait_lines("eof")
        self.assertNotEqual(idle, [f"eof pid={busy}"])
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(self.record.ended(), ["a"])

    def test_the_deadline_cancels_and_returns(self):
        worker = self.start_pool(
            f"a:gate:{self.gate()}", f"b:deaf:{self.gate()}", words=["concurrency=2"], drain=TIGHT
        )
        self.record.wait_begun(2)
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        self.assertLess(seconds, 2.1 if patience() == 1 else 2 + 2 * patience())
        self.assertCountEqual(self.lines("cancel"), ["cancel a reason=drain", "cancel b reason=drain"])
        self.assert_fates(worker, returned=2)
        wait_for("everybody to let go", self.all_back)
        self.assertEqual(sorted(tag[0] for tag in self.queue.take_all()), ["a", "b"])

    def test_a_second_sigterm_hurries(self):
        worker = self.start_pool(f"a:gate:{self.gate()}")
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        self.wait_lines("notice")
        begun = time.monotonic()
        wait_for("more than a second", lambda: time.monotonic() - begun > 1.1)
        self.assertEqual(worker.stop()[0], 12)
        self.assertEqual(self.lines("cancel"), ["cancel a reason=drain"])
        self.assert_fates(worker, returned=1)

    def test_sigquit_waits_for_nobody(self):
        worker = self.start_pool(f"a:deaf:{self.gate()}", "b:done", words=["concurrency=2"])
        self.record.wait_begun(2)
        code, seconds = worker.stop(signal.SIGQUIT)
        self.assertEqual(code, 12)
        self.assertLess(seconds, 3 * patience())
        self.assertEqual(worker.report()["fates"]["returned"], 1)

    def test_a_crash_during_the_drain_is_a_retry(self):
        worker = self.start_pool(f"a:gate:{self.gate()}", words=["concurrency=2"])
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        self.wait_lines("notice")
        os.kill(int(self.record.runs("a")[0]["pid"]), signal.SIGKILL)
        self.assertEqual(worker.wait_exit(), 0)
        self.assert_fates(worker, retried=1)
        self.assertEqual(len(worker.events("process started")), 1)  # nobody comes after it

    def test_idle(self):
        worker = self.start_pool(processes=2)
        self.wait_consuming(worker)
        wait_for("both", lambda: len(worker.events("process ready")) == 2)
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.figure(f"SIGTERM to exit, two idle processes: {seconds * 1000:.1f} ms")
        self.assertLess(seconds, 1 * patience())

    def test_a_signal_to_the_group_is_not_theirs(self):
        worker = self.start_pool(f"a:gate:{self.gate()}")
        self.record.wait_begun(1)
        os.killpg(worker.pid, signal.SIGTERM)
        self.wait_lines("notice")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(self.record.ended(), ["a"])

    def test_they_die_with_the_worker(self):
        worker = self.start_pool(f"a:deaf:{self.gate()}", processes=2)
        self.record.wait_begun(1)
        wait_for("both", lambda: len(worker.events("process ready")) == 2)
        pids = children_of(worker.pid)
        self.assertEqual(len(pids), 2)
        worker.kill()
        wait_for("their end", lambda: not any(map(is_running, pids)))

    # --- nothing stays behind -------------------------------------------------------------------

    def test_nothing_grows(self):
        """Processes come and go, jobs crash them: no zombie, no descriptor, no memory is left."""
        retry = 'retry "default" { attempts = 9  crashes = "none"  first = "10ms"  max = "10ms" }\n'
        worker = self.start_pool(
            *[f"w{n}" for n in range(49)], "bad:exit-once:1", words=["concurrency=4"],
            extra="max_jobs = 10", sections=[retry], level="info",
        )  # fmt: skip
        self.record.wait_ended(50)

        def settled():
            ready = len(worker.events("process ready"))
            ended = ready - len(children_of(worker.pid))
            return len(children_of(worker.pid)) == 1 and ended > 0

        def look():
            wait_for("one process", settled)
            rss = Path(f"/proc/{worker.pid}/statm").read_text().split()[1]
            return len(os.listdir(f"/proc/{worker.pid}/fd")), int(rss) * 4

        descriptors, kilobytes = look()
        for round_ in range(3):
            jobs = [f"x{round_}-{n}" for n in range(60)] + [f"x{round_}-bad:exit-once:1"]
            self.queue.publish(jobs)
            self.record.wait_ended(50 + (round_ + 1) * 61)
        descriptors_now, kilobytes_now = look()
        starts = len(worker.events("process ready"))
        self.figure(
            f"{starts} processes: descriptors {descriptors} -> {descriptors_now}, "
            f"{kilobytes} -> {kilobytes_now} kB"
        )
        self.assertLessEqual(descriptors_now, descriptors)
        if patience() == 1:
            self.assertLess(kilobytes_now, kilobytes + 1024)
        self.stop_clean(worker)


class RabbitPool(PoolCases, RabbitCase):
    def test_prefetch_follows_what_processes_say(self):
        worker = self.start_pool(words=["concurrency=3"], processes=2)
        self.assertEqual(worker.wait_event("consumer started")["prefetch"], 12)
        self.stop_clean(worker)

    def test_prefetch_is_the_least_that_holds(self):
        worker = self.start_pool(words=["concurrency=30"], extra="concurrency = 5")
        self.assertEqual(worker.wait_event("consumer started")["prefetch"], 10)
        self.stop_clean(worker)

    def test_one_id_in_two_queues(self):
        """Both are run, and never at once in one process, which could not tell them apart."""
        self.queue.channel.queue_declare("more", durable=True)
        for queue in (self.queue.name, "more"):
            self.queue.channel.basic_publish("", queue, f"{queue}:ms:20", self.same_id())
        section = self.queue.section().rstrip().removesuffix("}")
        section += '  queue "more" { handler = "h" }\n}\n'
        worker = self.start(self.config(section, self.pool_handler(words=["concurrency=4"])))
        self.record.wait_ended(2)
        self.stop_clean(worker)
        self.assertEqual(self.most_at_once(), 1)
        self.assertEqual({run["id"] for run in self.record.runs()}, {"same"})
        self.assertEqual(worker.report()["since_start"]["done"], 2)

    @staticmethod
    def same_id():
        import pika

        return pika.BasicProperties(message_id="same")


class RedisPool(PoolCases, RedisCase):
    def test_short_jobs_are_claimed_ahead(self):
        """One process with one job at a time is idle whenever its next job is still at the broker."""
        if patience() > 1:
            self.skipTest("a sanitizer's figures say nothing, and nothing fast enough is built beside it")
        count = 10000
        command = f'"{BUILD}/tests/bench/pool_child", "1"'  # faster than any broker
        handler = f'handler "h" {{ type = "pool"  command = {{{command}}} }}\n'
        self.queue.publish([f"j{n}" for n in range(count)])
        self.broker.client().config_resetstat()
        worker = self.start(self.config(self.queue.section(), handler, level="info"))
        wait_for("all of them", lambda: self.queue.unsettled() == 0, 60)
        self.stop_clean(worker)
        calls = self.broker.client().info("commandstats")["cmdstat_evalsha"]["calls"]
        self.figure(f"{count} jobs one after the other: {calls} calls of the broker")
        self.assertLess(calls, count * 0.5)  # one for each, when this went unseen


if __name__ == "__main__":
    unittest.main(verbosity=2)
