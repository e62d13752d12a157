"""What a handler's end means: done, retried with attempts and backoff, dead; for exit codes, signals,
timeouts and plugin outcomes, on both brokers."""

import json
import time
import unittest

from brokers import RabbitQueue, RabbitUser
from worker import PENDING, PLUGIN, RabbitCase, RedisCase, wait_for

RETRY = 'retry "default" { attempts = 3  backoff = "exponential"  first = "100ms"  max = "1s"  jitter = 0 }\n'


class OutcomeCases:
    def start_retrying(self, *sections, retry=RETRY, **options):
        return self.start(self.config(self.queue.section(), retry, *sections, **options))

    def stop_clean(self, worker):
        self.assertEqual(worker.stop()[0], 0)

    def dead(self, worker):
        return [e for e in worker.events("job settled") if e["fate"] == "dead"]

    def dead_to(self, worker):
        return {event["dead_to"] for event in self.dead(worker)}

    def wait_dead_logged(self, worker, count):
        wait_for(f"{count} to be dead", lambda: len(self.dead(worker)) == count)

    def test_why_it_failed_travels_with_the_job(self):
        message = "the payment provider answered 402: " + "x" * 200
        said = {"class": "ValueError", "message": message, "backtrace": ["a.py:1", "b.py:2"]}
        line = json.dumps({"error": said}).encode() + b"\n"
        program = self.directory / "fails.py"
        program.write_text(f"import os\nos.write(4, {line!r})\nos._exit(1)\n")
        handler = f'handler "h" {{ type = "exec"  command = {{"/usr/bin/python3", "{program}"}} }}\n'
        self.queue.publish(["a"])
        worker = self.start(self.config(self.queue.section(), handler, 'retry "default" { attempts = 2  first = "20ms" }\n'))
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)
        self.assertEqual(self.error_of_dead(), ("ValueError", message, "a.py:1\nb.py:2"))
        [event] = self.dead(worker)
        self.assertEqual((event["error"], event["reason"]), ("ValueError", message))

    def test_why_a_plugin_failed_travels_with_the_job(self):
        """From a thread, from a pending job and from a process of its own."""
        message = "no page 7 \u00e9 \"" + "x" * 200
        for path, extra in ((PLUGIN, ""), (PENDING, ""), (PLUGIN, 'isolate = "true"'), (PENDING, 'isolate = "true"')):
            self.queue.publish([f"a:error:{message}"])
            handler = self.plugin_handler(path=path, extra=extra)
            worker = self.start(self.config(self.queue.section(), handler, 'retry "default" { attempts = 2  first = "20ms" }\n'))
            wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
            self.stop_clean(worker)
            self.assertEqual(self.error_of_dead(), ("std::out_of_range", message, "a.c:1\nb.c:2"))
            self.queue.take_dead()
            [event] = self.dead(worker)
            self.assertEqual((event["error"], event["reason"]), ("std::out_of_range", message))

    def attempts(self, tag):
        return [int(run["attempt"]) for run in self.record.runs(tag)]

    def test_facts_in_the_environment(self):
        self.queue.publish(["a:done"])
        worker = self.start(
            self.config(self.queue.section(), self.exec_handler(extra='timeout = "7s"'))
        )
        self.record.wait_ended(1)
        run = self.record.runs("a")[0]
        self.assertEqual(run["attempt"], "1")
        self.assertEqual(run["interruptions"], "0")
        self.assertEqual(run["redelivered"], "0")
        self.assertEqual(run["queue"], self.queue.name)
        self.assertEqual(run["source"], self.queue.source)
        self.assertEqual(run["timeout"], "7000")
        self.assertEqual(run["bytes"], "6")
        self.assertNotIn(run["id"], ("", "-"))
        self.stop_clean(worker)

    def test_retry_until_it_works(self):
        self.queue.publish(["a:fail-until:3"])
        worker = self.start_retrying()
        self.record.wait_ended(1)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("a"), [1, 2, 3])
        self.assertEqual(self.queue.take_all(), [])
        self.assertEqual(self.queue.take_dead(), [])

    def test_backoff_is_kept(self):
        """Attempts come no sooner than the policy says: 100 ms, then 200 ms, none of it random."""
        self.queue.publish(["a:exit:1"])
        worker = self.start_retrying()
        self.record.wait_begun(3)
        moments = [int(run["at_ms"]) for run in self.record.runs("a")]
        waits = [after - before for before, after in zip(moments, moments[1:])]
        self.figure(f"asked for 100 and 200 ms, waited {waits[0]} and {waits[1]} ms")
        self.assertGreaterEqual(waits[0], 100)
        self.assertGreaterEqual(waits[1], 200)
        self.stop_clean(worker)

    def test_a_rate_makes_jobs_wait(self):
        self.queue.publish([f"r{n}" for n in range(11)])
        begun = time.monotonic()
        worker = self.start(self.config(self.queue.section(extra='rate = "10/s"')))
        self.record.wait_ended(11)
        took = time.monotonic() - begun
        self.figure(f"11 jobs at 10/s took {took:.2f} s")
        self.assertGreaterEqual(took, 1.0)  # ten intervals of 100 ms
        self.stop_clean(worker)

    def test_attempts_used_up_is_dead(self):
        self.queue.publish(["a:exit:75", "b:exit:1"])
        worker = self.start_retrying()
        wait_for("both to be dead", lambda: self.queue.dead_depth() == 2)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("a"), [1, 2, 3])
        self.assertEqual(self.attempts("b"), [1, 2, 3])
        self.assertCountEqual(self.queue.take_dead(), ["a:exit:75", "b:exit:1"])
        self.assertEqual(self.queue.take_all(), [])

    def test_65_is_dead_at_once(self):
        self.queue.publish(["a:exit:65"])
        worker = self.start_retrying()
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("a"), [1])
        self.assertEqual(self.queue.take_dead(), ["a:exit:65"])

    def test_killed_by_a_signal_is_retried(self):
        self.queue.publish(["a:kill:9", "b:kill:11"])
        worker = self.start_retrying()
        wait_for("both to be dead", lambda: self.queue.dead_depth() == 2)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("a"), [1, 2, 3])
        self.assertIn("signal", worker.log_text())

    def test_timeout_ends_a_run_and_counts(self):
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_retrying(
            self.exec_handler(extra='timeout = "200ms"'), drain='timeout = "30s" grace = "200ms"'
        )
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("a"), [1, 2, 3])
        self.assertEqual({e["reason"] for e in worker.events("job settled")}, {"timed out: timeout = 200ms"})
        self.assertEqual(self.why_dead(), "timed out: timeout = 200ms")

    def test_timeout_kills_a_deaf_handler(self):
        self.queue.publish([f"a:deaf:{self.gate()}"])
        worker = self.start_retrying(
            self.exec_handler(extra='timeout = "200ms"'),
            retry='retry "default" { attempts = 1 }\n',
            drain='timeout = "30s" grace = "200ms"',
        )
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)

    def test_plugin_outcomes(self):
        self.queue.publish(["a:done", "b:retry", "c:reject"])
        worker = self.start_retrying(self.plugin_handler())
        wait_for("two dead", lambda: self.queue.dead_depth() == 2)
        self.record.wait_ended(1)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("a"), [1])
        self.assertEqual(self.attempts("b"), [1, 2, 3])
        self.assertEqual(self.attempts("c"), [1])
        self.assertCountEqual(self.queue.take_dead(), ["b:retry", "c:reject"])

    def test_an_interruption_is_not_an_attempt(self):
        """Interrupted twice, then failing for good: three attempts all the same."""
        self.queue.publish([f"a:gate:{self.gate()}"])
        for _ in range(2):
            before = len(self.record.begun())
            worker = self.start_retrying(drain='timeout = "1s" reserve = "300ms" grace = "200ms"')
            self.record.wait_begun(before + 1)
            self.assertEqual(worker.stop()[0], 10)
        worker = self.start_retrying(
            self.exec_handler(extra='timeout = "200ms"'), drain='timeout = "30s" grace = "100ms"'
        )
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)
        runs = self.record.runs("a")
        self.assertEqual([int(r["attempt"]) for r in runs], [1, 1, 1, 2, 3])
        counted = [int(r["interruptions"]) for r in runs]
        if self.interruptions_are_exact:
            self.assertEqual(counted, [0, 1, 2, 2, 2])
        else:
            self.assertEqual(counted[:2], [0, 1])
            self.assertEqual(counted, sorted(counted), "they never become fewer")

    def test_waiting_retries_survive_the_worker(self):
        """A retry waits at the broker, not in the worker."""
        self.queue.publish(["a:fail-until:2"])
        policy = 'retry "default" { attempts = 3  backoff = "constant"  first = "700ms"  jitter = 0 }\n'
        worker = self.start_retrying(retry=policy)
        self.record.wait_begun(1)
        self.stop_clean(worker)
        self.assertEqual(worker.report()["since_start"]["retried"], 1)
        worker = self.start_retrying(retry=policy)
        self.record.wait_ended(1)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("a"), [1, 2])

    def test_output_goes_to_the_log(self):
        self.queue.publish(["a:say:hello from the handler"])
        worker = self.start_retrying()
        self.record.wait_ended(1)
        wait_for("the line", lambda: "hello from the handler" in worker.log_text())
        self.stop_clean(worker)


class RabbitOutcomes(OutcomeCases, RabbitCase):
    def why_dead(self):
        [(_, properties)] = self.queue._take(self.queue.dead_name)
        return properties.headers["x-outfall-reason"]

    def test_properties_travel_with_a_retry(self):
        self.queue.publish(
            ["a:exit:1"], message_id="id-7", content_type="text/x", headers={"k": "v"}, priority=3
        )
        worker = self.start_retrying()
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)
        self.assertEqual({run["id"] for run in self.record.runs("a")}, {"id-7"})
        [(body, properties)] = self.queue._take(self.queue.dead_name)
        self.assertEqual(body, b"a:exit:1")
        self.assertEqual(properties.message_id, "id-7")
        self.assertEqual(properties.content_type, "text/x")
        self.assertEqual(properties.priority, 3)
        self.assertEqual(properties.headers["k"], "v")

    def test_the_queues_own_dead_letter_exchange(self):
        """Without `dead`: reject, for the queue's own DLX."""
        dlx = RabbitQueue(
            self.broker, self.queue.vhost, "own",
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "own.dead"},
        )  # fmt: skip
        self.addCleanup(dlx.close)
        dlx.publish(["a:exit:65", "b:exit:1"])
        worker = self.start(self.config(dlx.section(dead=False, extra='dlx = "true"'), RETRY))
        wait_for("both to be dead", lambda: dlx.dead_depth() == 2)
        self.assertEqual(self.dead_to(worker), {"the dead letter exchange of its queue"})
        self.assertNotIn("dead jobs are lost", worker.log_text())
        self.stop_clean(worker)
        self.assertEqual(self.attempts("b"), [1, 2, 3])
        self.assertCountEqual(dlx.take_dead(), ["a:exit:65", "b:exit:1"])

    def move_dead_back(self, queue):
        """As a shovel does: with all that the message has got."""
        for body, properties in queue._take(queue.dead_name):
            self.queue.channel.basic_publish("", queue.name, body, properties)

    def assert_starts_over(self, queue, how):
        queue.publish(["a:exit:1"])
        worker = self.start(self.config(queue.section(**how), RETRY))
        wait_for("it to be dead", lambda: queue.dead_depth() == 1)
        self.move_dead_back(queue)
        wait_for("it to be dead again", lambda: queue.dead_depth() == 1)
        self.stop_clean(worker)
        self.assertEqual(self.attempts("a"), [1, 2, 3, 1, 2, 3])

    def test_a_dead_letter_that_is_moved_back_starts_over(self):
        self.assert_starts_over(self.queue, {})

    def test_what_was_rejected_and_is_moved_back_starts_over(self):
        dlx = RabbitQueue(
            self.broker, self.queue.vhost, "own",
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "own.dead"},
        )  # fmt: skip
        self.addCleanup(dlx.close)
        self.assert_starts_over(dlx, {"dead": False, "extra": 'dlx = "true"'})

    def test_many_retries_at_once(self):
        """Each retry is published and confirmed before the original is acknowledged."""
        self.queue.publish([f"j{n}:fail-until:2" for n in range(200)])
        worker = self.start_retrying(concurrency=8)
        self.record.wait_ended(200, 60)
        self.stop_clean(worker)
        self.assertEqual(len(self.record.begun()), 400)
        self.assertEqual(self.record.ended_twice(), [])

    def test_quorum_queue(self):
        quorum = RabbitQueue(self.broker, self.queue.vhost, "q", {"x-queue-type": "quorum"})
        self.addCleanup(quorum.close)
        quorum.publish([f"j{n}" for n in range(50)] + ["r:fail-until:2"])
        worker = self.start(self.config(quorum.section(extra='declare = "quorum"'), RETRY))
        self.record.wait_ended(51)
        self.stop_clean(worker)
        self.assertEqual(self.record.ended_twice(), [])

    def test_durable_declares_what_is_not_there(self):
        fresh = RabbitQueue(self.broker, self.queue.vhost, "fresh", declare=False)
        self.addCleanup(fresh.close)
        worker = self.start(self.config(fresh.section(dead=False, extra='declare = "durable"')))
        self.wait_for_queue("fresh")
        for body in ("a", "b:exit:65"):
            self.queue.channel.basic_publish("", "fresh", body)
        self.record.wait_ended(1)
        wait_for("the other to be dead", lambda: fresh.dead_depth() == 1)
        self.stop_clean(worker)
        self.assertEqual(self.dead_to(worker), {"fresh.dead"})

    def test_dead_jobs_that_nobody_keeps_are_warned_of(self):
        worker = self.start(self.config(self.queue.section(dead=False), RETRY))
        self.queue.publish(["a:exit:65"])
        self.wait_dead_logged(worker, 1)
        self.stop_clean(worker)
        self.assertIn("its dead jobs are lost unless it has a dead letter exchange", worker.log_text())
        self.assertEqual(self.dead_to(worker), {"lost, unless its queue has a dead letter exchange"})

    def wait_for_queue(self, name):
        def there():
            with self.broker.connect(self.queue.vhost) as connection:
                try:
                    return connection.channel().queue_declare(name, passive=True)
                except Exception:
                    return None

        wait_for(f"queue {name}", there)


    def test_with_no_rights_but_those_it_takes(self):
        """As worker/sources/README.md has them."""
        write = r"^(amq\.default|jobs\.dead)$" if self.broker.version >= (4, 3) else r"^amq\.default$"
        user = RabbitUser(self, configure=r"^jobs\.retry\.", write=write, read=r"^jobs($|\.retry\.)")
        worker = self.start(self.config(self.queue.section(url=user.url())))
        self.queue.publish(["a", "b:exit:65", "c:fail-until:2"])
        self.record.wait_ended(2)
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        done = self.run_outfall("enqueue", "-c", worker.config_path, f"mq/{self.queue.name}", "--body", "d")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.record.wait_ended(3)
        self.assertEqual(worker.stop()[0], 0)


    def error_of_dead(self):
        self.queue.connection.process_data_events()
        _, properties, _ = self.queue.channel.basic_get(self.queue.dead_name, auto_ack=True)
        headers = properties.headers
        return headers["x-outfall-error-class"], headers["x-outfall-reason"], headers["x-outfall-backtrace"]


class RedisOutcomes(OutcomeCases, RedisCase):
    def error_of_dead(self):
        note = json.loads(self.queue.client.lindex("{jobs}:dead:notes", 0))
        self.assertEqual(note["reason"], note["error"]["message"])
        return note["error"]["class"], note["reason"], note["error"]["backtrace"]

    def test_where_dead_jobs_go(self):
        self.queue.publish(["a:exit:65"])
        worker = self.start(self.config(self.queue.section(dead=False), RETRY))
        self.wait_dead_logged(worker, 1)
        self.stop_clean(worker)
        self.assertEqual(self.dead_to(worker), {"{jobs}:dead"})

    def why_dead(self):
        return json.loads(self.queue.client.lindex("{jobs}:dead:notes", 0))["reason"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
