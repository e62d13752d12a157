"""What a run leaves for the next one, and what becomes of jobs that crash their handler: on both
brokers, through retries, interruptions and brokers that will not have it."""

import base64
import json
import signal
import time
import unittest
from pathlib import Path

from brokers import RabbitMQ, RabbitQueue, patience
from relay import Relay
from worker import RabbitCase, RedisCase, WorkerCase, children_of, wait_for

HANDLER = Path(__file__).parent / "handlers" / "script_handler.py"
TIGHT = 'timeout = "3s"  reserve = "1500ms"  grace = "300ms"'


class ScriptedCase:
    """Jobs whose bodies say what each of their runs does."""

    def start_scripted(self, deadline="interrupt", retry="", url=None, admin="", **options):
        handler = self.exec_handler(
            command=["/usr/bin/python3", "-S", str(HANDLER), str(self.record.path)],
            extra=f'deadline = "{deadline}"',
        )
        retry = f'retry "default" {{ attempts = 5  first = "20ms"  max = "50ms"  {retry} }}\n'
        return self.start(self.config(self.queue.section(url=url), handler, retry, admin, **options))

    def interrupt(self, worker=None, saved=1, **options):
        """Stopped once so many checkpoints were written; its jobs are, too, and at once."""
        worker = worker or self.start_scripted(deadline="return", **options)
        wait_for("what it leaves", lambda: self.record._of("saved")[saved - 1 :])
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        return seconds

    def finish(self, *tags, **options):
        worker = self.start_scripted(**options)
        wait_for("their end", lambda: set(tags) <= set(self.record.ended()))
        self.assertEqual(worker.stop()[0], 0)
        return worker

    def handed(self, tag):
        return [run["checkpoint"] for run in self.record.runs(tag)]

    def counted(self, tag, *names):
        return [tuple(int(run[name]) for name in names) for run in self.record.runs(tag)]

    def told(self, tag):
        """What descriptor 3 said, run by run."""
        path = Path(f"{self.record.path}.{tag}")
        return [json.loads(line) for line in path.read_bytes().splitlines()]


class CheckpointCases(ScriptedCase):
    """Hold for both sources."""

    def test_the_next_worker_goes_on_where_the_last_was_interrupted(self):
        self.queue.publish(["j1|save=page-2 save=page-3 hang|"])
        worker = self.start_scripted(deadline="interrupt", drain=TIGHT)
        seconds = self.interrupt(worker, saved=2)
        self.assertGreater(seconds, 1)
        self.assertLess(seconds, 3.2 if patience() == 1 else 3 + 2 * patience())
        [entry] = worker.report()["jobs"]
        self.assertEqual((entry["fate"], entry["duplicate_possible"]), ("returned", True))
        self.finish("j1")
        self.assertEqual(self.handed("j1"), ["-", "page-3"])
        second = self.record.runs("j1")[1]
        self.assertEqual(
            (second["attempt"], second["interruptions"], second["redelivered"]), ("1", "1", "1")
        )
        self.assert_nothing_left()

    def test_an_interrupted_run_that_leaves_nothing_keeps_the_last(self):
        self.queue.publish(["j1|save=a hang|save=a hang|save=b exit=1|"])
        self.interrupt()
        self.interrupt(saved=2)
        self.finish("j1")
        self.assertEqual(self.handed("j1"), ["-", "a", "a", "b"])
        self.assertEqual(
            self.counted("j1", "attempt", "interruptions"), [(1, 0), (1, 1), (1, 2), (2, 2)]
        )

    def test_it_is_carried_through_retries(self):
        self.queue.publish(["j1|save=a exit=75|exit=1|save=b exit=1|"])
        self.finish("j1")
        self.assertEqual(self.handed("j1"), ["-", "a", "a", "b"])
        self.assertEqual(self.counted("j1", "attempt"), [(1,), (2,), (3,), (4,)])
        self.assert_nothing_left()

    def test_an_empty_one_forgets_it(self):
        self.queue.publish(["j1|save=a exit=1|save= exit=1|"])
        self.finish("j1")
        self.assertEqual(self.handed("j1"), ["-", "a", "-"])

    def test_one_that_is_too_large_is_refused_and_the_last_stands(self):
        self.queue.publish(["j1|save=0123456789 save=0123456789x exit=1|"])
        self.finish("j1", worker='max_checkpoint = "10"')
        self.assertEqual(self.handed("j1"), ["-", "0123456789"])

    def test_any_bytes(self):
        encoded = base64.b64encode(bytes(range(256))).decode()
        self.queue.publish([f"j1|save64={encoded} exit=1|save64={encoded} hang|"])
        self.interrupt(saved=2)
        self.finish("j1")
        for run in self.told("j1")[1:]:
            self.assertEqual(run["checkpoint_base64"], encoded)

    def test_as_large_as_allowed(self):
        self.queue.publish(["j1|large=65536 hang|large=65536 exit=1|"])
        self.interrupt()
        self.finish("j1")
        self.assertEqual(self.handed("j1"), ["-", "65536", "65536"])

    def test_many_at_once(self):
        tags = [f"j{n}" for n in range(12)]
        self.queue.publish([f"{tag}|save={tag} hang|" for tag in tags])
        self.interrupt(saved=12, concurrency=12)
        self.finish(*tags, concurrency=12)
        for tag in tags:
            self.assertEqual(self.handed(tag), ["-", tag])
        self.assertEqual(self.record.ended_twice(), [])


class PoisonCases(ScriptedCase):
    def test_dead_after_so_many_crashes_and_nobody_else_is_blamed(self):
        neighbours = [f"n{n}" for n in range(6)]
        self.queue.publish(["j1|crash", *(f"{tag}|" for tag in neighbours)])
        worker = self.start_scripted(retry="crashes = 2", concurrency=2)
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        wait_for("the others", lambda: set(neighbours) <= set(self.record.ended()))
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.counted("j1", "attempt", "crashes"), [(1, 0), (2, 1)])
        for tag in neighbours:
            self.assertEqual(self.counted(tag, "attempt", "crashes"), [(1, 0)])
        self.assertIn("crashed 2 times", self.why_dead())
        self.assertIn("crashed 2 times", worker.log_text())

    def test_failures_between_crashes_do_not_hide_them(self):
        self.queue.publish(["j1|crash|exit=1|crash|"])
        worker = self.start_scripted(retry="crashes = 2")
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.counted("j1", "attempt", "crashes"), [(1, 0), (2, 1), (3, 1)])

    def test_an_interruption_is_no_crash(self):
        """Killed by our SIGTERM, with one crash behind it and none to spare."""
        self.queue.publish(["j1|save=a crash|save=b hang|"])
        self.interrupt(saved=2, retry="crashes = 2")
        self.finish("j1", retry="crashes = 2")
        self.assertEqual(
            self.counted("j1", "attempt", "interruptions", "crashes"),
            [(1, 0, 0), (2, 0, 1), (2, 1, 1)],
        )
        self.assertEqual(self.handed("j1"), ["-", "a", "b"])


class RabbitCheckpoints(CheckpointCases, PoisonCases, RabbitCase):
    def assert_nothing_left(self):
        self.assertEqual(self.queue.depth(), 0)

    def why_dead(self):
        [(_, properties)] = self.queue._take(self.queue.dead_name)
        self.assertEqual(properties.headers["x-outfall-crashes"], 2)
        return properties.headers["x-outfall-reason"]

    def test_a_dead_letter_keeps_it(self):
        self.queue.publish(["j1|save=page-3 exit=65"])
        worker = self.start_scripted()
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.assertEqual(worker.stop()[0], 0)
        [(_, properties)] = self.queue._take(self.queue.dead_name)
        self.assertEqual(properties.headers["x-outfall-checkpoint"], "page-3")

    def test_headers_and_properties_are_told(self):
        self.queue.publish(
            ["j1|save=a exit=1|"], message_id="id-7", content_type="text/x", priority=3,
            expiration="100000", headers={"n": 7, "deep": {"list": [1, "two", None, True]}},
        )  # fmt: skip
        self.finish("j1")
        first, second = self.told("j1")
        self.assertEqual(
            first["properties"],
            {"content_type": "text/x", "delivery_mode": 2, "priority": 3, "message_id": "id-7",
             "expiration": "100000"},
        )  # fmt: skip
        self.assertEqual(first["headers"], {"n": 7, "deep": {"list": [1, "two", None, True]}})
        self.assertEqual(second["id"], "id-7")
        self.assertNotIn("x-outfall-attempt", second["headers"])
        self.assertEqual(second["headers"]["n"], 7)

    def test_where_it_does_not_fit_the_job_goes_without(self):
        """Properties and headers have one frame, 128 KiB."""
        headers = {"large": "x" * 80000}
        self.queue.publish(["j1|large=60000 hang|large=60000 exit=1|"], headers=headers)
        self.interrupt()
        [event] = self.workers[0].events("job goes back without its new checkpoint")
        self.assertIn("do not fit", event["why"])
        worker = self.finish("j1")
        [event] = worker.events("checkpoint left out, it does not fit into the message")
        self.assertEqual(event["bytes"], 60000)
        self.assertEqual(self.handed("j1"), ["-", "-", "-"])
        self.assertEqual(self.counted("j1", "attempt", "interruptions"), [(1, 0), (1, 1), (2, 1)])

    def test_what_goes_back_does_not_come_to_the_one_that_stops(self):
        """It is published on another connection, which may be faster than basic.cancel on ours."""
        self.queue.publish(["j1|save=a exit=1|save=b hang|"])
        relay = Relay(self.broker.port)
        self.addCleanup(relay.close)
        url = self.queue.url().replace(f":{self.broker.port}/", f":{relay.port}/")
        worker = self.start_scripted("return", url=url)
        wait_for("what it leaves", lambda: self.record._of("saved")[1:])
        # Its copy may be back before the broker has confirmed that it is on disk.
        wait_for("the answer to its first delivery", lambda: self.queue.unacked() == 1)
        relay.hold_first()
        worker.send(signal.SIGTERM)
        worker.wait_event("drain moved")
        wait_for("its handler's end", lambda: not children_of(worker.pid))
        self.assertEqual((self.queue.depth(), self.queue.unacked()), (0, 1))
        relay.let_go()
        self.assertEqual(worker.wait_exit(), 10)
        self.assertEqual(worker.report()["fates"]["returned"], 1)
        self.finish("j1")
        self.assertEqual(self.counted("j1", "attempt", "interruptions"), [(1, 0), (2, 0), (2, 1)])

    def test_of_a_single_active_consumer_it_is_less_than_the_order(self):
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "ordered", {"x-single-active-consumer": True})
        self.addCleanup(self.queue.close)
        self.queue.publish(["j1|save=a hang|", *(f"j{n}|" for n in range(2, 9))])
        worker = self.start_scripted(deadline="return", concurrency=1)
        self.interrupt(worker)
        [event] = worker.events("job goes back without its new checkpoint, which would cost it its place")
        self.assertEqual((event["source"], event["queue"]), ("mq", "ordered"))
        self.finish(*(f"j{n}" for n in range(1, 9)), concurrency=1)
        self.assertEqual(self.record.begun(), ["j1", *(f"j{n}" for n in range(1, 9))])

    def test_without_a_publishing_connection_the_job_goes_back_at_once(self):
        self.queue.publish(["j1|save=a hang|"])
        drain = 'timeout = "8s"  reserve = "6s"  grace = "300ms"'
        worker = self.start_scripted("return", drain=drain)
        wait_for("what it leaves", lambda: self.record._of("saved"))
        # The worker's connection and ours; nobody else may come.
        self.broker.ctl("set_vhost_limits", "-p", self.queue.vhost, '{"max-connections": 2}')
        code, seconds = worker.stop()
        self.broker.ctl("clear_vhost_limits", "-p", self.queue.vhost)
        self.assertEqual(code, 10)
        self.figure(f"given up after 1 s: exit after {seconds:.1f} s of 8")
        self.assertGreater(seconds, 0.9)
        self.assertLess(seconds, 4 * patience())
        [event] = worker.events("job goes back without its new checkpoint")
        self.assertIn("in time", event["why"])
        self.assertEqual(self.queue.depth(), 1)
        self.finish("j1")
        self.assertEqual(self.handed("j1"), ["-", "-"])


class QuorumCheckpoints(CheckpointCases, RabbitCase):
    """A limit of deliveries in the queue, which a job that leaves checkpoints does not run into."""

    def setUp(self):
        super().setUp()
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 1}
        self.queue.close()
        self.queue = RabbitQueue(self.broker, self.queue.vhost, "q", arguments)
        self.addCleanup(self.queue.close)

    def assert_nothing_left(self):
        wait_for("an empty queue", lambda: self.queue.depth() == 0)


class RedisCheckpoints(CheckpointCases, PoisonCases, RedisCase):
    def assert_nothing_left(self):
        left = {key.decode() for key in self.queue.client.keys()}
        self.assertEqual(left, {"{jobs}:seq"})

    def why_dead(self):
        return json.loads(self.queue.client.lindex("{jobs}:dead:notes", 0))["reason"]


class RabbitAlarm(ScriptedCase, WorkerCase):
    """A broker of its own, because an alarm is for everybody."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = RabbitMQ()
        cls.addClassCleanup(cls.broker.stop)

    def test_publishing_is_blocked_while_a_job_goes_back(self):
        self.queue = RabbitQueue(self.broker, *self.broker.vhosts(1))
        self.addCleanup(self.queue.close)
        tags = ["j1", "j2", "j3"]
        self.queue.publish([f"{tag}|save=a hang|" for tag in tags])
        worker = self.start_scripted(drain=TIGHT)
        wait_for("what they leave", lambda: self.record._of("saved")[2:])
        self.broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        begun = time.monotonic()
        worker.send(signal.SIGTERM)
        code = worker.wait_exit()
        seconds = time.monotonic() - begun
        self.broker.ctl("set_vm_memory_high_watermark", "0.6")
        self.figure(f"exit {code} after {seconds:.2f} s of 3")
        self.assertEqual(code, 10)
        self.assertLess(seconds, 3.2 if patience() == 1 else 3 + 2 * patience())
        self.finish(*tags)

    def test_it_can_be_seen(self):
        self.queue = RabbitQueue(self.broker, *self.broker.vhosts(1))
        self.addCleanup(self.queue.close)
        # The broker says so to those who publish meanwhile; there is enough to retry.
        self.queue.publish([f"j{n}|exit=1|" for n in range(2000)])
        socket = self.directory / "a.sock"
        worker = self.start_scripted(admin=f'admin {{ socket = "{socket}" }}\n', concurrency=2)

        def blocked():
            done = self.run_outfall("ctl", "-s", socket, "status", "--json")
            return done.returncode == 0 and json.loads(done.stdout)["sources"][0]["blocked"]

        wait_for("a copy to be published", lambda: worker.events("job settled"))
        self.assertFalse(blocked())
        self.broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        self.addCleanup(self.broker.ctl, "set_vm_memory_high_watermark", "0.6")
        self.queue.connection.close()  # it would be blocked as well
        wait_for("it to be seen", blocked)
        self.assertIn("publishing blocked", self.run_outfall("ctl", "-s", socket, "status").stdout)
        self.broker.ctl("set_vm_memory_high_watermark", "0.6")
        wait_for("its end", lambda: not blocked())
        self.assertIn(worker.stop()[0], (0, 10))


if __name__ == "__main__":
    unittest.main(verbosity=2)
