"""`outfall enqueue`: jobs arrive, confirmed, or the command says that they did not."""

import unittest

from worker import RabbitCase, RedisCase, wait_for


class EnqueueCases:
    def enqueue(self, *arguments, to=None, **options):
        path = self.directory / "outfall.conf"
        path.write_text(self.config(self.queue.section()).replace("@REPORT@", "/dev/null"))
        to = to or f"{self.queue.source}/{self.queue.name}"
        return self.run_outfall("enqueue", "-c", path, to, *arguments, **options)

    def assert_enqueued(self, *arguments, **options):
        done = self.enqueue(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_one(self):
        self.assert_enqueued("--body", "hello")
        self.assertEqual(self.queue.take_all(), ["hello"])

    def test_many(self):
        self.assert_enqueued("--body", "x", "--count", "5000")
        self.assertEqual(self.queue.take_all(), ["x"] * 5000)

    def test_from_a_file(self):
        path = self.directory / "body"
        path.write_bytes(b"a\x00b\n")
        self.assert_enqueued("--body-file", path)
        self.assertEqual(self.queue.take_all(), ["a\x00b\n"])

    def test_from_stdin(self):
        self.assert_enqueued("--body-file", "-", input="from a pipe")
        self.assertEqual(self.queue.take_all(), ["from a pipe"])

    def test_delay(self):
        self.assert_enqueued("--body", "later", "--delay", "300ms")
        self.assertEqual(self.queue.depth(), 0)
        worker = self.start(self.config(self.queue.section()))
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.runs("later")[0]["attempt"], "1")

    def test_unknown_names(self):
        for to in ("nowhere/jobs", f"{self.queue.source}/nowhere"):
            done = self.enqueue("--body", "x", to=to)
            self.assertIn(done.returncode, (64, 78), done.stderr)
            self.assertIn("nowhere", done.stderr)

    def test_bad_usage(self):
        for arguments in (["--count", "0"], ["--count", "many"], ["--delay", "soon"],
                          ["--body", "a", "--body-file", "-"]):  # fmt: skip
            self.assertEqual(self.enqueue(*arguments).returncode, 64, arguments)


class RabbitEnqueue(EnqueueCases, RabbitCase):
    def test_headers_and_durability(self):
        self.assert_enqueued("--body", "x", "--header", "color=blue", "--header", "n=1")
        [(_, properties)] = self.queue.take_properties()
        self.assertEqual(properties.headers["color"], "blue")
        self.assertEqual(properties.headers["n"], "1")
        self.assertEqual(properties.delivery_mode, 2)

    def test_unroutable(self):
        """The queue is gone: said, with the exit code of a service that is not there."""
        self.queue.channel.queue_delete(self.queue.name)
        done = self.enqueue("--body", "x")
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertIn(self.queue.name, done.stderr)


class RedisEnqueue(EnqueueCases, RedisCase):
    def test_headers_have_no_place(self):
        done = self.enqueue("--body", "x", "--header", "color=blue")
        self.assertEqual(done.returncode, 64, done.stderr)
        self.assertEqual(self.queue.depth(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
