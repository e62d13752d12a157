"""A configuration that cannot be read just now, because a file system does not answer: nobody waits for it but
whoever asked. What does not answer here is a file that this process has a lease on: opening it waits until the
lease is given back."""

import contextlib
import fcntl
import os
import select
import signal
import threading
import time
import unittest

from test_admin import AdminCase, Answer
from worker import patience, wait_for

OLD, NEW = "old-token-of-many-letters", "new-token-of-many-letters"


class Lease:
    """Whoever opens the file waits, for 45 s at most, until give_back()."""

    def __init__(self, path):
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # it tells that somebody waits
        self.fd = os.open(path, os.O_RDWR)
        fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def is_waited_for(self):
        return fcntl.fcntl(self.fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK

    def give_back(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class Blocked(AdminCase):
    def setUp(self):
        super().setUp()
        self.token_path = self.directory / "token"

    def start_blocked(self, **options):
        worker = self.start_admin(token=True, **options)
        self.token_path.write_text(NEW + "\n")
        lease = Lease(self.token_path)
        self.addCleanup(lease.give_back)
        worker.send(signal.SIGHUP)
        wait_for("the reload to be held", lease.is_waited_for)
        return worker, lease

    def test_the_worker_goes_on(self):
        worker, lease = self.start_blocked()
        self.queue.publish([f"j{n}" for n in range(5)])
        self.record.wait_ended(5)
        for path in ("/livez", "/readyz"):
            began = time.monotonic()
            self.assertEqual(self.get(path).status, 200)
            self.assertLess(time.monotonic() - began, 1 * patience())
        self.assertEqual(worker.events("configuration reloaded"), [])
        lease.give_back()
        worker.wait_event("configuration reloaded")
        self.assertEqual(worker.stop()[0], 0)

    def test_who_asks_meanwhile_gets_one_more(self):
        worker, lease = self.start_blocked()
        askers = [self.unix() for _ in range(3)]
        for asker in askers:
            self.addCleanup(asker.close)
            asker.request("POST", "/reload")
        with contextlib.closing(self.unix()) as behind_them:  # so they have been heard when it is answered
            self.assertEqual(self.ask("GET", "/livez", behind_them).status, 200)
        worker.send(signal.SIGHUP)
        worker.wait_event("signal caught", 2)
        self.assertEqual(select.select([a.sock for a in askers], [], [], 0)[0], [])
        lease.give_back()
        answers = [Answer(asker.getresponse()) for asker in askers]
        self.assertEqual([a.status for a in answers], [200] * 3)
        self.assertEqual([a.json()["status"] for a in answers], ["reloaded"] * 3)
        worker.wait_event("configuration reloaded", 2)
        self.assertEqual(worker.stop()[0], 0)
        self.assertLessEqual(len(worker.events("configuration reloaded")), 3)

    def test_who_asks_is_told_when_it_takes_too_long(self):
        worker, lease = self.start_blocked()
        done = self.ctl("reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("still being read", done.stderr)
        lease.give_back()
        worker.wait_event("configuration reloaded", 2)
        self.assertEqual(self.ctl("reload").returncode, 0)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_stop_is_not_held(self):
        self.queue.publish([f"j:gate:{self.gate()}"])
        worker, _ = self.start_blocked()
        self.record.wait_begun(1)
        waits = threading.Thread(target=self.ctl, args=("reload",))
        waits.start()
        began = time.monotonic()
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertLess(time.monotonic() - began, 4 * patience())
        waits.join()

    def test_read_too_late(self):
        self.queue.publish([f"j:gate:{self.gate()}"])
        worker, lease = self.start_blocked()
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        worker.wait_event("draining")
        lease.give_back()
        self.assertIn("draining", worker.wait_event("configuration not reloaded")["why"])
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)


class Pipes(AdminCase):
    def test_a_pipe_is_read_once(self):
        """Nobody writes into it a second time, and nobody waits for that."""
        pipe = self.directory / "token"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(OLD + "\n",))
        writer.start()
        worker = self.start_admin(extra=f'token_file = "{pipe}"')
        writer.join()
        worker.send(signal.SIGHUP)
        worker.wait_event("configuration reloaded")
        self.assertEqual(self.steer(OLD), 200)
        self.assertEqual(worker.stop()[0], 0)

    def steer(self, token):
        return self.ask("POST", "/resume", Authorization=f"Bearer {token}").status


class Tokens(AdminCase):
    def steer(self, token, connection=None):
        return self.ask("POST", "/resume", connection, Authorization=f"Bearer {token}").status

    def test_a_token_is_rotated(self):
        (self.directory / "token").write_text(OLD + "\n")
        worker = self.start_admin(extra=f'token_file = "{self.directory}/token"')
        kept = self.tcp()
        self.assertEqual(self.steer(OLD, kept), 200)
        (self.directory / "token").write_text(NEW + "\n")
        answer = self.ask("POST", "/reload", Authorization=f"Bearer {OLD}")  # who could begin it hears of it
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json()["changed"], ["the token in admin token_file"])
        self.assertEqual(self.steer(OLD, kept), 401)  # on a connection that was let in before
        self.assertEqual(self.steer(NEW, kept), 200)
        self.assertEqual(self.steer(OLD), 401)
        kept.close()
        self.assertNotIn(NEW, worker.log_text())
        self.assertEqual(worker.stop()[0], 0)

    def test_a_token_comes_and_goes(self):
        worker = self.start_admin()
        self.assertEqual(self.steer(NEW), 403)
        (self.directory / "token").write_text(NEW + "\n")
        good = worker.config_path.read_text()
        worker.config_path.write_text(good.replace('http = "', f'token_file = "{self.directory}/token" http = "'))
        self.assertEqual(self.post("/reload").json()["changed"], ["admin token_file"])
        self.assertEqual(self.steer(NEW), 200)
        worker.config_path.write_text(good)
        self.assertEqual(self.post("/reload").json()["changed"], ["admin token_file"])
        self.assertEqual(self.steer(NEW), 403)
        self.assertEqual(worker.stop()[0], 0)


if __name__ == "__main__":
    unittest.main()
