"""Queues and lists that come and go with a reload: those that went drain by themselves, those that came
are consumed, and nobody else notices."""

import collections
import json
import re
import signal
import subprocess
import unittest

from brokers import RabbitMQ, RabbitQueue, RedisList, folder
from test_endurance import resident_kb
from worker import OUTFALL, RabbitCase, RedisCase, WorkerCase, patience, wait_for


def tags(first, last):
    return [f"j{n}" for n in range(first, last + 1)]


class QueueCases:
    """Hold for both sources. There are two queues, `jobs` and `more`."""

    word = "queue"
    policy = "warn"

    def setUp(self):
        super().setUp()
        self.more = self.another("more")
        self.socket = self.directory / "a.sock"

    def section(self, *names, **extras):
        """With these queues; what one says besides its handler is an option of its name."""
        queues = "".join(
            f'  {self.word} "{name}" {{ handler = "h" prefetch = 20 {extras.get(name, "")} }}\n' for name in names
        )
        kind = "rabbitmq" if self.word == "queue" else "redis"
        return f'{kind} "{self.queue.source}" {{\n  url = "{self.queue.url()}"\n{queues}}}\n'

    def text(self, *sections, **options):
        admin = f'admin {{ socket = "{self.socket}"  last_consumer = "{self.policy}" }}\n'
        return self.config(*sections, admin, **options)

    def start_with(self, *sections, **options):
        worker = self.start(self.text(*sections, **options))
        self.wait_ready()
        self.options = options
        return worker

    def ctl(self, *words):
        return subprocess.run(
            [OUTFALL, "ctl", "-s", self.socket, *words], capture_output=True, text=True, timeout=60 * patience()
        )

    def status(self):
        return json.loads(self.ctl("status", "--json").stdout)

    def wait_ready(self):
        wait_for("readiness", lambda: self.socket.exists() and self.ctl("status").returncode == 0)
        wait_for("readiness", lambda: self.status()["ready"])

    def queues(self):
        return sorted(q["name"] + (" removed" if q["removed"] else "") for q in self.status()["queues"])

    def reload(self, worker, *sections, **options):
        """What changed, and what needs a restart."""
        text = self.text(*sections, **{**self.options, **options})
        worker.config_path.write_text(text.replace("@REPORT@", str(worker.report_path)))
        done = self.ctl("reload", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        return answer["changed"], answer["needs_restart"]

    def name(self, queue, what):
        kind = "rabbitmq" if self.word == "queue" else "redis"
        return f'{kind} "{self.queue.source}" {self.word} "{queue}" ({what})'

    def wait_drained(self, worker, count=1):
        """And whoever is not drained has not been disturbed: nothing was connected anew."""
        worker.wait_event("queue drained", count)

    def assert_undisturbed(self, worker):
        self.assertEqual(self.status()["sources"][0]["reconnects"], 0)
        for event in ("redis link down, reconnecting", "rabbitmq connection lost"):
            self.assertEqual(worker.events(event), [])

    def gated(self, first, last, gate="gate"):
        return [f"j{n}:gate:{self.gate(gate)}" for n in range(first, last + 1)]

    def left(self, queue):
        return [body.split(":")[0] for body in queue.take_all()]

    def test_added(self):
        worker = self.start_with(self.section("jobs"), concurrency=8)
        self.more.publish(self.gated(1, 5))
        retry = 'retry "hasty" { attempts = 1 }\nretry "default" { first = "1h" }\n'
        own = 'concurrency = 2  retry = "hasty"'
        changed, restart = self.reload(worker, self.section("jobs", "more", more=own), retry)
        self.assertEqual(sorted(changed)[0], self.name("more", "added"))
        self.assertEqual(restart, [])
        self.record.wait_begun(2)
        self.wait_ready()
        status = next(q for q in self.status()["queues"] if q["name"] == "more")
        self.assertEqual((status["running"], status["limit"]), (2, 2))
        self.queue.publish(["k"])
        wait_for("the other queue's", lambda: "k" in self.record.ended())
        self.open_gate()
        self.record.wait_ended(6)
        self.more.publish(["dies:exit:1"])
        wait_for("its death", lambda: [e for e in worker.events("job settled") if e["fate"] == "dead"])
        self.assert_undisturbed(worker)
        self.assertEqual(worker.stop()[0], 0)

    def test_removed(self):
        worker = self.start_with(self.section("jobs", "more"), concurrency=4)
        self.queue.publish(self.gated(1, 300))
        self.record.wait_begun(4)
        self.more.publish(["k1"])
        changed, restart = self.reload(worker, self.section("more"))
        self.assertEqual((changed, restart), ([self.name("jobs", "removed")], []))
        wait_for("what is unbegun to be back", lambda: self.queue.depth() == 296)
        self.assertEqual(self.queues(), ["jobs removed", "more"])
        self.assertTrue(self.status()["ready"])
        self.assertEqual(worker.events("queue drained"), [])
        self.open_gate()
        self.wait_drained(worker)
        wait_for("the other queue's", lambda: "k1" in self.record.ended())
        self.assertEqual(sorted(self.record.begun()), sorted(tags(1, 4) + ["k1"]))
        self.assertEqual(self.queues(), ["more"])
        self.assert_undisturbed(worker)
        self.assertEqual(self.left(self.queue), tags(5, 300))
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], 5)

    def test_removed_under_load(self):
        """Nothing is lost, nothing runs twice, and the rest is in order."""
        worker = self.start_with(self.section("jobs", "more"), self.plugin_handler(), concurrency=8, level="info")
        self.queue.publish([f"j{n}:ms:2" for n in range(1, 1001)])
        self.queue.publish(self.gated(1001, 2000))  # where we are slower than the worker, some are left
        self.record.wait_ended(100)
        self.reload(worker, self.section("more"), self.plugin_handler())
        self.open_gate()
        self.wait_drained(worker)
        ended = len(self.record.ended())
        self.assertLess(ended, 2000)
        left = self.left(self.queue)
        self.assertEqual(sorted(self.record.ended() + left), sorted(tags(1, 2000)))
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(left, sorted(left, key=lambda tag: int(tag[1:])))
        self.assert_undisturbed(worker)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], ended)

    def test_back_and_forth_under_load(self):
        worker = self.start_with(self.section("jobs", "more"), self.plugin_handler(), concurrency=8, level="info")
        self.queue.publish([f"j{n}:ms:1" for n in range(1, 3001)])
        for count in range(1, 21):
            self.reload(worker, self.section("more"), self.plugin_handler())
            if count % 2:
                self.wait_drained(worker, count)
            self.reload(worker, self.section("more", "jobs"), self.plugin_handler())
        self.record.wait_ended(3000, 60)
        self.wait_drained(worker, 20)
        wait_for("an empty queue", lambda: self.queue.depth() == 0)
        self.assertEqual(self.record.begun_twice(), [])
        self.assert_undisturbed(worker)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], 3000)

    def test_added_again_while_it_drains(self):
        worker = self.start_with(self.section("jobs"), concurrency=4)
        self.queue.publish(self.gated(1, 2) + ["j3"])
        self.record.wait_ended(1)
        self.reload(worker, self.section("more"))
        wait_for("its drain", lambda: self.queues() == ["jobs removed", "more"])
        self.reload(worker, self.section("more", "jobs"))
        self.queue.publish(["j4"])
        self.record.wait_ended(2)
        self.assertEqual(self.queues(), ["jobs", "jobs removed", "more"])
        wait_for("j4 to be counted", lambda: sum(self.settled().values()) == 2)
        samples = self.metrics()
        self.assertEqual([name for name, n in collections.Counter(s for s, _ in samples).items() if n > 1], [])
        labels = f'{{source="{self.queue.source}",queue="jobs"}}'
        self.assertEqual(dict(samples)[f"outfall_jobs_running{labels}"], "2")
        self.open_gate()
        self.wait_drained(worker)
        wait_for("all to be counted", lambda: self.settled()["done"] == 4)
        self.assertEqual(self.queues(), ["jobs", "more"])
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(worker.stop()[0], 0)

    def metrics(self):
        import test_admin

        connection = test_admin.UnixConnection(self.socket)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return [tuple(line.rsplit(" ", 1)) for line in text.splitlines() if not line.startswith("#")]

    def settled(self):
        """By fate, of the queue that is called jobs."""
        pattern = re.compile(r'outfall_jobs_total{.*queue="jobs",fate="(\w+)"}')
        found = [(pattern.match(name), value) for name, value in self.metrics()]
        return {match.group(1): int(value) for match, value in found if match}

    def test_a_drain_in_the_middle(self):
        worker = self.start_with(self.section("jobs", "more"), concurrency=2)
        self.queue.publish(self.gated(1, 50))
        self.record.wait_begun(2)
        self.reload(worker, self.section("more"))
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(sorted(self.record.ended()), tags(1, 2))
        wait_for("everybody to let go", self.all_back)
        self.assertEqual(self.left(self.queue), tags(3, 50))
        self.assertEqual(worker.report()["fates"]["done"], 2)

    def test_a_drain_that_is_spent_in_the_middle(self):
        drain = 'timeout = "1s"  reserve = "400ms"  grace = "200ms"'
        worker = self.start_with(self.section("jobs", "more"), concurrency=2, drain=drain)
        self.queue.publish(self.gated(1, 10))
        self.record.wait_begun(2)
        self.reload(worker, self.section("more"))
        wait_for("what is unbegun to be back", lambda: self.queue.depth() == 8)
        self.assertEqual(worker.stop()[0], 10)
        wait_for("everybody to let go", self.all_back)
        self.assertEqual(sorted(self.left(self.queue)), sorted(tags(1, 10)))

    def warnings(self, worker):
        """Of all that was asked so far: what is asked now is answered last."""
        self.ctl("quiet")
        said = [e for e in worker.events() if e["event"] in self.ALONE]
        self.assertEqual([e["queues"] for e in said if e["to"] == "quiet"], [f"{self.queue.source}/more"])
        self.assertEqual({e["level"] for e in said}, {"warn"})
        return [(e["event"], e["queues"]) for e in said if e["to"] == "reload"]

    ALONE = ("nobody else is left", "refused, nobody else would be left")

    def test_nobody_else_is_left(self):
        """A reload is an edit that somebody has made on purpose: whatever the policy, it is only told."""
        for self.policy, told in (("warn", True), ("refuse", True), ("ignore", False)):
            worker = self.start_with(self.section("jobs", "more"))
            self.reload(worker, self.section("more"))
            self.wait_drained(worker)
            if told:
                self.assertEqual(self.warnings(worker), [(self.ALONE[0], f"{self.queue.source}/jobs")])
            else:
                self.ctl("quiet")
                self.assertEqual([e for e in worker.events() if e["event"] in self.ALONE], [])
            self.assertEqual(worker.stop()[0], 0)

    def test_somebody_else_is_left(self):
        other = self.start_with(self.section("jobs"))
        self.socket = self.directory / "b.sock"
        worker = self.start_with(self.section("jobs", "more"))
        self.reload(worker, self.section("more"))
        self.wait_drained(worker)
        self.assertEqual(self.warnings(worker), [])
        for each in (worker, other):
            self.assertEqual(each.stop()[0], 0)

    def test_nothing_is_taken_away_while_quiet(self):
        worker = self.start_with(self.section("jobs", "more"))
        self.ctl("quiet", "--force")
        self.reload(worker, self.section("more"))
        self.wait_drained(worker)
        self.ctl("resume")
        self.wait_ready()
        self.assertEqual(self.warnings(worker), [])
        self.assertEqual(worker.stop()[0], 0)

    def test_while_quiet(self):
        worker = self.start_with(self.section("jobs", "more"), concurrency=2)
        self.queue.publish(self.gated(1, 30))
        self.record.wait_begun(2)
        self.ctl("quiet")
        wait_for("what is unbegun to be back", lambda: self.queue.depth() == 28)
        self.reload(worker, self.section("more"))
        self.open_gate()
        self.wait_drained(worker)
        self.reload(worker, self.section("more", "jobs"))
        self.ctl("resume")
        self.record.wait_ended(30)
        self.wait_ready()
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(worker.stop()[0], 0)

    def test_connection_lost_in_the_middle(self):
        worker = self.start_with(self.section("jobs", "more"), concurrency=2)
        self.queue.publish(self.gated(1, 30))
        self.record.wait_begun(2)
        self.reload(worker, self.section("more"))
        wait_for("what is unbegun to be back", lambda: self.queue.depth() == 28)
        self.lose_connections()
        wait_for("a new connection", lambda: self.status()["sources"][0]["reconnects"] > 0, 40)
        self.open_gate()
        self.wait_drained(worker)
        self.wait_ready()
        self.more.publish(["k"])
        wait_for("the other queue's", lambda: "k" in self.record.ended())
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(worker.stop()[0], 0)
        wait_for("everybody to let go", self.all_back)
        self.assertEqual(self.left(self.queue), self.left_after_loss())

    def test_connection_lost_and_added_again(self):
        """What the route before runs is known to the one that comes after it."""
        worker = self.start_with(self.section("jobs", "more"), concurrency=4)
        self.queue.publish(self.gated(1, 2), ids=True)
        self.record.wait_begun(2)
        self.reload(worker, self.section("more"))
        self.reload(worker, self.section("more", "jobs"))
        self.lose_connections()
        wait_for("a new connection", lambda: self.status()["sources"][0]["reconnects"] > 0, 40)
        self.wait_ready()
        self.queue.publish(["j3"])
        wait_for("j3", lambda: "j3" in self.record.ended())
        self.open_gate()
        self.wait_drained(worker)
        wait_for("an empty queue", lambda: self.settled()["done"] == 3)
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.left(self.queue), [])

    def test_before_the_handlers_are_ready(self):
        """Nothing is connected yet."""
        handler = self.pool_handler(words=[f"ready={self.gate()}"], extra='ready_timeout = "10m"')
        worker = self.start(self.text(self.section("jobs"), handler))
        self.options = {}
        wait_for("the socket", self.socket.exists)
        self.reload(worker, self.section("more"), handler)
        self.wait_drained(worker)
        self.more.publish(["j"])
        self.assertEqual(self.status()["sources"][0]["link"], "down")
        self.open_gate()
        self.record.wait_ended(1)
        self.wait_ready()
        self.assertEqual(worker.stop()[0], 0)

    def test_several_at_once_and_the_last(self):
        worker = self.start_with(self.section("jobs", "more"))
        third = self.another("third")
        changed, _ = self.reload(worker, self.section("third"))
        names = [self.name("jobs", "removed"), self.name("more", "removed"), self.name("third", "added")]
        self.assertEqual(sorted(changed), names)
        self.wait_drained(worker, 2)
        third.publish(["j"])
        self.record.wait_ended(1)
        self.assertEqual(self.queues(), ["third"])
        done = self.ctl("quiet")  # asks the broker who else there is, for the queues that there are
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        self.assertIn(f"from {self.queue.source}/third", done.stderr)
        self.assertNotIn(f"{self.queue.source}/jobs", done.stderr)
        self.assertEqual(worker.stop()[0], 0)

    def test_what_it_says_later(self):
        """A late queue is reloaded like any other: what is live is taken over, the rest is named."""
        worker = self.start_with(self.section("jobs"))
        self.reload(worker, self.section("jobs", "more"))
        prefix = self.name("more", "").removesuffix(" ()")
        changed, restart = self.reload(worker, self.section("jobs", "more", more='concurrency = 1 dead = "x"'))
        self.assertEqual(changed, [f"{prefix} concurrency"])
        self.assertEqual(restart, [f"{prefix} dead"])
        self.more.publish(self.gated(1, 2))
        self.record.wait_begun(1)
        status = next(q for q in self.status()["queues"] if q["name"] == "more")
        self.assertEqual((status["running"], status["limit"]), (1, 1))
        self.open_gate()
        self.record.wait_ended(2)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_handler_that_is_new(self):
        worker = self.start_with(self.section("jobs"))
        section = self.section("jobs", "more").replace('"more" { handler = "h"', '"more" { handler = "n"')
        handlers = self.exec_handler() + self.exec_handler("n")
        _, restart = self.reload(worker, section, handlers)
        name = self.name("more", "").removesuffix(" ()")
        self.assertEqual(sorted(restart), ['handler "n"', name])
        why = next(e["why"] for e in worker.events("setting needs a restart") if e["what"] == name)
        self.assertIn('handler "n" is new', why)
        self.assertEqual(self.queues(), ["jobs"])
        self.assertTrue(self.status()["ready"])
        self.assertEqual(worker.stop()[0], 0)

    def test_a_section_that_came_or_went(self):
        worker = self.start_with(self.section("jobs"))
        other = self.section("more").replace(f'"{self.queue.source}"', '"other"')
        _, restart = self.reload(worker, self.section("jobs"), other)
        self.assertEqual(len(restart), 2)
        self.assertEqual(self.queues(), ["jobs"])
        changed, restart = self.reload(worker, other)  # its queues need not wait for a new worker
        self.assertEqual(changed, [self.name("jobs", "removed")])
        self.assertEqual(len(restart), 3)
        self.wait_drained(worker)
        self.reload(worker, self.section("jobs"))
        self.queue.publish(["j"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_broken_configuration_removes_nothing(self):
        worker = self.start_with(self.section("jobs", "more"))
        text = self.text(self.section("more"), "nonsense { }\n")
        worker.config_path.write_text(text.replace("@REPORT@", str(worker.report_path)))
        self.assertEqual(self.ctl("reload").returncode, 1)
        self.queue.publish(["j"])
        self.record.wait_ended(1)
        self.assertEqual(worker.events("queue removed, draining"), [])
        self.assertEqual(worker.stop()[0], 0)

    def test_a_thousand_reloads(self):
        most_kb = 512
        texts = [self.section("jobs"), self.section("jobs", "more", more='dead = "never"')]
        worker = self.start_with(texts[0], level="warn")
        before = 0
        for n in range(1, 1001):
            self.reload(worker, texts[n % 2])
            if n == 200:
                before = resident_kb(worker.pid)
        growth = resident_kb(worker.pid) - before
        self.figure(f"800 of 1,000 reloads: {growth:+} kB resident")
        if patience() == 1:
            self.assertLess(growth, most_kb)
        wait_for("its end", lambda: self.queues() == ["jobs"])
        self.queue.publish(["j"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)


class RabbitQueues(QueueCases, RabbitCase):
    def another(self, name):
        queue = RabbitQueue(self.broker, self.queue.vhost, name)
        self.addCleanup(queue.close)
        return queue

    def lose_connections(self):
        self.broker.ctl("close_all_connections", "-p", self.queue.vhost, "maintenance")
        self.queue.reconnect()
        self.more.reconnect()

    def left_after_loss(self):
        return tags(1, 30)  # nobody could be told of the first two

    def test_missing(self):
        worker = self.start_with(self.section("jobs"))
        self.reload(worker, self.section("jobs", "absent"))
        worker.wait_event("queue is missing, waiting for it", 2)
        self.assertFalse(self.status()["ready"])
        self.queue.publish(["j1"])
        self.record.wait_ended(1)
        self.another("absent").publish(["j2"])
        self.record.wait_ended(2, 30)
        self.wait_ready()
        self.assertEqual(worker.stop()[0], 0)

    def test_missing_and_removed_again(self):
        worker = self.start_with(self.section("jobs"))
        for count in (1, 2):
            self.reload(worker, self.section("jobs", "absent"))
            wait_for("its absence", lambda: len(worker.events("queue is missing, waiting for it")) >= count)
            self.reload(worker, self.section("jobs"))
            self.wait_drained(worker, count)
            self.wait_ready()
        self.assert_undisturbed(worker)
        self.assertEqual(worker.stop()[0], 0)

    def test_refused(self):
        """It is there, and not as it is declared."""
        worker = self.start_with(self.section("jobs"))
        self.reload(worker, self.section("jobs", "more", more='declare = "quorum"'))
        line = worker.wait_event("channel closed by the broker, reopening")
        self.assertIn('queue "more": 406', line["why"])
        self.queue.publish(["j1"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_declared(self):
        worker = self.start_with(self.section("jobs"))
        self.reload(worker, self.section("jobs", "made", made='declare = "durable"'))
        self.wait_ready()
        self.another("made").publish(["j1"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_deleted_while_it_drains(self):
        worker = self.start_with(self.section("jobs", "more"), concurrency=2)
        self.queue.publish(self.gated(1, 10))
        self.record.wait_begun(2)
        self.reload(worker, self.section("more"))
        wait_for("what is unbegun to be back", lambda: self.queue.depth() == 8)
        self.queue.channel.queue_delete("jobs")
        self.open_gate()
        self.wait_drained(worker)
        self.assert_undisturbed(worker)
        self.assertEqual(worker.stop()[0], 0)

    def test_single_active(self):
        """The order holds: the next consumer begins when our last job has ended."""
        arguments = {"x-single-active-consumer": True}
        ordered = RabbitQueue(self.broker, self.queue.vhost, "ordered", arguments)
        self.addCleanup(ordered.close)
        single = 'single_active = "true"'
        first = self.start_with(self.section("jobs", "ordered", ordered=single), concurrency=1)
        second = self.start(self.config(self.section("ordered", ordered=single), concurrency=1))
        second.wait_event("consumer started")
        ordered.publish(self.gated(1, 30))
        self.record.wait_begun(1)
        self.reload(first, self.section("jobs"))
        wait_for("its drain", lambda: self.queues() == ["jobs", "ordered removed"])
        self.assertTrue(self.status()["ready"])
        self.open_gate()
        self.wait_drained(first)
        self.record.wait_ended(30)
        self.assertEqual(self.record.begun(), tags(1, 30))
        self.assert_undisturbed(first)
        self.assertEqual(first.stop()[0], 0)
        self.assertEqual(second.stop()[0], 0)
        self.assertEqual(first.events("nobody else is left"), [])

    def test_single_active_and_nobody_else_is_left(self):
        ordered = RabbitQueue(self.broker, self.queue.vhost, "ordered", {"x-single-active-consumer": True})
        self.addCleanup(ordered.close)
        worker = self.start_with(self.section("more", "ordered"))
        self.reload(worker, self.section("more"))
        self.wait_drained(worker)
        self.assertEqual(self.warnings(worker), [("nobody else is left", f"{self.queue.source}/ordered")])
        self.assertEqual(worker.stop()[0], 0)


class NarrowConnection(WorkerCase):
    """A broker that allows two channels on a connection."""

    def test_the_number_of_one_that_is_gone_is_free(self):
        directory = folder("narrow")
        (directory / "rabbitmq.conf").write_text("channel_max = 2\n")
        broker = RabbitMQ(directory)
        self.addCleanup(broker.stop)
        queues = {name: RabbitQueue(broker, "/", name) for name in ("a", "b", "c")}

        def config(*names):
            section = queues["a"].section(dead=False).rstrip().removesuffix("}")
            for name in names[1:]:
                section += f'queue "{name}" {{ handler = "h" }}\n'
            return self.config(section + "}\n").replace('"a" {', f'"{names[0]}" {{')

        worker = self.start(config("a", "b"))
        worker.wait_event("consumer started", 2)

        def reload(*names):
            count = len(worker.events("configuration reloaded"))
            worker.config_path.write_text(config(*names).replace("@REPORT@", str(worker.report_path)))
            worker.send(signal.SIGHUP)
            worker.wait_event("configuration reloaded", count + 1)

        reload("a", "b", "c")
        line = worker.wait_event("setting needs a restart")
        self.assertIn('queue "c"', line["what"])
        self.assertIn("the broker allows 2 channels", line["why"])
        reload("b")
        worker.wait_event("queue drained")
        reload("b", "c")
        worker.wait_event("consumer started", 3)
        queues["c"].publish(["j"])
        self.record.wait_ended(1)
        self.assertEqual(len(worker.events("rabbitmq connected")), 1)
        self.assertEqual(worker.stop()[0], 0)


class RedisQueues(QueueCases, RedisCase):
    word = "list"

    def another(self, name):
        return RedisList(self.broker, name)

    def lose_connections(self):
        self.queue.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def left_after_loss(self):
        return tags(3, 30)  # its claims outlive a connection

    def test_refused(self):
        """The server keeps us from the new list; the old ones go on, and the new one is awaited."""
        client = self.queue.client
        client.execute_command(
            *"ACL SETUSER w on >pw ~jobs ~{jobs}:* +@all".split()
        )
        self.queue.url = lambda: f"redis://w:pw@127.0.0.1:{self.broker.port}/0"
        worker = self.start_with(self.section("jobs"))
        lease = 'lease = "1s"'
        self.reload(worker, self.section("jobs", "more", more=lease))
        worker.wait_event("list refused, trying again", 2)
        self.queue.publish(["j1"])
        self.record.wait_ended(1)
        self.reload(worker, self.section("jobs"))
        self.wait_drained(worker)
        self.wait_ready()
        self.reload(worker, self.section("jobs", "more", more=lease))
        worker.wait_event("list refused, trying again", 3)
        client.execute_command(*"ACL SETUSER w ~more ~{more}:*".split())
        self.more.publish(["j2"])
        self.record.wait_ended(2)
        self.wait_ready()
        self.assert_undisturbed(worker)
        self.assertEqual(worker.stop()[0], 0)

    def test_nothing_is_left_of_it(self):
        worker = self.start_with(self.section("jobs", "more"))
        wait_for("its membership", lambda: self.queue.client.zcard("{more}:workers") == 1)
        self.reload(worker, self.section("jobs"))
        self.wait_drained(worker)
        self.assertEqual(self.queue.client.zcard("{more}:workers"), 0)
        self.more.publish(["j"])
        self.queue.publish(["k"])
        self.record.wait_ended(1)
        self.assertEqual(self.left(self.more), ["j"])
        self.assertEqual(worker.stop()[0], 0)

    def test_down_in_the_middle(self):
        """The server comes back without anything; the list still goes, and the others are joined."""
        worker = self.start_with(self.section("jobs", "more"), concurrency=2)
        self.queue.publish(self.gated(1, 5))
        self.record.wait_begun(2)
        self.broker.kill()
        self.reload(worker, self.section("more"))
        self.broker.start()
        self.queue.reconnect()
        self.open_gate()
        self.wait_drained(worker)
        self.wait_ready()
        self.assertEqual(worker.stop()[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
