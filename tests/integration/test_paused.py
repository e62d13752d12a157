"""Handlers that cannot begin: a program that is gone, a service that refuses, a pool without a process.
No job is counted, healthier workers get them, and the handler begins again by itself."""

import json
import signal
import unittest
import urllib.error
import urllib.request

from brokers import RabbitQueue
from http_service import Service
from ports import free_port
from worker import HANDLER, RabbitCase, RedisCase, wait_for

ONCE = 'retry "default" { attempts = 1 }\n'  # whatever is counted kills
PAUSED = "handler paused, it cannot begin jobs; none is counted"
AGAIN = "handler begins jobs again, pause over"
LEFT = "queue left to other workers, its handler is paused"


class PausedCase:
    def setUp(self):
        super().setUp()
        self.program = self.directory / "program"
        self.program.write_text(f"#!/bin/sh\nexec {HANDLER} {self.record.path}\n")
        self.program.chmod(0o755)

    def start_exec(self):
        handler = self.exec_handler(command=[self.program])
        return self.start(self.config(self.queue.section(extra="prefetch = 10"), handler, ONCE))

    def start_sick(self, queue=None, more=""):
        """Its program is gone as soon as it consumes."""
        program = self.directory / f"sick{len(self.workers)}"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        section = (queue or self.queue).section(extra="prefetch = 10")
        worker = self.start(self.config(section, self.exec_handler(command=[program]), ONCE, more))
        worker.wait_event("consumer started" if self.queue.kind == "rabbitmq" else "redis connected")
        program.unlink()
        return worker

    def start_http(self, port):
        handler = f'handler "h" {{ type = "http"  url = "http://127.0.0.1:{port}/" }}\n'
        return self.start(self.config(self.queue.section(extra="prefetch = 10"), handler, ONCE))

    def break_program(self):
        self.program.chmod(0o644)

    def mend_program(self):
        self.program.chmod(0o755)

    def give_up(self, worker):
        """What it held is on the queue again, and it takes no more."""
        worker.wait_event(LEFT)
        wait_for("all to be back", lambda: self.settled_all_but(self.queue.depth()))

    def assert_first_attempts(self, count):
        runs = self.record.runs()
        self.assertEqual(len(runs), count)
        self.assertEqual({run["attempt"] for run in runs}, {"1"})
        self.assertEqual({run["interruptions"] for run in runs} if self.interruptions_are_exact else {"0"}, {"0"})

    def stop_clean(self, worker):
        code, seconds = worker.stop()
        self.assertEqual(code, 0, worker.log_text()[-2000:])
        return seconds


class PausedCases(PausedCase):
    """Hold for both sources."""

    def test_a_program_that_is_gone_fails_no_job(self):
        worker = self.start_exec()
        self.wait_consuming(worker)
        self.break_program()
        self.queue.publish([f"j{n}" for n in range(30)])
        paused = worker.wait_event(PAUSED)
        self.assertEqual(paused["handler"], "h")
        self.assertIn("Permission denied", paused["why"])
        self.mend_program()
        self.record.wait_ended(30)
        self.stop_clean(worker)
        self.assert_first_attempts(30)
        self.assertEqual(len(worker.events(PAUSED)), 1)  # not one for each job
        self.assertEqual(len(worker.events(AGAIN)), 1)
        self.assertEqual(worker.report()["since_start"]["dead"], 0)

    def test_others_get_what_it_holds(self):
        sick = self.start_sick()
        self.queue.publish([f"j{n}" for n in range(30)])
        sick.wait_event(PAUSED)
        well = self.start_exec()
        self.record.wait_ended(30)
        wait_for("all to be settled", lambda: self.settled_all_but(0))
        self.assert_first_attempts(30)
        self.assertEqual(len(sick.events(LEFT)), 1)
        self.stop_clean(well)
        self.stop_clean(sick)

    def test_it_takes_part_again(self):
        worker = self.start_exec()
        self.wait_consuming(worker)
        self.break_program()
        self.queue.publish([f"j{n}" for n in range(30)])
        self.give_up(worker)
        self.assertEqual(self.queue.depth(), 30)
        self.mend_program()
        self.record.wait_ended(30)
        self.stop_clean(worker)
        self.assert_first_attempts(30)
        self.assertEqual(len(worker.events(LEFT)), 1)

    def test_a_drain_does_not_wait_for_it(self):
        for when in (PAUSED, LEFT):
            with self.subTest(when):
                worker = self.start_sick()
                self.queue.publish([f"j{n}" for n in range(5)])
                worker.wait_event(when)
                self.assertLess(self.stop_clean(worker), 2)
                wait_for("all to be back", lambda: self.settled_all_but(5))
                self.assertEqual(len(self.queue.take_all()), 5)

    def test_a_service_that_refuses_fails_no_job(self):
        port = free_port()
        worker = self.start_http(port)
        self.wait_consuming(worker)
        self.queue.publish([f"j{n}" for n in range(20)])
        self.assertIn("onnect", worker.wait_event(PAUSED)["why"])
        service = Service(port)
        self.addCleanup(service.close)
        wait_for("all requests", lambda: len(service.requests()) == 20)
        wait_for("all to be settled", lambda: self.settled_all_but(0))
        self.stop_clean(worker)
        self.assertEqual({r.headers["Outfall-Attempt"] for r in service.requests()}, {"1"})
        self.assertEqual(self.queue.dead_depth(), 0)

    def test_a_pool_without_a_process_keeps_nothing(self):
        handler = self.pool_handler(words=[f"ready={self.gate()}"], extra='ready_timeout = "500ms"')
        sick = self.start(self.config(self.queue.section(extra="prefetch = 10"), handler, ONCE))
        sick.wait_event("handler not ready in time, its jobs will wait for it")
        self.queue.publish([f"j{n}" for n in range(30)])
        well = self.start_exec()
        self.record.wait_ended(30)
        wait_for("all to be settled", lambda: self.settled_all_but(0))
        self.stop_clean(well)
        self.open_gate()
        self.queue.publish([f"later{n}" for n in range(30)])
        self.record.wait_ended(60, 40)
        self.stop_clean(sick)
        self.assert_first_attempts(60)

    def test_it_is_not_ready_and_says_why(self):
        port = free_port()
        more = f'admin {{ http = "127.0.0.1:{port}"  socket = "{self.directory}/s" }}\n'
        worker = self.start_sick(more=more)

        def get(path):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as r:
                    return r.status, r.read().decode()
            except urllib.error.HTTPError as e:
                return e.code, e.read().decode()

        wait_for("readiness", lambda: get("/readyz")[0] == 200)
        self.queue.publish(["a"])
        worker.wait_event(LEFT)
        code, why = get("/readyz")
        self.assertEqual(code, 503)
        self.assertIn('handler \\"h\\" is paused: ', why)
        self.assertIn('outfall_handler_paused{handler="h"} 1', get("/metrics")[1])
        status = json.loads(get("/status")[1])
        self.assertIn("No such file", status["handlers"][0]["paused_because"])
        self.assertTrue(status["queues"][0]["suspended"])
        self.assertEqual(get("/livez")[0], 200)
        told = self.run_outfall("ctl", "-s", self.directory / "s", "status").stdout
        self.assertIn("No such file", told)
        self.stop_clean(worker)

    def test_quiet_and_back_while_paused(self):
        worker = self.start_exec()
        self.wait_consuming(worker)
        self.break_program()
        self.queue.publish([f"j{n}" for n in range(10)])
        worker.wait_event(PAUSED)
        worker.send(signal.SIGTSTP)
        wait_for("all to be back", lambda: self.settled_all_but(10))
        worker.send(signal.SIGCONT)
        self.give_up(worker)
        self.mend_program()
        self.record.wait_ended(10)
        self.stop_clean(worker)
        self.assert_first_attempts(10)


class Rabbit(PausedCases, RabbitCase):
    def test_a_pause_costs_a_delivery_limit_one_delivery(self):
        """A message of a quorum queue has so many; each trial with a job would cost one."""
        few = {"x-queue-type": "quorum", "x-delivery-limit": 2}
        queue = RabbitQueue(self.broker, self.queue.vhost, name="few", arguments=few)
        self.addCleanup(queue.close)
        handler = self.exec_handler(command=[self.program])
        worker = self.start(self.config(queue.section(extra="prefetch = 10"), handler, ONCE))
        wait_for("a consumer", lambda: queue.consumers() == 1)
        self.break_program()
        queue.publish([f"j{n}" for n in range(10)])
        worker.wait_event(LEFT)
        wait_for("all to be back", lambda: queue.depth() == 10)
        probes = lambda: [e for e in worker.events() if e["event"] == "handler still cannot begin jobs"]
        wait_for("some trials", lambda: len(probes()) >= 4, 40)
        self.mend_program()
        self.record.wait_ended(10, 60)
        self.assertEqual(queue.dead_depth(), 0)
        self.stop_clean(worker)

    def test_a_single_active_consumer_lets_the_next_one(self):
        """Which one is active is the broker's to say: the sick one must go for another to be it."""
        queue = RabbitQueue(self.broker, self.queue.vhost, name="one", arguments={"x-single-active-consumer": True})
        self.addCleanup(queue.close)
        sick = self.start_sick(queue)
        queue.publish([f"j{n}" for n in range(10)])
        sick.wait_event(PAUSED)
        well = self.start(self.config(queue.section(), self.exec_handler(), ONCE, concurrency=1))
        self.record.wait_ended(10)
        self.assertEqual(self.record.ended(), [f"j{n}" for n in range(10)])
        self.stop_clean(well)
        self.stop_clean(sick)


class Redis(PausedCases, RedisCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
