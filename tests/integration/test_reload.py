"""Reading the configuration again: what changes, what is named, what stays; and the status by a signal."""

import json
import signal
import subprocess
import unittest

from worker import OUTFALL, RedisCase, patience, wait_for


class Reload(RedisCase):
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
        self.write(worker, other, concurrency=3)
        for count in (1, 2):
            self.reload(worker, count)
        named = ["worker concurrency", f'redis "{self.queue.source}" list "{self.queue.name}" prefetch']
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
