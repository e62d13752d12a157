"""The worker with a kind of source that the project does not have (tests/kinds): a folder and a line. It is checked,
run, drained and reloaded like the two that it has, and needs no broker."""

import collections
import signal
import unittest

import worker
from worker import WorkerCase

worker.OUTFALL = worker.BUILD / "tests" / "kinds" / "outfall_memory"


def section(*boxes, name="m"):
    return f'memory "{name}" {{ url = "unix:///nowhere"\n' + "".join(boxes) + "}\n"


def box(name, jobs, extra=""):
    bodies = ", ".join(f'"{body}"' for body in jobs)
    return f'box "{name}" {{ handler = "h"  jobs = {{{bodies}}}  {extra} }}\n'


class ThirdKind(WorkerCase):
    def left(self, started):
        return started.events("box left")[-1]

    def fates(self, started):
        return collections.Counter(event["fate"] for event in started.events("job settled"))

    def test_runs_what_is_there_and_drains(self):
        jobs = [f"j{i}" for i in range(20)]
        started = self.start(self.config(section(box("emails", jobs))))
        self.record.wait_ended(20)
        started.send(signal.SIGTERM)
        self.assertEqual(started.wait_exit(), 0)
        self.assertEqual(sorted(self.record.ended()), sorted(jobs))
        self.assertEqual(self.fates(started), {"done": 20})

    def test_given_back_unbegun_is_no_attempt(self):
        """One runs, the others wait here: they go back in their order, and nothing of them is counted."""
        jobs = [f"a:gate:{self.gate()}", "b", "c"]
        started = self.start(self.config(section(box("emails", jobs)), concurrency=1))
        self.record.wait_begun(1)
        started.send(signal.SIGTERM)
        started.wait_event("draining")
        self.open_gate()
        self.assertEqual(started.wait_exit(), 0)
        self.assertEqual(self.record.begun(), ["a"])
        fates = self.fates(started)
        self.assertEqual((fates["done"], fates["retried"], fates["dead"]), (1, 0, 0))
        self.assertEqual(self.left(started)["waiting"], 2)

    def test_a_failure_is_retried_then_dead(self):
        retry = 'retry "default" { attempts = 3  first = "10ms"  max = "20ms" }\n'
        handler = self.exec_handler(command=["/bin/sh", "-c", f"echo begin x >> {self.record.path}; exit 1"])
        started = self.start(self.config(section(box("emails", ["x"])), handler, retry))
        self.record.wait_begun(3)
        started.wait_event("job settled", count=3)
        started.send(signal.SIGTERM)
        self.assertEqual(started.wait_exit(), 0)
        self.assertEqual(self.fates(started), {"retried": 2, "dead": 1})
        self.assertEqual(self.left(started)["dead"], 1)

    def test_a_box_comes_with_a_reload_and_another_goes(self):
        first = box("emails", ["a"])
        started = self.start(self.config(section(first)))
        self.record.wait_ended(1)
        config = self.config(section(box("invoices", ["b", "c"])))
        started.config_path.write_text(config.replace("@REPORT@", str(started.report_path)))
        started.send(signal.SIGHUP)
        self.record.wait_ended(3)
        changed = sorted(event["what"] for event in started.events("setting changed"))
        self.assertEqual(changed, ['memory "m" box "emails" (removed)', 'memory "m" box "invoices" (added)'])
        started.wait_event("box left")
        started.send(signal.SIGTERM)
        self.assertEqual(started.wait_exit(), 0)
        self.assertEqual(sorted(self.record.ended()), ["a", "b", "c"])

    def test_is_checked_like_the_others(self):
        path = self.directory / "bad.conf"
        path.write_text(
            'memory "m" { url = "redis://h"  ca_file = "x"  box "b" { }  queue "q" { } }\n'
            'memory "n" { url = "unix:///x"\n boxs "b" { } }\n'
        )
        found = self.run_outfall("check", "-c", path)
        self.assertEqual(found.returncode, 78)
        for words in (
            "url: a memory section needs a unix:// address",
            'box "b" has no handler: handler = "name"',
            "unknown section queue in section memory: it belongs in a section rabbitmq",
            "unknown section boxs in section memory: did you mean box?",
            'memory "n" has no box: nothing will be taken from it',
        ):
            self.assertIn(words, found.stderr)

    def test_says_that_its_jobs_have_no_headers(self):
        path = self.directory / "some.conf"
        path.write_text(section(box("emails", ["a"])))
        sent = self.run_outfall("enqueue", "-c", path, "-b", "x", "-H", "a=b", "m/emails")
        self.assertEqual(sent.returncode, 64)
        self.assertIn("--header: jobs of a memory box have none", sent.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
