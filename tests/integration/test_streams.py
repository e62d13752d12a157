"""A stream is no queue of jobs: what is read from it stays in it, and whoever subscribes begins at its end.
It is refused with the reason, on each version of the broker and at each moment that it may turn up."""

import signal
import unittest

from worker import RabbitCase

STREAM = {"x-queue-type": "stream"}
REASON = 'queue "{}": is a stream, which is no job queue'


class Streams(RabbitCase):
    def make(self, name, arguments=STREAM):
        self.queue.channel.queue_delete(name)
        self.queue.channel.queue_declare(name, durable=True, arguments=arguments)

    def beside(self, name):
        """The section with another queue in it."""
        text = self.queue.section().rstrip().rstrip("}")
        return text + f'  queue "{name}" {{ handler = "h" }}\n}}\n'

    def refusal(self, worker, name, count=1):
        line = worker.wait_event("channel closed by the broker, reopening", count)
        self.assertIn(REASON.format(name), line["why"])

    def test_refused_at_the_start(self):
        self.make("events")
        self.queue.publish(["a"])
        worker = self.start(self.config(self.queue.section(name="events", dead=False)))
        self.assertEqual(worker.wait_exit(), 69)
        [line] = worker.events("broker refused for good, stopping")
        self.assertIn(REASON.format("events"), line["why"])
        self.assertEqual(self.record.begun(), [])

    def test_one_that_comes_with_a_reload_disturbs_nobody(self):
        self.make("events")
        worker = self.start(self.config(self.queue.section()))
        worker.wait_event("consumer started")
        worker.config_path.write_text(self.config(self.beside("events")).replace(
            "@REPORT@", str(worker.report_path)))  # fmt: skip
        worker.send(signal.SIGHUP)
        self.refusal(worker, "events")
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        self.assertEqual(len(worker.events("rabbitmq connected")), 1)
        self.make("events", {})  # and another queue by that name is consumed
        self.assertEqual(worker.wait_event("consumer started", 2)["queue"], "events")
        self.assertEqual(worker.stop()[0], 0)

    def test_a_queue_that_is_made_again_as_one(self):
        self.make("events", {})
        worker = self.start(self.config(self.beside("events")))
        worker.wait_event("consumer started", 2)
        self.make("events")
        self.refusal(worker, "events")
        self.queue.channel.basic_publish("", "events", "lost, if it were taken")
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        self.assertEqual(self.record.begun(), ["a"])
        self.assertEqual(worker.stop()[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
