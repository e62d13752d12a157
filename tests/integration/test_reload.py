"""Reading the configuration again: what changes, what is named, what stays; and the status by a signal."""

import json
import signal
import subprocess
import threading
import unittest

from brokers import RabbitMQ, RabbitQueue, folder
from http_service import Service, hang
from test_admin import UnixConnection
from worker import OUTFALL, RabbitCase, RedisCase, patience, wait_for


RENEWED = "consumer renewed for more jobs at once"


class Reloading:
    def start_reloadable(self, *sections, **options):
        self.options = options
        worker = self.start(self.config(*(sections or (self.queue.section(),)), **options))
        self.wait_consuming(worker)
        return worker

    def write(self, worker, *sections, **options):
        text = self.config(*sections, **{**self.options, **options})
        worker.config_path.write_text(text.replace("@REPORT@", str(worker.report_path)))

    def reload(self, worker, count=1):
        worker.send(signal.SIGHUP)
        return worker.wait_event("configuration reloaded", count)

    def changed(self, worker, event="setting changed"):
        return [line["what"] for line in worker.events(event)]


class Reload(Reloading, RedisCase):
    def test_concurrency_goes_down_and_up(self):
        worker = self.start_reloadable(concurrency=4)
        self.queue.publish([f"j{n}:gate:{self.gate(f'gate{n // 4}')}" for n in range(8)])
        self.record.wait_begun(4)
        self.write(worker, self.queue.section(), concurrency=1)
        self.reload(worker)
        self.assertEqual(self.changed(worker), ["worker concurrency"])
        self.open_gate("gate0")
        self.record.wait_begun(5)
        self.record.wait_ended(4)
        worker.send(signal.SIGUSR1)  # by then a second one would have begun
        self.assertEqual(worker.wait_event("status")["running"], 1)
        self.write(worker, self.queue.section(), concurrency=4)
        self.reload(worker, 2)
        self.record.wait_begun(8)
        self.open_gate("gate1")
        self.record.wait_ended(8)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.changed(worker, "setting needs a restart"), [])

    def test_drain_settings_hold_for_the_next_drain(self):
        self.queue.publish([f"j:gate:{self.gate()}"])
        worker = self.start_reloadable(drain='timeout = "60s"')
        self.record.wait_begun(1)
        self.write(worker, self.queue.section(), drain='timeout = "1s" reserve = "400ms" grace = "200ms"')
        self.reload(worker)
        self.assertEqual(worker.stop()[0], 10)  # at its deadline, and not after a minute
        self.assertEqual(worker.report()["fates"]["returned"], 1)

    def test_auto_stays_what_the_manager_allows(self):
        self.queue.publish([f"j:gate:{self.gate()}"])
        drain = 'timeout = "auto"  reserve = "400ms"  grace = "{}ms"'
        self.options = {"drain": drain.format(200)}
        config = self.config(self.queue.section(), **self.options)
        worker = self.start(config, environment={"OUTFALL_STOP_TIMEOUT": "1500ms"})
        self.record.wait_begun(1)
        self.write(worker, self.queue.section(), drain=drain.format(100))
        self.reload(worker)
        self.assertEqual(self.changed(worker), ["drain grace"])
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        self.assertLess(seconds, 5 * patience())  # and not the 30 s of nobody knows

    def test_retry_settings_hold_for_the_next_failure(self):
        retry = 'retry "default" {{ attempts = {}  first = "50ms" }}\n'
        worker = self.start_reloadable(self.queue.section(), retry.format(5))
        self.write(worker, self.queue.section(), retry.format(1))
        self.reload(worker)
        self.queue.publish(["j:exit:1"])
        wait_for("its death", lambda: worker.events("job settled"))
        self.assertEqual(worker.events("job settled")[0]["fate"], "dead")
        self.assertEqual(worker.stop()[0], 0)

    def test_what_takes_a_restart_is_named_each_time(self):
        worker = self.start_reloadable(concurrency=2)
        other = self.queue.section(extra="prefetch = 7")
        self.write(worker, other, self.exec_handler(extra='timeout = "9s"'), concurrency=3)
        for count in (1, 2):
            self.reload(worker, count)
        named = ['handler "h" timeout', f'redis "{self.queue.source}" list "{self.queue.name}" prefetch']
        self.assertEqual(sorted(self.changed(worker, "setting needs a restart")), sorted(2 * named))
        self.queue.publish(["j"])
        self.record.wait_ended(1)  # what it had, it has
        self.assertEqual(worker.stop()[0], 0)

    def test_a_broken_configuration_changes_nothing(self):
        worker = self.start_reloadable(level="debug")
        self.write(worker, self.queue.section(), "wroker { }\n", level="error")
        worker.send(signal.SIGHUP)
        why = worker.wait_event("configuration not reloaded")["why"]
        self.assertIn(f"1 error, the first at {worker.config_path}:", why)
        self.assertIn("did you mean worker", worker.wait_event("configuration problem")["why"])
        self.queue.publish(["j"])
        self.record.wait_ended(1)
        worker.wait_event("job settled")  # said at debug only
        worker.config_path.unlink()
        worker.send(signal.SIGHUP)
        worker.wait_event("configuration not reloaded", 2)
        self.assertEqual(worker.stop()[0], 0)

    def test_ctl(self):
        admin = f'admin {{ socket = "{self.directory}/a.sock" }}\n'
        worker = self.start_reloadable(self.queue.section(), admin, concurrency=4)
        ctl = [OUTFALL, "ctl", "-s", f"{self.directory}/a.sock", "reload"]
        run = lambda *more: subprocess.run([*ctl, *more], capture_output=True, text=True)
        self.assertEqual((run().returncode, run().stdout), (0, ""))
        handler = self.exec_handler(extra='timeout = "9s"  rate = "5/s"')
        self.write(worker, self.queue.section(), admin, handler, concurrency=4)
        self.assertEqual(run().stdout, 'changed: handler "h" rate\nneeds a restart: handler "h" timeout\n')
        answer = json.loads(run("--json").stdout)
        self.assertEqual(answer["status"], "reloaded")
        self.assertEqual((answer["changed"], answer["needs_restart"]), ([], ['handler "h" timeout']))
        worker.config_path.write_text("nonsense")
        self.assertEqual(run().returncode, 1)
        self.assertIn("refused: nothing is changed: ", run().stderr)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_draining_worker_does_not_reload(self):
        self.queue.publish([f"j:gate:{self.gate()}"])
        worker = self.start_reloadable()
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        worker.send(signal.SIGHUP)
        self.assertIn("draining", worker.wait_event("configuration not reloaded")["why"])
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)

    def test_status_by_signal(self):
        worker = self.start_reloadable(level="warn")
        self.queue.publish([f"j:gate:{self.gate()}"])
        self.record.wait_begun(1)
        worker.send(signal.SIGUSR1)
        job = worker.wait_event("status of job")
        self.assertEqual((job["source"], job["queue"]), (self.queue.source, self.queue.name))
        self.assertEqual(worker.events("status")[0]["running"], 1)
        self.assertEqual(worker.events("status of source")[0]["link"], "up")
        self.assertEqual(worker.events("status of queue")[0]["running"], 1)
        self.assertEqual(worker.events("status of handler")[0]["kind"], "exec")
        self.open_gate()
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)


class GrowCases(Reloading):
    """More at once than at the start. Hold for both sources."""

    jobs = 20

    def setUp(self):
        super().setUp()
        self.reloads = 0

    def publish_gated(self, first=0, last=None, gate="gate"):
        self.queue.publish([f"j{n}:gate:{self.gate(gate)}" for n in range(first, last or self.jobs)])

    def reload_with(self, worker, *sections, **options):
        self.write(worker, *(sections or (self.queue.section(),)), **options)
        self.reloads += 1
        self.reload(worker, self.reloads)

    def running(self, worker):
        count = len(worker.events("status"))
        worker.send(signal.SIGUSR1)
        return worker.wait_event("status", count + 1)["running"]

    def most_at_once(self):
        """A job's end is written before its place is free."""
        running = most = 0
        for line in self.record.lines():
            running += {"begin": 1, "end": -1}.get(line.split()[0], 0)
            most = max(most, running)
        return most

    def assert_all_done(self, worker, jobs=None):
        self.record.wait_ended(jobs or self.jobs, 60)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], jobs or self.jobs)
        self.assertEqual(sorted(self.record.ended()), sorted(f"j{n}" for n in range(jobs or self.jobs)))
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(self.changed(worker, "setting needs a restart"), [])
        self.assertEqual(self.queue.depth(), 0)

    def test_the_worker_grows(self):
        worker = self.start_reloadable(concurrency=2)
        self.publish_gated()
        self.record.wait_begun(2)
        self.reload_with(worker, concurrency=8)
        self.assertEqual(self.changed(worker), ["worker concurrency"])
        self.record.wait_begun(8)
        self.assertEqual(self.running(worker), 8)
        self.open_gate()
        self.assert_all_done(worker)
        self.assertEqual(self.most_at_once(), 8)

    def test_with_nothing_to_do(self):
        worker = self.start_reloadable(concurrency=1)
        self.reload_with(worker, concurrency=8)
        self.publish_gated()
        self.record.wait_begun(8)
        self.open_gate()
        self.assert_all_done(worker)
        self.assertEqual(self.most_at_once(), 8)

    def test_down_and_up_again(self):
        worker = self.start_reloadable(concurrency=2)
        self.publish_gated(0, 8, "first")
        self.publish_gated(8, 14, "second")
        self.publish_gated(14, 20, "third")
        for concurrency, begun in ((5, 5), (8, 8)):
            self.reload_with(worker, concurrency=concurrency)
            self.record.wait_begun(begun)
        self.reload_with(worker, concurrency=3)
        self.open_gate("first")
        self.record.wait_begun(11)
        self.record.wait_ended(8)
        self.assertEqual(self.running(worker), 3)
        self.reload_with(worker, concurrency=6)
        self.record.wait_begun(14)
        self.assertEqual(self.running(worker), 6)
        self.open_gate("second")
        self.open_gate("third")
        self.assert_all_done(worker)
        self.assertEqual(self.most_at_once(), 8)

    def test_the_queue_and_the_handler_grow(self):
        """Each up to the next limit, and beyond what it was at the start."""
        queue = lambda n: self.queue.section(extra=f"concurrency = {n}" if n else "")
        handler = lambda n: self.exec_handler(extra=f"concurrency = {n}" if n else "")
        worker = self.start_reloadable(queue(1), handler(2), concurrency=8)
        self.publish_gated()
        self.record.wait_begun(1)
        for of_queue, of_handler, begun in ((4, 2, 2), (4, 5, 4), (0, 5, 5), (7, 0, 7), (0, 0, 8)):
            self.reload_with(worker, queue(of_queue), handler(of_handler), concurrency=8)
            self.record.wait_begun(begun)
            self.assertEqual(self.running(worker), begun)
        self.open_gate()
        self.assert_all_done(worker)
        self.assertEqual(self.most_at_once(), 8)

    def test_a_pool_has_what_the_worker_allows(self):
        handler = self.pool_handler(words=["concurrency=16"])
        worker = self.start_reloadable(self.queue.section(), handler, concurrency=2)
        self.publish_gated()
        self.record.wait_begun(2)
        self.reload_with(worker, self.queue.section(), handler, concurrency=8)
        self.record.wait_begun(8)
        self.assertEqual(self.running(worker), 8)
        self.open_gate()
        self.assert_all_done(worker)

    def test_http(self):
        service, gate = Service(), threading.Event()
        self.addCleanup(service.close)
        self.addCleanup(gate.set)
        handler = f'handler "h" {{ type = "http"  url = "{service.url}" }}\n'
        worker = self.start_reloadable(self.queue.section(), handler, concurrency=2)
        for n in range(self.jobs):
            service.plan(f"j{n}", hang(gate))
        self.queue.publish([f"j{n}" for n in range(self.jobs)])
        wait_for("2 requests", lambda: len(service.requests()) == 2)
        self.reload_with(worker, self.queue.section(), handler, concurrency=8)
        wait_for("8 requests", lambda: len(service.requests()) == 8)
        self.assertEqual(self.running(worker), 8)
        gate.set()
        wait_for("all to be done", lambda: len(service.requests()) == self.jobs)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], self.jobs)
        self.assertLessEqual(service.connections, 8)

    def test_as_far_as_descriptors_allow(self):
        config = self.config(self.queue.section(), concurrency=2)
        worker = self.start(config, wrapper=("prlimit", "--nofile=204:204"))
        self.options = {}
        self.wait_consuming(worker)
        self.publish_gated(0, 40)
        self.record.wait_begun(2)
        self.reload_with(worker, concurrency=100)
        line = worker.wait_event("fewer processes than wanted, the limit on open files is low")
        self.assertEqual((line["handler"], line["processes"]), ("h", 28))  # 64 are spare, each takes 5
        self.record.wait_begun(28)
        self.assertEqual(self.running(worker), 28)
        self.open_gate()
        self.assert_all_done(worker, 40)
        self.assertEqual(self.most_at_once(), 28)

    def test_a_drain_after_it(self):
        worker = self.start_reloadable(concurrency=2)
        self.publish_gated()
        self.record.wait_begun(2)
        self.reload_with(worker, concurrency=8)
        self.record.wait_begun(8)
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        wait_for("everybody to let go", self.all_back)
        self.assertEqual(sorted(self.record.ended()), sorted(f"j{n}" for n in range(8)))
        left = [body.split(":")[0] for body in self.queue.take_all()]
        self.assertEqual(left, [f"j{n}" for n in range(8, self.jobs)])

    def test_a_drain_at_once(self):
        """Nothing waits for what the reload has begun."""
        worker = self.start_reloadable(concurrency=2)
        self.publish_gated()
        self.record.wait_begun(2)
        self.write(worker, self.queue.section(), concurrency=8)
        worker.send(signal.SIGHUP)
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        wait_for("everybody to let go", self.all_back)
        left = [body.split(":")[0] for body in self.queue.take_all()]
        self.assertEqual(sorted(self.record.ended() + left), sorted(f"j{n}" for n in range(self.jobs)))
        self.assertEqual(self.record.begun_twice(), [])

    def test_under_load(self):
        jobs = 3000
        sections = (self.queue.section(), self.plugin_handler(threads=8))
        worker = self.start_reloadable(*sections, concurrency=1, level="info")
        self.queue.publish([f"j{n}:ms:1" for n in range(jobs)])
        for concurrency in (*range(2, 9), 1, 8, 3, 12):
            ended = len(self.record.ended())
            self.record.wait_ended(min(ended + 100, jobs))
            self.reload_with(worker, *sections, concurrency=concurrency)
        self.assert_all_done(worker, jobs)


class RabbitGrows(GrowCases, RabbitCase):
    def moves(self, worker):
        return [(move["from"], move["to"]) for move in worker.events("channel moved")]

    def test_there_is_always_a_consumer(self):
        worker = self.start_reloadable(concurrency=2)
        self.publish_gated(0, 60)
        self.record.wait_begun(2)
        before = len(self.moves(worker))
        for count, concurrency in enumerate((8, 9), 1):
            self.reload_with(worker, concurrency=concurrency)
            self.record.wait_begun(concurrency)
            worker.wait_event(RENEWED, count)
        self.reload_with(worker, concurrency=3)  # what the broker may send, it may send
        self.assertEqual(self.queue.consumers(), 1)
        renewed = [("consuming", "renewing"), ("renewing", "consuming")]
        # Before the first one it asks whether the queue is one that cannot be renewed.
        moves = [move for move in self.moves(worker)[before:] if "asking" not in move]
        self.assertEqual(moves, 2 * renewed)
        self.open_gate()
        self.assert_all_done(worker, 60)

    def test_the_prefetch_is_what_it_says(self):
        """What was outstanding before comes on top of it, and is not replaced."""
        worker = self.start_reloadable(concurrency=2)
        self.publish_gated(0, 12, "first")
        self.publish_gated(12, 60, "second")
        self.record.wait_begun(2)
        for count, concurrency in enumerate((4, 8), 1):
            self.reload_with(worker, concurrency=concurrency)
            self.assertEqual(worker.wait_event(RENEWED, count)["prefetch"], 2 * concurrency)
        self.record.wait_begun(8)
        wait_for("all that may be outstanding", lambda: self.queue.unacked() == 4 + 8 + 16, 60)
        self.open_gate("first")
        worker.wait_event("job settled", 12)
        self.assertEqual(self.queue.unacked(), 16)
        self.open_gate("second")
        self.assert_all_done(worker, 60)

    def test_a_prefetch_that_was_set_stays(self):
        section = self.queue.section(extra="prefetch = 30")
        worker = self.start_reloadable(section, concurrency=2)
        self.publish_gated()
        self.record.wait_begun(2)
        self.reload_with(worker, section, concurrency=8)
        self.record.wait_begun(8)
        self.assertNotIn("renewing", dict(self.moves(worker)))
        self.open_gate()
        self.assert_all_done(worker)

    def test_while_quiet(self):
        worker = self.start_reloadable(concurrency=2)
        worker.send(signal.SIGTSTP)
        wait_for("no consumer", lambda: self.queue.consumers() == 0)
        self.reload_with(worker, concurrency=8)
        self.publish_gated()
        worker.send(signal.SIGCONT)
        self.record.wait_begun(8)
        self.open_gate()
        self.assert_all_done(worker)

    def test_a_quorum_queue(self):
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "quorum", {"x-queue-type": "quorum"})
        self.addCleanup(self.queue.close)
        worker = self.start_reloadable(concurrency=2)
        self.publish_gated()
        self.record.wait_begun(2)
        for concurrency in (4, 8):
            self.reload_with(worker, concurrency=concurrency)
            self.record.wait_begun(concurrency)
        self.open_gate()
        self.assert_all_done(worker)

    def test_a_single_active_consumer_stays(self):
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "ordered", {"x-single-active-consumer": True})
        self.addCleanup(self.queue.close)
        section = self.queue.section(extra='single_active = "true"')
        worker = self.start_reloadable(section, concurrency=2)
        self.publish_gated()
        self.record.wait_begun(2)
        self.reload_with(worker, section, concurrency=8)
        line = worker.wait_event("prefetch stays as it is while the single active consumer does")
        self.assertEqual((line["prefetch"], line["wanted"]), (4, 16))
        self.record.wait_begun(4)  # its prefetch
        self.assertEqual(self.running(worker), 4)
        self.assertNotIn("renewing", dict(self.moves(worker)))
        self.open_gate()
        self.assert_all_done(worker)


class RabbitGrowsInTrouble(Reloading, RabbitCase):
    """With a broker of its own, which hangs."""

    @classmethod
    def setUpClass(cls):
        shared, RabbitMQ._shared = RabbitMQ._shared, RabbitMQ(folder("rabbitmq"))
        try:
            super().setUpClass()
        finally:
            RabbitMQ._shared = shared
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        super().setUp()
        self.addCleanup(self.broker.kill, signal.SIGCONT)
        self.socket = self.directory / "a.sock"
        self.admin = f'admin {{ socket = "{self.socket}" }}\n'

    def readiness(self):
        connection = UnixConnection(self.socket)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
        connection.close()
        return status

    def start_growing(self):
        worker = self.start_reloadable(self.queue.section(), self.admin, concurrency=2)
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(20)])
        self.record.wait_begun(2)
        wait_for("readiness", lambda: self.readiness() == 200)
        self.broker.kill(signal.SIGSTOP)
        self.write(worker, self.queue.section(), self.admin, concurrency=8)
        self.reload(worker)
        wait_for("the renewal", lambda: ("consuming", "renewing") in self.moves(worker))
        return worker

    def moves(self, worker):
        return [(move["from"], move["to"]) for move in worker.events("channel moved")]

    def test_readiness_stays(self):
        worker = self.start_growing()
        self.assertEqual(self.readiness(), 200)
        self.record.wait_begun(4)  # what was held
        self.broker.kill(signal.SIGCONT)
        self.record.wait_begun(8)
        self.assertEqual(self.readiness(), 200)
        self.open_gate()
        self.record.wait_ended(20)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), [])

    def test_a_drain_in_the_middle(self):
        worker = self.start_growing()
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        self.broker.kill(signal.SIGCONT)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        wait_for("everybody to let go", self.all_back)
        left = [body.split(":")[0] for body in self.queue.take_all()]
        self.assertEqual(sorted(self.record.ended() + left), sorted(f"j{n}" for n in range(20)))
        self.assertEqual(self.record.begun_twice(), [])

    def test_the_queue_is_deleted_in_the_middle(self):
        worker = self.start_growing()
        deleter = threading.Thread(target=self.queue.channel.queue_delete, args=(self.queue.name,))
        deleter.start()
        self.broker.kill(signal.SIGCONT)
        deleter.join(60 * patience())
        lost = {"cancelled by the broker", "closed by the broker"}
        wait_for("the loss", lambda: lost & {to for _, to in self.moves(worker)})
        self.queue.channel.queue_declare(self.queue.name, durable=True)
        self.queue.publish(["k"])
        self.open_gate()
        wait_for("the job of the new queue", lambda: "k" in self.record.ended())
        # Those of the old one have nobody to be acknowledged to: what a drain finds of them, it reports.
        wait_for("the old jobs", lambda: len(worker.events("job settled")) == len(self.record.begun()))
        self.assertEqual(worker.stop()[0], 0)


class RedisGrows(GrowCases, RedisCase):
    def test_fewer_at_once_claim_fewer(self):
        worker = self.start_reloadable(concurrency=16)
        self.reload_with(worker, concurrency=2)
        self.publish_gated()
        self.record.wait_begun(2)
        self.assertLessEqual(self.queue.claimed(), 4)
        self.open_gate()
        self.assert_all_done(worker)
        self.assertEqual(self.most_at_once(), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
