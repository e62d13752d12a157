"""TLS against the real brokers, which want a certificate of their clients as well: good ones and bad
ones, files and passwords that change while the worker runs, handshakes that never end. What a bad
certificate means is always the same: a sentence in the log, a wait, and no job lost."""

import os
import signal
import time
import unittest

from authority import Authority
from brokers import RabbitMQ, RabbitQueue, Redis, RedisList, folder, patience, wait_for
from relay import Relay
from worker import WorkerCase

GOOD = "DNS:localhost,IP:127.0.0.1"
DRAIN = 'timeout = "4s"  reserve = "1s"  grace = "500ms"'


def home(name):
    """A folder for a broker, with the certificates that make it listen for TLS."""
    directory = folder(name)
    root = Authority(directory / "root", "Outfall Test Root")
    tls = directory / "tls"
    tls.mkdir()
    os.link(root.pem, tls / "ca.pem")
    root.issue(tls / "server.pem", tls / "server.key", "server", GOOD)
    return directory, root


class TlsCases:
    cut = False

    def client_files(self, name="worker"):
        self.root.issue(self.directory / "worker.pem", self.directory / "worker.key", name)
        ca = self.directory / "ca.pem"
        ca.write_bytes(self.root.pem.read_bytes())

    def tls_section(self, url=None, extra="", cert=True):
        """Relative names, as operators write them."""
        files = 'ca_file = "ca.pem"\n'
        if cert:
            files += 'cert_file = "worker.pem"  key_file = "worker.key"\n'
        text = self.queue.section(url=url or self.tls_url(), extra=self.extra)
        return text.replace("{\n", "{\n" + files + extra, 1)

    def setUp(self):
        super().setUp()
        self.client_files()

    def serve(self, names=GOOD, authority=None, start=-1, end=30):
        """The certificate that the broker shows from now on; a good one again after the test."""
        self.show(names, authority, start, end)
        self.addCleanup(self.show)

    def show(self, names=GOOD, authority=None, start=-1, end=30):
        tls = self.broker.directory / "tls"
        (authority or self.root).issue(
            tls / "server.pem", tls / "server.key", "server", names, start, end
        )
        self.reload_certificate()

    def troubles(self, worker):
        return [e for e in worker.events() if "reconnecting" in e["event"]]

    def wait_trouble(self, worker, text):
        def found():
            self.assertIsNone(worker.process.poll(), worker.log_text())
            return [e for e in self.troubles(worker) if text in e.get("why", "")]

        return wait_for(f"trouble: {text}", found)[0]

    def run_some(self, worker, bodies=("a", "b", "c")):
        self.queue.publish(bodies)
        wait_for("jobs to run", lambda: set(bodies) <= set(self.record.ended()))

    def finish(self, worker):
        """Where no link was cut no job may have run twice. Else what was done and not yet proved told
        may have, and lost would be what never ends."""
        self.assertEqual(worker.stop()[0], 0)
        if not self.cut:
            self.assertEqual(self.record.ended_twice(), [])

    def relay(self):
        """To be dialled in place of the broker."""
        relay = Relay(self.broker.tls_port)
        self.addCleanup(relay.close)
        self.cut = True
        return relay

    # --- certificates ---

    def test_jobs_run(self):
        """Dialled by address, which the certificate names."""
        worker = self.start(self.config(self.tls_section(extra='tls_verify = "full"\n')))
        self.run_some(worker)
        self.assertIn("TLSv1.", worker.log_text())
        self.finish(worker)

    def test_by_name(self):
        worker = self.start(self.config(self.tls_section(self.tls_url(host="localhost"))))
        self.run_some(worker)
        self.finish(worker)

    def bad_certificate(self, sentence, **served):
        self.serve(**served)
        self.queue.publish(["a"])
        worker = self.start(self.config(self.tls_section()))
        begun = time.monotonic()
        self.wait_trouble(worker, sentence)
        wait_for("a second attempt", lambda: len(self.troubles(worker)) >= 2)
        # No spin: waits double from a twentieth of a second.
        self.assertLess(len(self.troubles(worker)), 4 + 5 * (time.monotonic() - begun))
        self.assertEqual(self.record.begun(), [])
        self.show()
        self.record.wait_ended(1)
        self.finish(worker)

    def test_expired(self):
        self.bad_certificate("the certificate for localhost, 127.0.0.1 expired on", start=-3, end=-1)

    def test_wrong_name(self):
        self.bad_certificate(
            "the certificate is for a.example, 10.1.2.3, not for 127.0.0.1",
            names="DNS:a.example,IP:10.1.2.3",
        )

    def test_unknown_authority(self):
        self.bad_certificate(
            'is signed by "Somebody Else", whom ',
            authority=Authority(self.directory / "else", "Somebody Else"),
        )

    def test_wrong_name_allowed(self):
        self.serve(names="DNS:a.example")
        for extra in ('tls_verify = "ca"\n', 'tls_server_name = "a.example"\n'):
            worker = self.start(self.config(self.tls_section(extra=extra)))
            self.run_some(worker, [extra[:7] + "1", extra[:7] + "2"])
            self.finish(worker)

    def test_no_client_certificate(self):
        worker = self.start(self.config(self.tls_section(cert=False)))
        self.wait_trouble(worker, "a certificate from us")
        self.finish(worker)

    def test_plain_words_to_a_tls_port(self):
        worker = self.start(self.config(self.queue.section(url=self.plain_url_to_tls())))
        wait_for("trouble", lambda: self.troubles(worker))
        self.assertIsNone(worker.process.poll())
        self.finish(worker)

    def test_tls_to_a_plain_port(self):
        worker = self.start(self.config(self.tls_section(self.tls_url(port=self.broker.port))))
        self.wait_trouble(worker, "tls 127.0.0.1")
        self.finish(worker)

    # --- what changes while it runs ---

    def test_new_authority(self):
        """The broker's comes first, and is not trusted until ours follows."""
        relay = self.relay()
        worker = self.start(self.config(self.tls_section(self.tls_url(port=relay.port))))
        self.run_some(worker)
        new = Authority(self.directory / "new", "New Root")
        self.serve(authority=new)
        relay.cut()
        self.wait_trouble(worker, 'signed by "New Root"')
        (self.directory / "next.pem").write_bytes(new.pem.read_bytes())
        (self.directory / "next.pem").replace(self.directory / "ca.pem")
        self.run_some(worker, ["d", "e"])
        self.finish(worker)

    def test_new_client_certificate(self):
        """An expired one is refused; the one that takes its place is found without a restart."""
        self.root.issue(
            self.directory / "worker.pem", self.directory / "worker.key", "worker", None, -3, -1
        )
        worker = self.start(self.config(self.tls_section()))
        self.wait_trouble(worker, "refused our certificate")
        self.client_files()
        self.run_some(worker)
        self.finish(worker)

    def test_half_written_files(self):
        """What was read before holds, and the log says so."""
        relay = self.relay()
        worker = self.start(self.config(self.tls_section(self.tls_url(port=relay.port))))
        self.run_some(worker)
        (self.directory / "worker.pem").write_text("-----BEGIN CERT")
        relay.cut()
        worker.wait_event("certificates not read again, keeping the last ones")
        self.run_some(worker, ["d"])
        self.finish(worker)

    def test_new_password(self):
        """In the file and on the broker, in either order; a wrong one is never an exit once it has
        run."""
        relay = self.relay()
        password = self.directory / "password"
        password.write_text("first\n")
        self.set_password("first")
        self.addCleanup(self.reset_password)
        url = self.tls_url(port=relay.port, login=self.user_without_password)
        worker = self.start(
            self.config(self.tls_section(url, 'password_file = "password"\n'))
        )
        self.run_some(worker)
        self.set_password("second")
        password.write_text("second\n")
        relay.cut()
        self.run_some(worker, ["d"])
        self.assertFalse([e for e in self.troubles(worker) if self.refusal in e.get("why", "")])
        self.set_password("third")
        relay.cut()
        self.wait_trouble(worker, self.refusal)
        password.write_text("third\n")
        self.run_some(worker, ["e"])
        password.unlink()
        relay.cut()
        event = worker.wait_event("secret not read again, keeping the last one")
        self.assertIn("password_file", event["why"])
        self.run_some(worker, ["f"])
        self.assertNotIn("third", worker.log_text())
        self.finish(worker)

    def test_wrong_password_at_start(self):
        url = self.tls_url(login=self.wrong_login)
        worker = self.start(self.config(self.tls_section(url)))
        self.assertEqual(worker.wait_exit(), 69)
        self.assertNotIn("wr0ng", worker.log_text())

    # --- drains ---

    def test_drain_while_the_handshake_hangs(self):
        relay = self.relay()
        relay.silent = True
        worker = self.start(self.config(self.tls_section(self.tls_url(port=relay.port)), drain=DRAIN))
        wait_for("a connection", lambda: relay.accepted)
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 1 * patience())

    def test_handshake_ends_at_the_deadline(self):
        relay = self.relay()
        relay.silent = True
        section = self.tls_section(self.tls_url(port=relay.port), 'connect_timeout = "300ms"\n')
        worker = self.start(self.config(section))
        self.wait_trouble(worker, "timed out")
        relay.silent = False
        self.run_some(worker)
        self.finish(worker)

    def test_drain_with_jobs_and_a_hanging_handshake(self):
        """The link is lost while jobs run, and the way back hangs: the exit keeps its time."""
        relay = self.relay()
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(4)])
        section = self.tls_section(self.tls_url(port=relay.port))
        worker = self.start(self.config(section, concurrency=2, drain=DRAIN))
        self.record.wait_begun(2)
        relay.silent = True
        before = relay.accepted
        relay.cut()
        wait_for("the way back to hang", lambda: relay.accepted > before)
        begun = time.monotonic()
        worker.send(signal.SIGTERM)
        self.open_gate()
        self.record.wait_ended(2)
        self.assertEqual(worker.wait_exit(30), 11)
        self.assertLess(time.monotonic() - begun, 4.5 if patience() == 1 else 4 + 2 * patience())
        self.assertEqual(worker.report()["fates"]["unsettled"], 2)

    def test_drain_returns_what_is_unbegun(self):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(20)])
        worker = self.start(self.config(self.tls_section(), concurrency=2))
        self.record.wait_begun(2)
        worker.send(signal.SIGTERM)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        wait_for("the rest to be back", lambda: self.queue.depth() == 18)

    # --- bytes ---

    def test_large_bodies(self):
        """Many records each, both ways round."""
        bodies = ["x" * (3 << 20), "y" * (1 << 20)]
        self.queue.publish(bodies)
        worker = self.start(
            self.config(self.tls_section(), self.exec_handler(command=["/usr/bin/wc", "-c"]))
        )
        wait_for("the bodies", lambda: {"3145728", "1048576"} <= self.said(worker))
        wait_for("the queue to be empty", lambda: self.queue.depth() == 0)
        self.finish(worker)

    def said(self, worker):
        return {word for e in worker.events() for word in str(e.get("line", "")).split()}

    def test_enqueue(self):
        config = self.directory / "enqueue.conf"
        config.write_text(self.config(self.tls_section()).replace("@REPORT@", "/dev/null"))
        target = f"{self.queue.source}/{self.queue.name}"
        done = self.run_outfall("enqueue", "-c", config, target, "--body", "n{n}", "--count", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.queue.depth(), 3)
        self.serve(names="DNS:a.example")
        done = self.run_outfall("enqueue", "-c", config, target, "--body", "x")
        self.assertEqual(done.returncode, 69)
        self.assertIn("the certificate is for a.example, not for 127.0.0.1", done.stderr)


class RabbitTls(TlsCases, WorkerCase):
    extra = "prefetch = 8"
    user_without_password = "rotating"
    wrong_login = "guest:wr0ng"
    refusal = "ACCESS_REFUSED"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        directory, cls.root = home("rabbitmq")
        cls.broker = RabbitMQ(directory)
        cls.addClassCleanup(cls.broker.stop)
        cls.vhosts = iter(cls.broker.vhosts(len(unittest.defaultTestLoader.getTestCaseNames(cls))))

    def setUp(self):
        self.queue = RabbitQueue(self.broker, next(self.vhosts))
        self.addCleanup(self.queue.close)
        super().setUp()

    def tls_url(self, host="127.0.0.1", port=None, login="guest:guest"):
        return f"amqps://{login}@{host}:{port or self.broker.tls_port}/{self.queue.vhost}"

    def plain_url_to_tls(self):
        return f"amqp://guest:guest@127.0.0.1:{self.broker.tls_port}/{self.queue.vhost}"

    def reload_certificate(self):
        pass  # it has no cache of them; see private_brokers.sh

    def set_password(self, password):
        user = f'<<"{self.user_without_password}">>'
        self.broker.ctl(
            "eval",
            f"case rabbit_auth_backend_internal:exists({user}) of "
            f'true -> rabbit_auth_backend_internal:change_password({user}, <<"{password}">>, <<"t">>); '
            f'false -> rabbit_auth_backend_internal:add_user({user}, <<"{password}">>, <<"t">>) end, '
            f'rabbit_auth_backend_internal:set_permissions({user}, <<"{self.queue.vhost}">>, '
            f'<<".*">>, <<".*">>, <<".*">>, <<"t">>).',
        )

    def reset_password(self):
        self.broker.ctl("delete_user", self.user_without_password)

    def external_section(self):
        return self.tls_section(self.tls_url().replace("guest:guest@", ""), 'auth = "external"\n')

    def test_external(self):
        """The certificate's common name is the user."""
        self.client_files("guest")
        worker = self.start(self.config(self.external_section()))
        self.run_some(worker)
        self.finish(worker)

    def test_external_nobody(self):
        self.client_files("nobody")
        worker = self.start(self.config(self.external_section()))
        self.assertEqual(worker.wait_exit(), 69)
        self.assertIn("ACCESS_REFUSED", worker.log_text())

    def test_several_nodes(self):
        """Two doors to one broker: when one closes, the other is taken at once."""
        doors = [self.relay(), self.relay()]
        urls = ", ".join(f'"{self.tls_url(port=door.port)}"' for door in doors)
        section = self.tls_section().replace(f'url = "{self.tls_url()}"', f"urls = {{{urls}}}")
        worker = self.start(self.config(section))
        self.run_some(worker)
        used, other = sorted(doors, key=lambda door: -door.accepted)
        before = other.accepted
        used.cut()
        event = wait_for("the loss", lambda: self.troubles(worker))[0]
        self.assertEqual(event["wait_ms"], 0)
        wait_for("the other door", lambda: other.accepted > before)
        self.run_some(worker, ["d"])
        self.finish(worker)

    def test_first_node_is_down(self):
        """In whatever order: the good one is found, by the worker and by enqueue."""
        gone = Relay(self.broker.tls_port)
        gone.close()
        urls = f'"{self.tls_url(port=gone.port)}", "{self.tls_url()}"'
        section = self.tls_section().replace(f'url = "{self.tls_url()}"', f"urls = {{{urls}}}")
        config = self.directory / "enqueue.conf"
        config.write_text(self.config(section).replace("@REPORT@", "/dev/null"))
        for n in range(6):
            done = self.run_outfall(
                "enqueue", "-c", config, f"{self.queue.source}/{self.queue.name}", "--body", f"n{n}"
            )
            self.assertEqual(done.returncode, 0, done.stderr)
        worker = self.start(self.config(section))
        self.record.wait_ended(6)
        self.finish(worker)


class RedisTls(TlsCases, WorkerCase):
    extra = 'lease = "3s"'
    user_without_password = "rotating"
    wrong_login = "nobody:wr0ng"
    refusal = "WRONGPASS"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        directory, cls.root = home("redis")
        cls.broker = Redis(directory)
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        self.queue = RedisList(self.broker)
        self.queue.client.flushall()
        super().setUp()

    def tls_url(self, host="127.0.0.1", port=None, login=""):
        at = login + "@" if login else ""
        return f"rediss://{at}{host}:{port or self.broker.tls_port}/0"

    def plain_url_to_tls(self):
        return f"redis://127.0.0.1:{self.broker.tls_port}/0"

    def reload_certificate(self):
        """Redis reads key and certificate together, when told either."""
        tls = self.broker.directory / "tls"
        self.queue.client.execute_command(
            "CONFIG", "SET", "tls-cert-file", str(tls / "server.pem"),
            "tls-key-file", str(tls / "server.key"),
        )  # fmt: skip

    def set_password(self, password):
        self.queue.client.execute_command(
            "ACL", "SETUSER", self.user_without_password, "on", "resetpass", ">" + password,
            "~*", "&*", "+@all",
        )  # fmt: skip

    def reset_password(self):
        self.queue.client.execute_command("ACL", "DELUSER", self.user_without_password)

    def test_acl_user(self):
        """HELLO-less AUTH with a user and a password, as the URL has them."""
        self.set_password("p@ss/word")
        self.addCleanup(self.reset_password)
        worker = self.start(
            self.config(self.tls_section(self.tls_url(login="rotating:p%40ss%2Fword")))
        )
        self.run_some(worker)
        self.finish(worker)

    def test_password_of_the_default_user(self):
        client = self.queue.client
        client.config_set("requirepass", "sesame")
        self.addCleanup(client.config_set, "requirepass", "")
        worker = self.start(self.config(self.tls_section(self.tls_url(login=":sesame"))))
        self.run_some(worker)
        self.finish(worker)


if __name__ == "__main__":
    unittest.main(verbosity=2)
