"""What people and peers get wrong: configurations, credentials, bodies, handlers. The worker says what
is wrong, uses the right exit code, or survives."""

import os
import signal
import unittest
from pathlib import Path

from brokers import RabbitQueue
from worker import HANDLER, RabbitCase, RedisCase, WorkerCase, patience, wait_for


class Configuration(WorkerCase):
    def check(self, text):
        path = self.directory / "bad.conf"
        path.write_text(text)
        return self.run_outfall("check", "-c", path), path

    def assert_refused(self, text, *complaints):
        done, path = self.check(text)
        self.assertEqual(done.returncode, 78, done.stderr)
        for complaint in complaints:
            self.assertIn(complaint.replace("@", f"{path}:"), done.stderr)
        # `run` refuses the same, before it connects anywhere.
        self.assertEqual(self.run_outfall("run", "-c", path).returncode, 78)
        return done.stderr

    def good(self):
        return (
            'rabbitmq "mq" { url = "amqp://guest:guest@127.0.0.1:1/"\n'
            '  queue "q" { handler = "h" } }\n'
            'handler "h" { type = "exec" command = {"/bin/true"} }\n'
        )

    def test_good(self):
        done, _ = self.check(self.good())
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_missing_file(self):
        for command in ("run", "check"):
            done = self.run_outfall(command, "-c", "/nonexistent/outfall.conf")
            self.assertEqual(done.returncode, 78)
            self.assertIn("/nonexistent/outfall.conf", done.stderr)

    @unittest.skipIf(os.geteuid() == 0, "LOUD SKIP: root reads everything")
    def test_unreadable_file(self):
        path = self.directory / "secret.conf"
        path.write_text(self.good())
        path.chmod(0)
        self.assertEqual(self.run_outfall("check", "-c", path).returncode, 78)

    def test_as_the_user_that_will_run_it(self):
        path = self.directory / "private.conf"
        path.write_text(self.good())
        path.chmod(0o600)
        self.assertEqual(self.run_outfall("check", "-c", path).returncode, 0)
        done = self.run_outfall("check", "-c", path, "--as", "nobody")
        if os.geteuid() == 0:
            self.assertEqual(done.returncode, 78)
            self.assertIn("Permission denied", done.stderr)
        else:
            self.assertEqual(done.returncode, 64)
        self.assertEqual(self.run_outfall("check", "-c", path, "--as", "no-such-user").returncode, 64)

    def test_what_run_would_meet(self):
        for admin in ('socket = "/nonexistent/a.sock"', 'http = "192.0.2.1:9180"',
                      'http = "*:9180" agent = "127.0.0.1:9180"'):  # fmt: skip
            self.assert_refused(self.good() + "admin { %s }\n" % admin, "@4", "admin")

    def test_a_directory(self):
        done = self.run_outfall("check", "-c", self.directory)
        self.assertEqual(done.returncode, 78)

    def test_empty_file(self):
        self.assert_refused("")

    def test_syntax(self):
        self.assert_refused(self.good() + 'worker { concurrency = \n', "bad.conf:")

    def test_binary_rubbish(self):
        path = self.directory / "bad.conf"
        path.write_bytes(os.urandom(4096))
        self.assertEqual(self.run_outfall("check", "-c", path).returncode, 78)

    def test_unknown_key(self):
        self.assert_refused(self.good() + "worker { concurency = 3 }\n", "@4", "concurency")

    def test_unknown_handler(self):
        text = self.good().replace('handler = "h"', 'handler = "nobody"')
        self.assert_refused(text, "@2", "nobody")

    def test_queue_named_twice(self):
        text = self.good().replace('queue "q"', 'queue "q" { handler = "h" }\n  queue "q"')
        self.assert_refused(text, '"q"')

    def test_wrong_numbers_all_reported_at_once(self):
        text = self.good() + (
            "worker { concurrency = 0 }\n"
            'drain { timeout = "soon" }\n'
            'retry "default" { attempts = 0  jitter = 7.0 }\n'
        )
        words = self.assert_refused(text, "@4", "@5", "@6")
        self.assertGreaterEqual(len(words.strip().splitlines()), 4, words)

    def test_secret_is_never_printed(self):
        text = self.good().replace("guest:guest", "guest:hunter2").replace("127.0.0.1:1/", ":::/")
        done, _ = self.check(text)
        self.assertNotIn("hunter2", done.stderr + done.stdout)


class CommandLine(WorkerCase):
    def test_help(self):
        for arguments in (["--help"], ["run", "--help"], ["check", "--help"], ["enqueue", "--help"]):
            done = self.run_outfall(*arguments)
            self.assertEqual(done.returncode, 0, arguments)
            self.assertIn("outfall", done.stdout)
            self.assertEqual(done.stderr, "")

    def test_version(self):
        done = self.run_outfall("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^outfall \d+\.\d+\.\d+\n$")

    def test_usage(self):
        for arguments in (
            [], ["dance"], ["--dance"], ["run", "--dance"], ["run", "extra"], ["check", "-c"],
            ["enqueue"], ["enqueue", "noslash"],
        ):  # fmt: skip
            done = self.run_outfall(*arguments)
            self.assertEqual(done.returncode, 64, (arguments, done.stderr))
            self.assertIn("outfall: ", done.stderr)
            self.assertEqual(done.stdout, "")


class BodyAndHandlerCases:
    """Hold for both sources."""

    def run_bodies(self, bodies, **options):
        self.queue.publish(bodies)
        return self.start(self.config(self.queue.section(dead=self.names_dead), **options))

    names_dead = True

    def test_empty_body(self):
        worker = self.run_bodies([b""])
        self.record.wait_ended(1)
        self.assertEqual(self.record.runs()[0]["bytes"], "0")
        self.assertEqual(worker.stop()[0], 0)

    def test_body_that_is_not_utf8(self):
        body = b"bin:done\x00\xff\xfe\x80\r\n" + bytes(range(256))
        worker = self.run_bodies([body])
        wait_for("the job", self.record.runs)
        self.assertEqual(self.record.runs()[0]["bytes"], str(len(body)))
        self.assertEqual(worker.stop()[0], 0)
        for line in worker.log_text().splitlines():
            self.assertTrue(line.isprintable(), line)

    def test_fifty_megabytes(self):
        worker = self.run_bodies([b"big:done:" + b"x" * 50_000_000])
        self.record.wait_ended(1, 60)
        self.assertEqual(self.record.runs()[0]["bytes"], str(50_000_009))
        self.assertEqual(worker.stop()[0], 0)

    def test_body_over_max_body(self):
        self.use_queue_for_large_bodies()
        worker = self.run_bodies(
            ["small", b"large:done:" + b"x" * 70_000, "after"], worker='max_body = "64k"'
        )
        self.record.wait_ended(2)
        wait_for("the large one to be dead", lambda: self.queue.dead_depth() == 1)
        self.assertEqual(sorted(self.record.ended()), ["after", "small"])
        self.assertEqual(len(self.queue.take_dead()[0]), 70_011)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["dead"], 1)

    def failing_handler(self, command, spoil=None):
        worker = self.start(
            self.config(
                self.queue.section(),
                self.exec_handler(command=command),
                'retry "default" { attempts = 2  first = "10ms" }\n',
            )
        )
        self.wait_consuming(worker)
        if spoil:
            spoil()
        self.queue.publish(["a"])
        self.assertEqual(worker.wait_event("handler paused, it cannot begin jobs; none is counted")["handler"], "h")
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.queue.take_all(), ["a"], "what never began has not failed")
        self.assertEqual(self.queue.dead_depth(), 0)
        return worker.log_text()

    def test_handler_that_is_not_there_at_the_start(self):
        """Or may not be executed: a mistake in the configuration, said before anything connects."""
        plain = self.directory / "plain"
        plain.write_text("not a program")
        for command in ("/nonexistent/handler", str(plain)):
            handler = self.exec_handler(command=[command])
            worker = self.start(self.config(self.queue.section(), handler))
            self.assertEqual(worker.wait_exit(), 78)
            self.assertIn(command, worker.log_text())

    def program(self):
        path = self.directory / "program"
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def test_handler_that_vanishes(self):
        path = self.program()
        self.assertIn(str(path), self.failing_handler([path], spoil=path.unlink))

    def test_handler_that_ceases_to_be_executable(self):
        path = self.program()
        self.failing_handler([path], spoil=lambda: path.chmod(0o644))

    def test_handler_that_is_no_program(self):
        path = self.directory / "rubbish"
        path.write_bytes(b"\x7fELF but not really")
        path.chmod(0o755)
        self.failing_handler([path])

    def test_handler_that_closes_stdin(self):
        """Hundreds, with bodies larger than a pipe: nobody dies of SIGPIPE."""
        self.queue.publish([b"x" * 200_000] * 300)
        command = [HANDLER, self.record.path, "--close-stdin"]
        worker = self.start(
            self.config(self.queue.section(), self.exec_handler(command=command), level="info")
        )
        self.record.wait_begun(300, 60)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], 300)

    def test_handler_that_writes_without_end(self):
        self.queue.publish(["noisy:write", "quiet:done"])
        worker = self.start(
            self.config(
                self.queue.section(),
                self.exec_handler(extra='timeout = "1s"'),
                'retry "default" { attempts = 1 }\n',
                drain='timeout = "30s" grace = "500ms"',
            )
        )
        wait_for("the noisy one to be dead", lambda: self.queue.dead_depth() == 1, 60)
        self.assertIn("quiet", self.record.ended())
        status = Path(f"/proc/{worker.pid}/status").read_text()
        rss_kb = int(status.split("VmHWM:")[1].split()[0])
        if patience() == 1:
            self.assertLess(rss_kb, 64 * 1024, "output of a job must not pile up in memory")
        self.assertEqual(worker.stop()[0], 0)

    def test_handler_that_leaves_its_output_open(self):
        """A grandchild holds stdout; the job ended all the same."""
        script = f"(exec sleep 600) & echo $! > {self.directory}/pid"
        self.queue.publish(["a"])
        worker = self.start(
            self.config(
                self.queue.section(), self.exec_handler(command=["/bin/sh", "-c", script])
            )
        )
        wait_for("the job", lambda: (self.directory / "pid").exists())
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 10 * patience())
        self.assertEqual(worker.report()["since_start"]["done"], 1)

    def test_wrong_password(self):
        url = self.url_with_wrong_password()
        worker = self.start(self.config(self.queue.section(url=url)))
        self.assertEqual(worker.wait_exit(), 69)
        self.assertNotIn("wrong-secret", worker.log_text())

    def test_empty_plugin_and_no_plugin(self):
        for path in ("/nonexistent.so", "/bin/true"):
            section = f'handler "h" {{ type = "plugin" path = "{path}" }}\n'
            worker = self.start(self.config(self.queue.section(), section))
            self.assertIn(worker.wait_exit(), (70, 78))
            self.assertIn(path, worker.log_text())


class RabbitBadInput(BodyAndHandlerCases, RabbitCase):
    def use_queue_for_large_bodies(self):
        """Without `dead`, for the queue's own DLX; with it see test_large_messages.py."""
        self.queue.close()
        self.queue = RabbitQueue(
            self.broker, self.queue.vhost, "own",
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "own.dead"},
        )  # fmt: skip
        self.addCleanup(self.queue.close)
        self.names_dead = False

    def url_with_wrong_password(self):
        return self.queue.url(password="wrong-secret")

    def test_missing_queue(self):
        worker = self.start(self.config(self.queue.section(name="nowhere")))
        self.assertEqual(worker.wait_exit(), 69)
        self.assertIn("nowhere", worker.log_text())

    def test_missing_vhost(self):
        url = self.queue.url() + "-nowhere"
        worker = self.start(self.config(self.queue.section(url=url)))
        self.assertEqual(worker.wait_exit(), 69)

    def test_headers_nested_too_deeply(self):
        """Decoding them takes stack for each level. The broker passes them on; the worker does not
        follow, and what comes behind is not concerned."""
        self.use_queue_for_large_bodies()
        nested = "x"
        for _ in range(200):
            nested = [nested]
        self.queue.publish(["before"])
        for body in (b"deep:done", b""):
            self.queue.publish([body], headers={"nested": nested})
        worker = self.run_bodies(["after"])
        self.record.wait_ended(2)
        wait_for("the nested ones to be dead", lambda: self.queue.dead_depth() == 2)
        self.assertEqual(sorted(self.record.ended()), ["after", "before"])
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.log_text().count("nested too deeply"), 2)
        self.assertEqual(len(worker.events("rabbitmq connected")), 1)

    def test_missing_dead_queue_loses_nothing(self):
        """Nowhere to put it, though it was there at the start: it is tried again, said, and in the end left
        with the broker."""
        worker = self.start(
            self.config(
                self.queue.section(), drain='timeout = "2s"  reserve = "500ms"  grace = "200ms"'
            )
        )
        self.wait_consuming(worker)
        self.queue.channel.queue_delete(self.queue.dead_name)
        self.queue.publish(["a:exit:65"])
        wait_for("a word about it", lambda: self.queue.dead_name in worker.log_text())
        self.assertEqual(worker.stop()[0], 11)
        wait_for("everybody to let go", self.all_back)
        self.assertEqual(self.queue.depth(), 1)

class RedisBadInput(BodyAndHandlerCases, RedisCase):
    def use_queue_for_large_bodies(self):
        pass

    def url_with_wrong_password(self):
        self.queue.client.config_set("requirepass", "right-secret")
        self.queue.client.execute_command("AUTH", "right-secret")
        self.addCleanup(self.queue.client.config_set, "requirepass", "")
        return self.queue.url(password="wrong-secret")

    def test_key_of_another_type(self):
        """Somebody made it a string: said, not crashed."""
        self.queue.client.set(self.queue.name, "not a list")
        worker = self.start(self.config(self.queue.section()))
        wait_for("a word about it", lambda: "WRONGTYPE" in worker.log_text())
        self.assertIn(worker.stop()[0], (0, 69))


if __name__ == "__main__":
    unittest.main(verbosity=2)
