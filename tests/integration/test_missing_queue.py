"""A queue that is not there: at the start it is fatal or awaited, as the configuration says; lost later
it is always awaited, and consumed again when it is back. And one that we may not make."""

import signal
import datetime
import time
import unittest

from brokers import RabbitUser, wait_for
from fault_proxy import FaultProxy
from worker import RabbitCase, patience

WAITING = "queue is missing, waiting for it"


class Missing(RabbitCase):
    def with_absent(self, extra):
        """A section with the queue that is there and, beside it, one that is not."""
        text = self.queue.section().rstrip().rstrip("}")
        return text + f'  queue "absent" {{ handler = "h" {extra} }}\n}}\n'

    def create(self, *bodies):
        self.queue.channel.queue_declare("absent", durable=True)
        for body in bodies:
            self.queue.channel.basic_publish("", "absent", body)

    def test_fatal_by_default(self):
        worker = self.start(self.config(self.with_absent("")))
        self.assertEqual(worker.wait_exit(), 69)
        [line] = worker.events("broker refused for good, stopping")
        self.assertIn('queue "absent": 404', line["why"])

    def test_awaited_while_others_work(self):
        self.open_gate()
        worker = self.start(self.config(self.with_absent('missing = "wait"')))
        worker.wait_event(WAITING, count=2)
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        self.create("b")
        self.record.wait_ended(2, 30)
        self.assertEqual(worker.events("consumer started")[-1]["queue"], "absent")
        self.assertEqual(worker.stop()[0], 0)

    def test_a_stop_while_it_is_awaited(self):
        worker = self.start(self.config(self.with_absent('missing = "wait"')))
        worker.wait_event(WAITING)
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 1 * patience())

    def test_quiet_and_resume_while_it_is_awaited(self):
        worker = self.start(self.config(self.with_absent('missing = "wait"')))
        worker.wait_event(WAITING)
        worker.send(signal.SIGTSTP)
        worker.wait_event("drain moved")
        worker.send(signal.SIGCONT)
        worker.wait_event("drain moved", count=2)
        self.create("b")
        self.record.wait_ended(1, 30)
        self.assertEqual(worker.stop()[0], 0)

    def test_lost_with_jobs_in_hand(self):
        """They end where they are, whoever is told; the queue of the same name is consumed again, and
        missing = "fail" is about the start alone."""
        self.create(*[f"old{n}:gate:{self.gate()}" for n in range(4)])
        worker = self.start(self.config(self.with_absent(""), concurrency=2))
        self.record.wait_begun(2)
        self.queue.channel.queue_delete("absent")
        worker.wait_event("consumer cancelled by the broker, trying again")
        worker.wait_event(WAITING, count=2)
        self.open_gate()
        self.record.wait_ended(2)
        self.create("new")
        wait_for("the new one", lambda: "new" in self.record.ended(), 30)
        self.assertEqual(self.record.ended_twice(), [])
        again = [e for e in worker.events("consumer started") if e["queue"] == "absent"]
        self.assertEqual(len(again), 2)
        depth = lambda: self.queue.channel.queue_declare("absent", passive=True).method.message_count
        wait_for("an empty queue", lambda: depth() == 0)
        self.assertEqual(worker.stop()[0], 0)


class MissingDead(RabbitCase):
    """The dead letter queue of one that is there. A job that cannot be buried would keep its place, and a
    drain would wait for it in vain: so it is asked for before the first job is taken."""

    def setUp(self):
        super().setUp()
        self.queue.channel.queue_delete(self.queue.dead_name)

    def kind_of(self, name):
        rows = self.broker.ctl(
            "list_queues", "-p", self.queue.vhost, "--no-table-headers", "name", "type", "durable"
        )
        return dict((row.split()[0], row.split()[1:]) for row in rows.splitlines())[name]

    def test_fatal_by_default(self):
        worker = self.start(self.config(self.queue.section()))
        self.assertEqual(worker.wait_exit(), 69)
        [line] = worker.events("broker refused for good, stopping")
        for words in (self.queue.dead_name, f'queue "{self.queue.name}"', "404", 'declare = "durable"'):
            self.assertIn(words, line["why"])

    def test_awaited(self):
        worker = self.start(self.config(self.queue.section(extra='missing = "wait"')))
        worker.wait_event("dead letter queue is missing, waiting for it", count=2)
        self.queue.publish(["a:exit:65"])
        self.assertEqual(self.record.begun(), [])
        self.queue.channel.queue_declare(self.queue.dead_name, durable=True)
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1, 30)
        self.assertEqual(worker.stop()[0], 0)

    def lose_dead(self, worker):
        """A worker looks for it when it opens its channel."""
        worker.wait_event("consumer started")
        self.queue.channel.queue_delete(self.queue.dead_name)
        self.broker.ctl("close_all_connections", "-p", self.queue.vhost, "maintenance")
        self.queue.reconnect()
        worker.wait_event("dead letter queue is missing, jobs that end there will wait for it")
        worker.wait_event("consumer started", count=2)

    def test_lost_later_the_others_go_on(self):
        self.queue.channel.queue_declare(self.queue.dead_name, durable=True)
        worker = self.start(self.config(self.queue.section()))
        self.lose_dead(worker)
        self.queue.publish(["a", "b:exit:65"])
        self.record.wait_ended(1)
        self.queue.channel.queue_declare(self.queue.dead_name, durable=True)
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1, 30)
        self.assertEqual(worker.stop()[0], 0)

    def test_lost_later_and_not_to_be_made_again(self):
        """Where the queue is declared, its dead letter queue is made; another user has made both."""
        user = RabbitUser(self, "^jobs$")
        self.queue.channel.queue_declare(self.queue.dead_name, durable=True)
        section = self.queue.section(extra='declare = "durable"', url=user.url())
        worker = self.start(self.config(section))
        self.lose_dead(worker)
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_lost_later_in_another_way(self):
        """What is there and cannot be had is lost as well: its node is down or, here, it is the queue of
        another connection."""
        self.queue.channel.queue_declare(self.queue.dead_name, durable=True)
        proxy = FaultProxy(self.broker.port)
        self.addCleanup(proxy.close)
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{self.queue.vhost}"
        worker = self.start(self.config(self.queue.section(url=url)))
        worker.wait_event("consumer started")
        self.queue.channel.queue_delete(self.queue.dead_name)
        self.queue.channel.queue_declare(self.queue.dead_name, exclusive=True)
        proxy.break_with("reset")
        worker.wait_event("rabbitmq connection lost, reconnecting")
        proxy.heal()
        worker.wait_event("consumer started", count=2)
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_created_with_its_queue(self):
        self.queue.publish(["a:exit:65"])
        worker = self.start(self.config(self.queue.section(extra='declare = "durable"')))
        worker.wait_event("consumer started")
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.assertEqual(self.kind_of(self.queue.dead_name), ["classic", "true"])
        self.assertEqual(worker.stop()[0], 0)

    def test_created_of_the_kind_of_its_queue(self):
        section = self.queue.section(name="absent", extra='declare = "quorum"')
        worker = self.start(self.config(section))
        worker.wait_event("consumer started")
        self.assertEqual(self.kind_of(self.queue.dead_name), ["quorum", "true"])
        self.assertEqual(worker.stop()[0], 0)

    def test_one_of_another_kind_is_left_alone(self):
        self.queue.channel.queue_declare(self.queue.dead_name, arguments={"x-max-length": 10})
        worker = self.start(self.config(self.queue.section(extra='declare = "durable"')))
        worker.wait_event("consumer started")
        self.assertEqual(self.kind_of(self.queue.dead_name), ["classic", "false"])
        self.assertEqual(worker.stop()[0], 0)


class RefusedRetry(RabbitCase):
    """The queues that retries wait in are made when the first job needs one, and the broker may refuse."""

    REFUSED = (
        "retry queue refused, its jobs wait: the user needs the rights configure and read on it, "
        "and write on amq.default"
    )

    WAITS = "copy of a job could not be placed, trying again"

    def start_refused(self, extra="", **options):
        self.user = RabbitUser(self, "^jobs$")
        retry = 'retry "default" { attempts = 3  first = "200ms"  jitter = 0 }\n'
        section = self.queue.section(url=self.user.url(), extra=extra)
        return self.start(self.config(section, retry, **options))

    def test_the_job_waits_for_the_right(self):
        self.queue.publish(["a:fail-until:2"])
        worker = self.start_refused()
        worker.wait_event(self.WAITS, count=5)
        for event in worker.events(self.REFUSED):
            self.assertEqual((event["level"], event["source"]), ("warn", "mq"))
            self.assertRegex(event["queue"], r"^jobs\.retry\.200\.20\d\d-\d\d-\d\d$")
            self.assertRegex(event["why"], f"403 ACCESS_REFUSED .*'{event['queue']}'.* '{self.user.name}'")
        waits = worker.events(self.WAITS)
        self.assertEqual({(event["to"], event["why"]) for event in waits},
                         {("jobs", f'retry queue "{event["queue"]}" was refused')})  # fmt: skip
        self.assertGreater(waits[4]["wait_ms"], 2 * waits[0]["wait_ms"])  # it does not spin
        self.assertEqual(worker.events("publishing channel closed by the broker, reopening"), [])
        self.user.may("^jobs")
        self.record.wait_ended(1)
        self.assertEqual([run["attempt"] for run in self.record.runs("a")], ["1", "2"])
        self.assertEqual(worker.stop()[0], 0)

    def test_a_drain_ends_and_the_job_is_still_there(self):
        self.queue.publish(["a:exit:1"])
        worker = self.start_refused(drain='timeout = "2s"  reserve = "500ms"  grace = "300ms"')
        worker.wait_event(self.REFUSED)
        code, seconds = worker.stop()
        self.assertEqual(code, 11)
        self.assertLess(seconds, 2 + 1 * patience())
        self.assertEqual(worker.report()["jobs"][0]["fate"], "unsettled")
        self.assertEqual(self.queue.take_all(), ["a:exit:1"])

    def test_what_goes_elsewhere_does_not_wait_for_it(self):
        self.queue.publish(["a:fail-until:2"])
        worker = self.start_refused()
        worker.wait_event(self.REFUSED)
        for n in range(4):
            worker.wait_event(self.REFUSED, count=len(worker.events(self.REFUSED)) + 1)
            self.queue.publish([f"b{n}:exit:65"])
            wait_for("its death", lambda n=n: self.queue.dead_depth() == n + 1)
        self.assertEqual(self.record.ended(), [])
        self.user.may("^jobs")
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), ["a"])
        self.assertEqual(len(self.queue.take_dead()), 4)

    def test_what_goes_elsewhere_arrives_once(self):
        """Each refusal closes the channel, and with it go the confirms that were still to come on it."""
        dead = [f"b{n}:exit:65" for n in range(100)]
        self.queue.publish([body for n, b in enumerate(dead) for body in (f"a{n}:fail-until:2", b)])
        worker = self.start_refused(extra="prefetch = 500")
        wait_for("their death", lambda: self.queue.dead_depth() >= len(dead))
        worker.wait_event(self.REFUSED, count=len(worker.events(self.REFUSED)) + 1)
        self.user.may("^jobs")
        self.record.wait_ended(len(dead))
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(sorted(self.queue.take_dead()), sorted(dead))

    def test_one_of_another_kind(self):
        week = int(time.time()) // (7 * 86400) * 7
        name = f"jobs.retry.200.{datetime.date(1970, 1, 1) + datetime.timedelta(days=week)}"
        self.queue.channel.queue_declare(name, durable=True)
        self.queue.publish(["a:fail-until:2"])
        worker = self.start(
            self.config(self.queue.section(), 'retry "default" { attempts = 3  first = "200ms"  jitter = 0 }\n')
        )
        event = worker.wait_event(
            "retry queue refused, its jobs wait: there is one that we have not made, delete it when it is empty"
        )
        self.assertEqual(event["queue"], name)
        self.assertIn("406 PRECONDITION_FAILED", event["why"])
        self.queue.channel.queue_delete(name)
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
