"""Plugins: hooks, what a job may say, jobs that end later, and plugins that others build against what
is installed."""

import os
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from worker import BUILD, PENDING, PLUGIN, RabbitCase, RedisCase, WorkerCase, patience, wait_for

SOURCE = Path(__file__).resolve().parents[2]
HURRY = 'timeout = "1500ms" reserve = "300ms" grace = "300ms"'


class PluginCases:
    GOES_ON = "job past its timeout goes on until it asks outfall_should_stop()"

    def start_plugin(self, *sections, path=PLUGIN, threads=4, extra="", **options):
        handler = self.plugin_handler(path=path, threads=threads, extra=extra)
        options.setdefault("concurrency", 64)
        queue = self.queue.section(extra="prefetch = 100")
        return self.start(self.config(queue, handler, *sections, **options))

    def said(self, verb):
        return [line.split(" ", 2)[1:] for line in self.record.lines() if line.startswith(f"{verb} ")]

    # --- hooks ------------------------------------------------------------------------------

    def test_hooks_surround_the_jobs(self):
        self.queue.publish(["a", "b"])
        worker = self.start_plugin(threads=3)
        self.record.wait_ended(2)
        self.assertEqual(worker.stop()[0], 0)
        verbs = [line.split()[0] for line in self.record.lines()]
        self.assertEqual(verbs[:4], ["init"] + ["thread-init"] * 3)
        self.assertEqual(verbs[-4:], ["thread-exit"] * 3 + ["exit"])
        self.assertCountEqual(verbs[4:-4], ["begin", "begin", "end", "end"])

    def test_each_handler_has_hooks_of_its_own(self):
        worker = self.start_plugin(self.plugin_handler("other", threads=1), threads=1)
        self.wait_consuming(worker)
        self.assertEqual(worker.stop()[0], 0)
        verbs = self.record.lines()
        self.assertEqual([verbs.count(v) for v in ("init", "thread-init", "thread-exit", "exit")], [2] * 4)

    def test_a_failing_init_keeps_the_worker_from_starting(self):
        self.queue.publish(["a"])
        config = self.config(self.queue.section(), self.plugin_handler())
        worker = self.start(config, environment={"OUTFALL_TEST_INIT_FAILS": "1"})
        self.assertEqual(worker.wait_exit(), 78)
        [event] = worker.events("worker not started")
        self.assertRegex(event["why"], r'worker1\.conf:\d+: handler "h": .*init\(\) failed: no such database')
        self.assertEqual(self.record.lines(), ["init"])
        self.assertEqual(self.queue.depth(), 1)

    # --- hooks that never return ------------------------------------------------------------

    def start_that_hangs(self, hook, drain):
        self.record.path.write_text("")
        self.queue.publish(["a"])
        config = self.config(self.queue.section(), self.plugin_handler(threads=2), drain=drain)
        worker = self.start(config, environment={"OUTFALL_TEST_HANG_IN": hook})
        self.record.wait_ended(1)
        return worker

    def test_a_hook_that_hangs_does_not_hold_the_exit(self):
        limits = (HURRY, 1.5), ('timeout = "none" reserve = "500ms" grace = "500ms"', 1.0)
        for hook in ("exit", "thread-exit"):
            for drain, limit in limits:
                worker = self.start_that_hangs(hook, drain)
                code, seconds = worker.stop()
                self.figure(f"{hook}: exit after {seconds:.2f} s, limit {limit} s")
                self.assertEqual(code, 0)
                self.assertLess(seconds, limit + 0.5 * patience())
                worker.wait_event("exit forced: something behind the drain did not end by its deadline")
                self.assertEqual(worker.report()["since_start"]["done"], 1)

    def test_signals_reach_a_worker_that_hangs_in_a_hook(self):
        """The echo of the first one does not, it changes nothing in a drain either."""
        for insist in (signal.SIGQUIT, signal.SIGTERM):
            worker = self.start_that_hangs("exit", 'timeout = "60s"')
            worker.send(signal.SIGTERM)
            wait_for("the hook", lambda: "exit" in self.record.lines())
            begun = time.monotonic()
            if insist == signal.SIGTERM:
                worker.send(signal.SIGTERM)
                wait_for("more than the debounce", lambda: time.monotonic() - begun > 1.1)
                self.assertIsNone(worker.process.poll())
            worker.send(insist)
            self.assertEqual(worker.wait_exit(), 0)

    # --- a drain ----------------------------------------------------------------------------

    def test_a_drain_is_known_ahead(self):
        for path, tag in ((PLUGIN, "a"), (PENDING, "b")):
            self.queue.publish([f"{tag}:watch"])
            worker = self.start_plugin(path=path, drain=HURRY)
            wait_for("it to begin", lambda: tag in self.record.begun())
            self.assertEqual(worker.stop()[0], 10)
            [left_ms] = [int(ms) for who, ms in self.said("left") if who == tag]
            self.assertGreater(left_ms, 0)
            self.assertLessEqual(left_ms, 900)  # timeout - reserve - grace
            self.assertIn([tag], self.said("stopped"))
            self.assertIn(f"{tag}:watch", self.queue.take_all())

    def test_a_stubborn_pending_job_does_not_hold_the_exit(self):
        self.queue.publish([f"a:stubborn:{self.gate()}", "b"])
        worker = self.start_plugin(self.plugin_handler("other", threads=2), path=PENDING, drain=HURRY)
        self.record.wait_begun(2)
        worker.wait_event("job settled")  # of b, or it would be in the drain's report, too
        code, seconds = worker.stop()
        self.figure(f"exit after {seconds:.2f} s, timeout 1.5 s")
        self.assertEqual(code, 10)
        self.assertLess(seconds, 1.5 + 0.5 * patience())
        self.assertEqual(self.queue.take_all(), [f"a:stubborn:{self.gate()}"])
        [job] = worker.report()["jobs"]
        self.assertEqual(job["fate"], "returned")
        # The other handler has nothing to do with it: its end is in order.
        verbs = self.record.lines()
        self.assertEqual([verbs.count(v) for v in ("thread-exit", "exit")], [2, 1])

    def test_a_checkpoint_is_handed_to_the_next_run(self):
        for path, tag in ((PLUGIN, "a"), (PENDING, "b")):
            self.queue.publish([f"{tag}:leave:page 7 of 9"])
            worker = self.start_plugin(path=path, drain=HURRY)
            wait_for("it to leave one", lambda: [tag, "page 7 of 9"] in self.said("left"))
            self.assertEqual(worker.stop()[0], 10)
            [progress] = worker.events("job progressed")
            self.assertEqual((progress["done"], progress["note"]), (0.5, "half"))
            worker = self.start_plugin(path=path)
            wait_for("it to end", lambda: tag in self.record.ended())
            self.assertEqual(worker.stop()[0], 0)
            self.assertIn([tag, "page 7 of 9"], self.said("found"))

    # --- a timeout --------------------------------------------------------------------------

    def check_told_of_once(self, path, why):
        said = []
        # Their retries are told to the broker in the reserve: a busy machine may need much of it.
        drain = f'timeout = "{21 * patience()}s"  reserve = "{20 * patience()}s"  grace = "300ms"'
        worker = self.start_plugin(path=path, extra='timeout = "150ms"', drain=drain)
        for tag in "ab":
            self.queue.publish([f"{tag}:stubborn:{self.gate()}"])
            said.append(worker.wait_event(self.GOES_ON, count=len(said) + 1))
        self.assertEqual(worker.stop()[0], 0)  # which asks them once more
        self.assertEqual(worker.events(self.GOES_ON), said)
        self.assertEqual([event["job"] for event in said], [self.record.runs(tag)[0]["id"] for tag in "ab"])
        for event in said:
            self.assertEqual((event["level"], event["queue"], event["handler"]), ("warn", self.queue.name, "h"))
            self.assertEqual(event["timeout_ms"], 150)
            self.assertGreaterEqual(event["ran_ms"], 150)
            self.assertIn(why, event["why"])
            self.assertIn("isolate = true", event["why"])

    def test_a_job_past_its_timeout_is_told_of_once(self):
        self.check_told_of_once(PLUGIN, "a thread cannot be killed")

    def test_a_pending_job_past_its_timeout_is_told_of_once(self):
        self.check_told_of_once(PENDING, "what a plugin has pending cannot be taken from it")

    # --- jobs that end later ----------------------------------------------------------------

    def test_many_are_pending_at_once(self):
        """One thread, and as many jobs at once as the plugin says it takes."""
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(40)])
        worker = self.start_plugin(path=PENDING, threads=1)
        self.record.wait_begun(32)
        self.open_gate()
        self.record.wait_ended(40)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], 40)
        self.assertEqual(self.record.ended_twice(), [])
        self.assertEqual(self.queue.take_all(), [])

    def most_at_once(self):
        now = most = 0
        for line in self.record.lines():
            now += line.startswith("begin ") - line.startswith("end ")
            most = max(most, now)
        return most

    def test_limits_count_what_is_pending(self):
        for options, most in (({"extra": "concurrency = 5"}, 5), ({"concurrency": 7}, 7), ({}, 32)):
            self.record.path.write_text("")
            self.queue.publish([f"j{n}:ms:20" for n in range(100)])
            worker = self.start_plugin(path=PENDING, threads=2, **options)
            self.record.wait_ended(100)
            self.assertEqual(worker.stop()[0], 0)
            # Ends are written before the worker hears of them: it never has more than it should.
            self.assertLessEqual(self.most_at_once(), most)
            self.assertGreater(self.most_at_once(), 2)

    def test_outcomes_that_come_later(self):
        self.queue.publish(["a", "b:retry", "c:reject"])
        retry = 'retry "default" { attempts = 2  first = "50ms" }\n'
        worker = self.start_plugin(retry, path=PENDING)
        wait_for("two dead", lambda: self.queue.dead_depth() == 2)
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)
        self.assertCountEqual(self.queue.take_dead(), ["b:retry", "c:reject"])
        self.assertEqual([run["attempt"] for run in self.record.runs("b")], ["1", "2"])

    def test_completing_twice_is_told_and_does_no_harm(self):
        self.queue.publish([f"t{n}:twice" for n in range(200)] + [f"j{n}:ms:5" for n in range(200)])
        worker = self.start_plugin(path=PENDING)
        self.record.wait_ended(400)
        wait_for("the plugin to be told", lambda: len(self.wrongs(worker)) == 200)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["since_start"]["done"], 400)
        self.assertEqual(worker.report()["since_start"]["retried"], 0)
        self.assertEqual(self.record.ended_twice(), [])

    def wrongs(self, worker):
        return worker.events("plugin is wrong, ignoring the call")

    def test_killed_with_jobs_pending_loses_nothing(self):
        self.queue.publish([f"j{n}:ms:20" for n in range(300)])
        worker = self.start_plugin(path=PENDING, threads=2)
        self.record.wait_ended(50)
        worker.kill()
        self.start_plugin(path=PENDING, threads=2)
        wait_for("every job", lambda: len(set(self.record.ended())) == 300, 60)


class RabbitPlugins(PluginCases, RabbitCase):
    pass


class RedisPlugins(PluginCases, RedisCase):
    pass


class OtherAbi(WorkerCase):
    def test_a_newer_abi_is_refused(self):
        plugin = BUILD / "tests" / "unit" / "executors" / "other_abi.so"
        config = self.config(
            'redis "cache" { url = "redis://127.0.0.1:1"  list "q" { handler = "h" } }\n',
            self.plugin_handler(path=plugin),
        )
        worker = self.start(config)
        self.assertEqual(worker.wait_exit(), 78)
        [event] = worker.events("worker not started")
        self.assertRegex(event["why"], r'conf:\d+: handler "h": .*other_abi\.so: built for plugin ABI 4, this worker has 1 to 3')
        self.assertIn("compile it again with the <outfall/outfall.h> of this worker", event["why"])
        checked = self.run_outfall("check", "-c", worker.config_path)
        self.assertEqual((checked.returncode, checked.stdout), (78, ""))
        self.assertRegex(checked.stderr, r'conf:\d+: error: handler "h": .*built for plugin ABI 4')
        self.assertNotIn(": ok", checked.stderr)


class OwnNames(RedisCase):
    """A plugin calls its own functions, whatever the worker and its libraries call theirs."""

    def assert_done(self, plugin):
        path = BUILD / "tests" / "integration" / f"{plugin}.so"
        self.queue.publish(["a"])
        worker = self.start(self.config(self.queue.section(), self.plugin_handler(path=path)))
        self.assertEqual(worker.wait_event("job settled")["fate"], "done")
        self.assertEqual(worker.stop()[0], 0)

    def test_names_of_the_worker(self):
        self.assert_done("own_names")

    @unittest.skipIf(os.environ.get("OUTFALL_TEST_SANITIZE"), "a sanitizer's malloc comes first")
    def test_names_of_its_libraries(self):
        self.assert_done("own_library_names")


class Installed(RedisCase):
    """What an author sees: an installation, cc and pkg-config, and nothing of this tree."""

    def setUp(self):
        super().setUp()
        self.prefix = self.directory / "prefix"
        self.command("cmake", "--install", BUILD, "--prefix", self.prefix)
        self.outside = self.directory / "outside"
        self.outside.mkdir()

    def command(self, *words, **options):
        environment = dict(os.environ, PKG_CONFIG_PATH=str(self.prefix / "share" / "pkgconfig"))
        done = subprocess.run(
            [str(word) for word in words], env=environment, text=True, timeout=60 * patience(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout.strip()

    def compile(self, name):
        source = self.outside / f"{name}.c"
        shutil.copy(self.prefix / "share" / "outfall" / "handlers" / f"{name}.c", source)
        line = f"cc $(pkg-config --cflags outfall) -Wall -Wextra -Werror -shared -fPIC -o lib{name}.so {name}.c -lpthread"
        self.command("sh", "-c", line, cwd=self.outside)
        return self.outside / f"lib{name}.so"

    def test_pkg_config_knows_the_abi(self):
        self.assertEqual(self.command("pkg-config", "--variable=abi", "outfall"), "3")
        version = self.command(self.prefix / "bin" / "outfall", "--version")
        self.assertEqual(f"outfall {self.command('pkg-config', '--modversion', 'outfall')}", version)
        include = self.command("pkg-config", "--variable=includedir", "outfall")
        self.assertTrue((Path(include) / "outfall" / "outfall.h").exists())

    def test_examples_built_outside_run(self):
        lists = {"count": "one two three", "later": "30"}
        for name, body in lists.items():
            self.queue.client.lpush(name, body)
        handlers = "".join(self.plugin_handler(n, path=self.compile(n), threads=2) for n in lists)
        lines = "".join(f'  list "{name}" {{ handler = "{name}" }}\n' for name in lists)
        section = f'redis "cache" {{\n  url = "{self.queue.url()}"\n{lines}}}\n'
        worker = self.start(self.config(section, handlers, self.exec_handler()))
        wait_for("both to be done", lambda: len(self.done(worker)) == 2)
        self.assertEqual(worker.stop()[0], 0)
        self.assertIn("3 words, 3 in all", worker.log_text())
        self.assertEqual(worker.report()["since_start"]["done"], 2)

    def done(self, worker):
        return [e for e in worker.events("job settled") if e["fate"] == "done"]

    @unittest.skipUnless(shutil.which("c++"), "LOUD SKIP: no C++ compiler here")
    def test_the_header_is_cpp_too(self):
        source = self.outside / "plugin.cpp"
        source.write_text(
            "#include <outfall/outfall.h>\n"
            "static outfall_outcome run(const outfall_job *job, outfall_context *ctx)\n"
            "{\n\toutfall_log(ctx, OUTFALL_LOG_INFO, job->id);\n\treturn OUTFALL_DONE;\n}\n"
            "const struct outfall_plugin outfall_plugin = {OUTFALL_ABI, run, 0, nullptr, nullptr, nullptr, nullptr};\n"
        )
        line = "c++ $(pkg-config --cflags outfall) -std=c++11 -Wall -Wextra -Wpedantic -Werror -fvisibility=hidden -shared -fPIC -o libcpp.so plugin.cpp"
        self.command("sh", "-c", line, cwd=self.outside)
        self.queue.publish(["a"])
        handler = self.plugin_handler(path=self.outside / "libcpp.so")
        worker = self.start(self.config(self.queue.section(), handler))
        wait_for("it to be done", lambda: self.done(worker))
        self.assertEqual(worker.stop()[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
