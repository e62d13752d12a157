"""A queue with a single active consumer keeps its order through every drain: the next worker begins
when the one before has finished, and with the job that comes after."""

import signal
import unittest

from pika.exceptions import ChannelClosedByBroker

from brokers import RabbitQueue, RabbitUser, wait_for
from fault_proxy import FaultProxy
from worker import RabbitCase

TIGHT = 'timeout = "2s"  reserve = "500ms"  grace = "300ms"'


class SingleActiveCases:
    """Hold for both types of queue."""

    def setUp(self):
        super().setUp()
        arguments = {"x-single-active-consumer": True, "x-queue-type": self.queue_type}
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "ordered", arguments)
        self.addCleanup(self.queue.close)

    def start_worker(self, drain='timeout = "30s"', settings="", url=None, **options):
        extra = f"prefetch = 10  {settings}"
        section = self.queue.section(extra=extra, url=url)
        worker = self.start(self.config(section, drain=drain, concurrency=1, **options))
        # The broker's count of consumers is no help: a quorum queue counts the active one only.
        worker.wait_event("consumer started")
        return worker

    def start_both(self, **options):
        """The first is active, the second waits."""
        return [self.start_worker(**options), self.start_worker(**options)]

    def gated(self, first, last):
        return [f"j{n}:gate:{self.gate()}" for n in range(first, last + 1)]

    def tags(self, first, last):
        return [f"j{n}" for n in range(first, last + 1)]

    def assert_never_two(self):
        """Every job ended before the next one began."""
        running = set()
        for line in self.record.lines():
            verb, tag = line.split()[:2]
            if verb == "begin":
                self.assertEqual(running, set(), f"when {tag} began")
                running.add(tag)
            elif verb in ("end", "stopped"):
                running.discard(tag)

    def test_the_next_worker_waits_for_the_last_job(self):
        first, second = self.start_both()
        self.queue.publish(self.gated(1, 30))
        self.record.wait_begun(1)
        first.send(signal.SIGTERM)
        line = first.wait_event("draining", count=2)  # two seconds, and nobody has overtaken
        self.assertIn('the last job of "ordered"', line["waiting_for"])
        self.assertEqual(self.record.begun(), ["j1"])
        self.open_gate()
        self.assertEqual(first.wait_exit(), 0)
        self.record.wait_ended(30)
        self.assertEqual(self.record.begun(), self.tags(1, 30))
        self.assert_never_two()
        fates = first.report()["fates"]
        self.assertEqual((fates["done"], fates["returned"]), (1, 9), fates)
        self.assertEqual(second.stop()[0], 0)
        self.assertEqual(second.report()["fates"]["returned"], 0)
        wait_for("an empty queue", lambda: self.queue.depth() == 0)

    def test_an_interrupted_job_is_the_next_ones_first(self):
        first, second = self.start_both(drain=TIGHT)
        self.queue.publish(self.gated(1, 15))
        self.record.wait_begun(1)
        self.assertEqual(first.stop()[0], 10)
        self.assertEqual(first.report()["fates"]["returned"], 10)
        self.record.wait_begun(2)
        self.open_gate()
        self.record.wait_ended(15)
        self.assertEqual(self.record.begun(), ["j1", *self.tags(1, 15)])
        self.assertEqual(second.stop()[0], 0)

    def test_drains_in_succession(self):
        """Each worker is stopped in the middle of its work, while jobs come and acks are under way."""
        self.queue.publish([f"j{n}:ms:1" for n in range(1, 401)], message_id="same")
        workers = self.start_both()
        for number in range(1, 7):
            self.record.wait_ended(number * 40)
            workers.append(self.start_worker())
            self.assertEqual(workers.pop(0).stop()[0], 0)
        self.record.wait_ended(400)
        self.assertEqual(self.record.begun(), self.tags(1, 400))
        self.assert_never_two()
        for worker in workers:
            self.assertEqual(worker.stop()[0], 0)
        wait_for("an empty queue", lambda: self.queue.depth() == 0)

    def test_quiet_passes_on_and_resume_lines_up_behind(self):
        first, second = self.start_both()
        self.queue.publish(self.gated(1, 20))
        self.record.wait_begun(1)
        first.send(signal.SIGTSTP)
        wait_for(
            "nothing new to be taken",
            lambda: any(line["to"] == "finishing" for line in first.events("channel moved")),
        )
        first.send(signal.SIGCONT)  # wanted again before it has let go: it has to, all the same
        self.open_gate()
        self.record.wait_ended(20)
        self.assertEqual(self.record.begun(), self.tags(1, 20))
        self.assert_never_two()
        first.wait_event("consumer started", count=2)
        self.assertEqual(second.stop()[0], 0)
        self.queue.publish(["late"])
        self.record.wait_ended(21)
        self.assertEqual(first.stop()[0], 0)

    def test_a_connection_lost_while_letting_go_comes_back(self):
        proxy = FaultProxy(self.broker.port)
        self.addCleanup(proxy.close)
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{self.queue.vhost}"
        worker = self.start_worker(url=url, settings='single_active = "true"')
        proxy.break_with("stall")
        worker.send(signal.SIGTSTP)
        wait_for(
            "channel.close on its way",
            lambda: any(line["to"] == "releasing" for line in worker.events("channel moved")),
        )
        proxy.break_with("reset")
        proxy.heal()
        worker.send(signal.SIGCONT)
        worker.wait_event("consumer started", count=2)
        self.queue.publish(["late"])
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_idle_and_waiting_workers_stop_at_once(self):
        first, second = self.start_both()
        for worker in (second, first):
            code, seconds = worker.stop()
            self.assertEqual(code, 0)
            self.figure(f"SIGTERM to exit, single active consumer: {seconds * 1000:.1f} ms")

    def test_a_failed_job_is_settled_before_the_release(self):
        """Its copy is confirmed, and the original acknowledged, before the channel closes."""
        first, second = self.start_both()
        self.queue.publish(["j1:fail-until:2", *self.gated(2, 12)])
        self.record.wait_begun(2)
        first.send(signal.SIGTERM)
        self.open_gate()
        self.assertEqual(first.wait_exit(), 0)
        self.record.wait_ended(12)
        tags = [tag for tag in self.record.begun() if tag != "j1"]
        self.assertEqual(tags, self.tags(2, 12))
        self.assertEqual(len(self.record.runs("j1")), 2)
        self.assertEqual(second.stop()[0], 0)


class ClassicSingleActive(SingleActiveCases, RabbitCase):
    queue_type = "classic"


class QuorumSingleActive(SingleActiveCases, RabbitCase):
    queue_type = "quorum"


class Asked(RabbitCase):
    """Nothing says whether a queue is one of these. The broker is asked when jobs of it are let go, and the queue
    stays as it is."""

    IS_ONE = "queue has a single active consumer"
    NOT_KNOWN = "not known whether the queue has a single active consumer, taken for none"

    def remake(self, arguments=None, name="asked", **how):
        self.queue.channel.queue_delete(name)
        how.setdefault("durable", True)
        self.queue.channel.queue_declare(name, arguments=arguments, **how)

    def start_worker(self, name="asked", extra="", url=None, jobs=3):
        """It runs one job and holds the others."""
        section = self.queue.section(name=name, extra=f"prefetch = 10 {extra}", url=url)
        worker = self.start(self.config(section, concurrency=1))
        worker.wait_event("consumer started")
        self.publish(name, jobs)
        return worker

    def publish(self, name="asked", jobs=3):
        for n in range(jobs):
            self.queue.channel.basic_publish("", name, f"j{n}:gate:{self.gate()}")
        self.record.wait_begun(min(jobs, 1))

    def pause(self, worker):
        count = len(worker.events("drain moved"))
        worker.send(signal.SIGTSTP)
        worker.wait_event("drain moved", count + 1)

    def resume(self, worker):
        count = len(worker.events("consumer started"))
        worker.send(signal.SIGCONT)
        worker.wait_event("consumer started", count + 1)

    def moves(self, worker, to):
        return [move for move in worker.events("channel moved") if move["to"] == to]

    def stop_clean(self, worker):
        self.open_gate()
        self.assertEqual(worker.stop()[0], 0)

    def assert_told(self, event, **options):
        """When it lets go, and not before."""
        worker = self.start_worker(**options)
        self.assertEqual(self.moves(worker, "asking"), [])
        self.pause(worker)
        then = "finishing" if event == self.IS_ONE else "cancelling"
        wait_for(then, lambda: self.moves(worker, then))
        for each in (self.IS_ONE, self.NOT_KNOWN):
            self.assertEqual(len(worker.events(each)), each == event, each)
        self.stop_clean(worker)
        return worker

    def errors(self):
        """Lines of this virtual host in the broker's log."""
        text = "".join(path.read_text() for path in self.broker.directory.glob("**/*.log"))
        return [line for line in text.splitlines() if "[error]" in line and f"'{self.queue.vhost}'" in line]

    def test_of_whatever_arguments(self):
        self.remake({
            "x-single-active-consumer": True, "x-expires": 3600000, "x-message-ttl": 2**31,
            "x-dead-letter-exchange": "it's ' of type 'odd'", "x-max-length": 7,
            "x-dead-letter-routing-key": "", "x-max-length-bytes": 10**9, "x-max-priority": 4,
            "x-overflow": "reject-publish", "x-queue-mode": "lazy", "x-own": True,
        }, durable=False, auto_delete=True)  # fmt: skip
        self.assert_told(self.IS_ONE)

    def test_none(self):
        for arguments in ({}, {"x-queue-type": "quorum", "x-delivery-limit": 3},
                          {"x-single-active-consumer": False, "x-message-ttl": 60000}):  # fmt: skip
            with self.subTest(arguments):
                self.gate().unlink(missing_ok=True)
                self.record.path.write_text("")
                self.remake(arguments)
                self.assertEqual(len(self.moves(self.assert_told(None), "asking")), 1)

    def test_not_asked_when_it_is_said(self):
        self.remake()
        for value in ("true", "false"):
            worker = self.start_worker(extra=f'single_active = "{value}"', jobs=0)
            self.pause(worker)
            self.assertEqual(self.moves(worker, "asking"), [])
            self.stop_clean(worker)

    def test_not_asked_without_a_job(self):
        """Nothing could be overtaken."""
        self.remake({"x-single-active-consumer": True})
        worker = self.start_worker(jobs=0)
        self.pause(worker)
        self.resume(worker)
        self.publish()
        self.open_gate()
        self.record.wait_ended(3)
        self.assertEqual(self.moves(worker, "asking"), [])
        self.stop_clean(worker)
        self.assertEqual(self.errors(), [])

    def test_an_ordinary_queue_costs_no_line_in_the_brokers_log(self):
        self.remake()
        worker = self.start_worker()
        other = self.queue.connection.channel()
        other.basic_qos(prefetch_count=1)
        other.basic_consume("asked", lambda *_: None)  # somebody could overtake
        self.pause(worker)
        wait_for("cancelling", lambda: self.moves(worker, "cancelling"))
        self.stop_clean(worker)
        self.remake({"x-single-active-consumer": True})
        self.gate().unlink()
        self.record.path.write_text("")
        self.assert_told(self.IS_ONE)  # whose line is there behind those that there might be
        wait_for("its line", lambda: [line for line in self.errors() if "but current is the value 'true'" in line])
        self.assertEqual(len(self.errors()), 2, self.errors())  # one refusal

    def test_by_who_may_not_configure(self):
        self.remake({"x-single-active-consumer": True})
        worker = self.assert_told(self.NOT_KNOWN, url=RabbitUser(self, configure="^$").url())
        [event] = worker.events(self.NOT_KNOWN)
        self.assertIn("ACCESS_REFUSED", event["why"])

    def test_with_words_that_are_cut_off(self):
        name = "n" * 200
        self.remake({"x-single-active-consumer": True}, name)
        self.assert_told(self.NOT_KNOWN, name=name)

    def test_another_queue_by_that_name(self):
        """Made while we did not consume, so that nothing has told us."""
        self.remake()
        worker = self.start_worker(jobs=1)
        self.pause(worker)
        self.assertEqual(len(self.moves(worker, "asking")), 1)
        self.open_gate()
        self.record.wait_ended(1)
        self.remake({"x-single-active-consumer": True})
        self.gate().unlink()
        self.resume(worker)
        self.publish(jobs=3)
        self.record.wait_begun(2)
        self.pause(worker)
        worker.wait_event(self.IS_ONE)
        self.stop_clean(worker)

    def test_more_at_once_is_asked_for_as_well(self):
        """To renew its consumer would make the next one active."""
        self.remake({"x-single-active-consumer": True})
        section = self.queue.section(name="asked", extra="concurrency = 1")
        worker = self.start(self.config(section))
        worker.wait_event("consumer started")
        text = self.config(self.queue.section(name="asked", extra="concurrency = 3"))
        worker.config_path.write_text(text.replace("@REPORT@", str(worker.report_path)))
        worker.send(signal.SIGHUP)
        worker.wait_event("prefetch stays as it is while the single active consumer does")
        self.assertEqual(self.moves(worker, "renewing"), [])
        self.stop_clean(worker)

    def start_asking(self):
        """Each answer takes a tenth of a second, so the question is caught without its answer."""
        proxy = FaultProxy(self.broker.port)
        self.addCleanup(proxy.close)
        proxy.break_with("delay")
        self.remake({"x-single-active-consumer": True, "x-expires": 3600000})
        worker = self.start_worker(url=f"amqp://guest:guest@127.0.0.1:{proxy.port}/{self.queue.vhost}")
        worker.send(signal.SIGTSTP)
        wait_for("the question", lambda: self.moves(worker, "asking"), every=0.002)
        return worker, proxy

    def test_a_stop_in_the_middle(self):
        worker, _ = self.start_asking()
        worker.send(signal.SIGTERM)
        worker.wait_event(self.IS_ONE)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(worker.report()["fates"]["returned"], 2)
        self.assertEqual(self.record.begun(), ["j0"])

    def test_a_hurried_stop_in_the_middle(self):
        worker, _ = self.start_asking()
        worker.send(signal.SIGQUIT)
        self.assertEqual(worker.wait_exit(), 12)
        self.assertEqual(worker.report()["fates"]["returned"], 3)
        asked = lambda: self.queue.channel.queue_declare("asked", passive=True).method
        wait_for("all to be back", lambda: asked().message_count == 3)

    def test_wanted_again_in_the_middle(self):
        worker, _ = self.start_asking()
        worker.send(signal.SIGCONT)
        worker.wait_event(self.IS_ONE)
        self.open_gate()
        self.record.wait_ended(3)
        self.stop_clean(worker)

    def test_a_connection_lost_in_the_middle(self):
        worker, proxy = self.start_asking()
        proxy.break_with("reset")
        worker.wait_event("rabbitmq connection lost, reconnecting")
        proxy.heal()
        worker.send(signal.SIGCONT)
        worker.wait_event("consumer started", 2)
        self.open_gate()
        self.record.wait_ended(3)
        self.stop_clean(worker)

    def test_makes_no_queue(self):
        """What the worker relies on: it may have been deleted a moment before."""
        for more in ({}, {"x-queue-type": "quorum"}, {"x-single-active-consumer": True}):
            channel = self.queue.connection.channel()
            with self.assertRaises(ChannelClosedByBroker) as refusal:
                channel.queue_declare("absent", durable=True, arguments={"x-max-age": "1s", **more})
            self.assertEqual(refusal.exception.reply_code, 406)
        with self.assertRaises(ChannelClosedByBroker) as refusal:
            self.queue.channel.queue_declare("absent", passive=True)
        self.assertEqual(refusal.exception.reply_code, 404)
        self.queue.reconnect()


class Declared(RabbitCase):
    def test_the_worker_makes_it_so(self):
        section = self.queue.section(name="mine", extra='declare = "quorum"  single_active = "true"')
        worker = self.start(self.config(section))
        worker.wait_event("consumer started")
        rows = self.broker.ctl(
            "list_queues", "-p", self.queue.vhost, "--no-table-headers", "name", "arguments"
        )
        [arguments] = [row for row in rows.splitlines() if row.startswith("mine")]
        self.assertIn('"x-single-active-consumer",true', arguments.replace("bool,", ""))
        self.assertIn("quorum", arguments)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_queue_that_is_none_is_refused(self):
        """Declared otherwise it is another queue: the worker says so and ends."""
        section = self.queue.section(extra='declare = "durable"  single_active = "true"')
        worker = self.start(self.config(section))
        self.assertEqual(worker.wait_exit(), 69)
        self.assertIn("x-single-active-consumer", worker.log_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
