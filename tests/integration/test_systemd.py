"""What the worker tells the service manager, on a real notify socket: ready when it is consuming, a
sentence that says what is going on, more time as long as a drain goes on, a watchdog tied to progress."""

import os
import signal
import socket
import time
import unittest

from worker import RedisCase, wait_for

WATCHDOG_S = 0.4


class NotifySocket:
    """What systemd would hear. `where` is a path, or "@name"."""

    def __init__(self, where):
        self.where = str(where)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(self.where.replace("@", "\0", 1))
        self.heard = []  # (when, sender's pid, {key: value})

    def listen(self):
        while True:
            try:
                data, control, _, _ = self.socket.recvmsg(65536, 256)
            except BlockingIOError:
                return self.heard
            pid = int.from_bytes(control[0][2][:4], "little")
            lines = [line.split("=", 1) for line in data.decode().splitlines()]
            self.heard.append((time.monotonic(), pid, dict(lines)))

    def values(self, key):
        return [said[key] for _, _, said in self.listen() if key in said]

    def order(self, *keys):
        """The keys of interest as they came."""
        return [key for _, _, said in self.listen() for key in keys if key in said]

    def wait(self, key, value, count=1):
        wait_for(f"{key}={value}", lambda: self.values(key).count(value) >= count)

    def wait_status(self, *words):
        def said():
            return any(all(word in text for word in words) for text in self.values("STATUS"))

        wait_for(f"a status with {words}", said)


class SystemdCase(RedisCase):
    def setUp(self):
        super().setUp()
        self.manager = NotifySocket(self.directory / "notify")
        self.addCleanup(self.manager.socket.close)

    def start_told(self, *sections, environment=None, **options):
        environment = dict(environment or {}, NOTIFY_SOCKET=self.manager.where)
        sections = sections or (self.queue.section(extra="prefetch = 10"),)
        return self.start(self.config(*sections, **options), environment)


class Telling(SystemdCase):
    def test_ready_when_consuming_and_the_whole_life_in_order(self):
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_told(concurrency=1)
        self.manager.wait("READY", "1")
        self.manager.wait_status("Taking jobs")
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        self.manager.wait("STOPPING", "1")
        self.manager.wait_status("Draining, finishing: waiting for 1 running", '"jobs"')
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.manager.wait_status("Drained: SIGTERM, exit code 0")
        self.assertEqual(self.manager.order("READY", "STOPPING"), ["READY", "STOPPING"])
        self.assertEqual({pid for _, pid, _ in self.manager.listen()}, {worker.pid})
        self.assertEqual(self.manager.values("WATCHDOG"), [])  # nobody asked for it

    def test_reloading_and_ready_again(self):
        worker = self.start_told()
        self.manager.wait("READY", "1")
        for count, text in enumerate((worker.config_path.read_text(), "nonsense"), 1):
            before = time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
            worker.config_path.write_text(text)
            worker.send(signal.SIGHUP)
            self.manager.wait("READY", "1", count + 1)
            after = time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
            when = int(self.manager.values("MONOTONIC_USEC")[-1])
            self.assertTrue(before - 1 <= when <= after, (before, when, after))
        keys = self.manager.order("READY", "RELOADING")
        self.assertEqual(keys, ["READY", "RELOADING", "READY", "RELOADING", "READY"])
        self.assertEqual(worker.stop()[0], 0)

    def test_abstract_address(self):
        self.manager = NotifySocket(f"@outfall-test-{os.getpid()}")
        self.addCleanup(self.manager.socket.close)
        worker = self.start_told()
        self.manager.wait("READY", "1")
        self.assertEqual(worker.stop()[0], 0)

    def test_not_ready_while_the_broker_is_away(self):
        self.broker.kill()
        self.addCleanup(self.broker.start)
        worker = self.start_told()
        self.manager.wait_status("Not ready:", "is not connected")
        self.assertEqual(self.manager.values("READY"), [])
        self.broker.start()
        self.manager.wait("READY", "1")
        self.assertEqual(worker.stop()[0], 0)

    def test_quiet_and_back(self):
        worker = self.start_told()
        self.manager.wait_status("Taking jobs")
        worker.send(signal.SIGTSTP)
        self.manager.wait_status("Quiet")
        worker.send(signal.SIGCONT)
        wait_for("jobs taken again", lambda: self.manager.values("STATUS")[-1] == "Taking jobs")
        self.assertEqual(self.manager.values("STOPPING"), [])
        self.assertEqual(self.manager.values("READY"), ["1"])  # it is said once
        self.assertEqual(worker.stop()[0], 0)

    def test_an_address_that_is_none_is_ignored(self):
        worker = self.start(self.config(self.queue.section()), {"NOTIFY_SOCKET": "vsock:2:1"})
        self.wait_consuming(worker)
        ignored = worker.wait_event("service manager cannot be told, ignoring NOTIFY_SOCKET")
        self.assertIn("vsock:2:1", ignored["why"])
        self.assertEqual(worker.stop()[0], 0)

    def test_a_manager_that_is_gone_holds_nothing(self):
        os.unlink(self.manager.where)
        worker = self.start_told()
        self.wait_consuming(worker)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.manager.listen(), [])

    def test_what_was_not_taken_is_said_again(self):
        hidden = self.manager.where + ".away"
        os.rename(self.manager.where, hidden)
        worker = self.start_told()
        self.wait_consuming(worker)
        os.rename(hidden, self.manager.where)
        self.manager.wait("READY", "1")
        self.assertEqual(worker.stop()[0], 0)

    def test_children_do_not_speak_in_our_name(self):
        out = self.directory / "environment"
        handler = self.exec_handler(command=["/bin/sh", "-c", f"env > {out}.new; mv {out}.new {out}"])
        self.queue.publish(["a"])
        worker = self.start_told(
            self.queue.section(), handler, environment={"WATCHDOG_USEC": "60000000", "KEPT": "1"}
        )
        names = wait_for("the job", lambda: out.exists() and out.read_text())
        self.assertIn("\nKEPT=1\n", "\n" + names)
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            self.assertNotIn(f"\n{name}=", "\n" + names)
        self.assertEqual(worker.stop()[0], 0)


class MoreTime(SystemdCase):
    def extensions(self):
        return [int(us) / 1e6 for us in self.manager.values("EXTEND_TIMEOUT_USEC")]

    def test_more_time_each_second_and_never_past_the_deadline(self):
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_told(drain='timeout = "4s"  reserve = "300ms"  grace = "200ms"')
        self.record.wait_begun(1)
        self.assertEqual(self.extensions(), [])
        begun = time.monotonic()
        worker.send(signal.SIGTERM)
        wait_for("the exit", lambda: self.manager.listen() and worker.process.poll() is not None)
        self.assertEqual(worker.wait_exit(), 10)
        self.assertLess(self.extensions()[0], 5.1)  # the whole drain and a second
        self.assertGreaterEqual(len(self.extensions()), 3)
        # What was promised covers the exit, and hardly more.
        told = [(when, said) for when, _, said in self.manager.listen() if "EXTEND_TIMEOUT_USEC" in said]
        for when, said in told:
            self.assertLess(when - begun + int(said["EXTEND_TIMEOUT_USEC"]) / 1e6, 5.5)

    def test_without_a_deadline_as_long_as_it_turns(self):
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_told(drain='timeout = "none"')
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        wait_for("more time, again and again", lambda: len(self.extensions()) >= 3)
        self.assertEqual(set(self.extensions()), {10.0})
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)


class Watchdog(SystemdCase):
    def start_watched(self, *sections, pid=None, **options):
        environment = {"WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
        if pid is not None:
            environment["WATCHDOG_PID"] = str(pid)
        return self.start_told(*sections, environment=environment, **options)

    def fed(self):
        return len(self.manager.values("WATCHDOG"))

    def test_fed_twice_in_its_time_idle_and_draining(self):
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_watched()
        self.record.wait_begun(1)
        begun, before = time.monotonic(), self.fed()
        wait_for("five more", lambda: self.fed() >= before + 5)
        self.assertGreater(time.monotonic() - begun, 4 * WATCHDOG_S / 2 - 0.1)
        worker.send(signal.SIGTERM)
        self.manager.wait("STOPPING", "1")
        before = self.fed()
        wait_for("fed while it drains", lambda: self.fed() >= before + 2)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)

    def test_a_wish_for_somebody_else(self):
        worker = self.start_watched(pid=os.getpid())
        self.manager.wait("READY", "1")
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.fed(), 0)

    def test_a_loop_that_hangs_does_not_feed_it(self):
        worker = self.start_watched()
        wait_for("fed", lambda: self.fed() >= 1)
        worker.send(signal.SIGSTOP)
        stat = f"/proc/{worker.pid}/stat"
        wait_for("it to stop", lambda: open(stat).read().rsplit(")", 1)[1].split()[0] == "T")
        before, until = self.fed(), time.monotonic() + 3 * WATCHDOG_S
        wait_for("time to pass", lambda: time.monotonic() > until)
        self.assertEqual(self.fed(), before)
        worker.send(signal.SIGCONT)
        wait_for("fed again", lambda: self.fed() > before)
        self.assertEqual(worker.stop()[0], 0)

    def test_not_fed_when_a_handler_will_never_run_another_job(self):
        """A thread cannot be killed: the job is past its timeout and what a kill may take."""
        self.queue.publish([f"a:stubborn:{self.gate()}"])
        plugin = self.plugin_handler(threads=1, extra='timeout = "100ms"')
        worker = self.start_watched(
            self.queue.section(), plugin, drain='timeout = "2s"  grace = "100ms"  reserve = "500ms"'
        )
        self.record.wait_begun(1)
        stuck = worker.wait_event("watchdog not told, the worker is to be started anew", seconds=40)
        self.assertIn('handler "h" is stuck', stuck["why"])
        self.manager.wait_status("Stuck")
        self.assertEqual(len(worker.events("watchdog not told, the worker is to be started anew")), 1)
        before, until = self.fed(), time.monotonic() + 3 * WATCHDOG_S
        wait_for("time to pass", lambda: time.monotonic() > until)
        self.assertEqual(self.fed(), before)
        self.open_gate()
        wait_for("fed again once the job has ended", lambda: self.fed() > before)
        self.assertEqual(worker.stop()[0], 0)


if __name__ == "__main__":
    unittest.main()
