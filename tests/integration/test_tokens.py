"""Passwords that end: tokens of OAuth 2, which somebody renews in a file. The broker has the plugin for them, and a key
of ours to check them with."""

import base64
import hashlib
import hmac
import json
import secrets
import signal
import time
import unittest

from brokers import RabbitMQ, RabbitQueue, folder, wait_for
from worker import RabbitCase

KEY = secrets.token_bytes(32)
TOLD = "password has changed, told the broker"


def encode(what):
    data = what if isinstance(what, bytes) else json.dumps(what).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(seconds):
    """With all rights, for so long."""
    scopes = [f"rabbitmq.{what}:*/*" for what in ("configure", "write", "read")]
    claims = {"aud": ["rabbitmq"], "sub": "worker", "scope": scopes, "exp": int(time.time() + seconds)}
    text = encode({"alg": "HS256", "kid": "k", "typ": "JWT"}) + "." + encode(claims)
    return text + "." + encode(hmac.new(KEY, text.encode(), hashlib.sha256).digest())


class Tokens(RabbitCase):
    @classmethod
    def find_broker(cls):
        broker = RabbitMQ(folder("tokens"))
        cls.addClassCleanup(broker.stop)
        broker.ctl("eval", f'''
            [code:add_pathz(D) || D <- filelib:wildcard("/usr/lib/rabbitmq/lib/*/plugins/*/ebin")],
            Oauth = rabbitmq_auth_backend_oauth2,
            application:load(Oauth),
            application:set_env(Oauth, resource_server_id, <<"rabbitmq">>),
            application:set_env(Oauth, key_config, [{{default_key, <<"k">>}}, {{signing_keys, #{{<<"k">> =>
                {{map, #{{<<"kty">> => <<"oct">>, <<"k">> => <<"{encode(KEY)}">>}}}}}}}}]),
            {{ok, _}} = application:ensure_all_started(Oauth),
            application:set_env(rabbit, auth_backends, [rabbit_auth_backend_oauth2, rabbit_auth_backend_internal]).''')
        return broker

    def start_worker(self, seconds):
        """With a token for so long."""
        self.token = self.directory / "token"
        self.renew(seconds)
        self.ends = time.time() + seconds
        url = f"amqp://any@127.0.0.1:{self.broker.port}/{self.queue.vhost}"
        section = self.queue.section(url=url).replace("{\n", '{\n password_file = "token"\n', 1)
        worker = self.start(self.config(section))
        worker.wait_event("consumer started")
        return worker

    def renew(self, seconds=3600):
        self.token.with_suffix(".new").write_text(token(seconds) + "\n")
        self.token.with_suffix(".new").rename(self.token)

    def wait_end(self):
        """Of the first token, as the broker counts."""
        wait_for("the token's end", lambda: time.time() > self.ends + 1.5, 60, every=0.1)

    def consume_again(self, worker):
        """Which takes the right to."""
        count = len(worker.events("drain moved"))
        worker.send(signal.SIGTSTP)
        worker.wait_event("drain moved", count + 1)
        worker.send(signal.SIGCONT)

    def assert_works(self, worker, name):
        self.queue.publish([f"{name}:fail-until:2"])  # publishes, too
        wait_for("its second run", lambda: name in self.record.ended())

    def test_a_new_one_in_time(self):
        worker = self.start_worker(25)
        self.assert_works(worker, "before")
        self.renew()
        worker.wait_event(TOLD, 2)  # to publish it has a connection of its own
        self.wait_end()
        self.consume_again(worker)
        worker.wait_event("consumer started", 2)
        self.assert_works(worker, "after")
        self.assertEqual(len(worker.events("rabbitmq connected")), 1)
        self.assertEqual(worker.events("rabbitmq connection lost, reconnecting"), [])
        self.assertEqual(worker.stop()[0], 0)

    def test_a_new_one_too_late(self):
        worker = self.start_worker(8)
        self.wait_end()
        self.consume_again(worker)
        trouble = ("channel closed by the broker, reopening", "rabbitmq connection lost, reconnecting")
        wait_for("a refusal", lambda: [e for e in worker.events() if e["event"] in trouble])
        self.renew()
        worker.wait_event("consumer started", 2, 40)
        self.assert_works(worker, "after")
        self.assertGreaterEqual(len(worker.events("rabbitmq connected")), 2)
        self.assertEqual(worker.stop()[0], 0)


class Passwords(RabbitCase):
    """Of the broker's own users: they do not end, and a new one is told all the same."""

    def test_a_new_password(self):
        user = f'<<"{self.queue.vhost}">>'
        self.broker.ctl("eval", f'rabbit_auth_backend_internal:add_user({user}, <<"first">>, <<"t">>), '
            f'rabbit_auth_backend_internal:set_permissions({user}, <<"{self.queue.vhost}">>, <<".*">>, <<".*">>, '
            '<<".*">>, <<"t">>).')  # fmt: skip
        password = self.directory / "password"
        password.write_text("first\n")
        url = f"amqp://{self.queue.vhost}@127.0.0.1:{self.broker.port}/{self.queue.vhost}"
        section = self.queue.section(url=url).replace("{\n", '{\n password_file = "password"\n', 1)
        worker = self.start(self.config(section))
        worker.wait_event("consumer started")
        password.write_text("second\n")
        worker.wait_event(TOLD)
        self.queue.publish(["a"])
        self.record.wait_ended(1)
        self.assertEqual(len(worker.events("rabbitmq connected")), 1)
        self.assertEqual(worker.stop()[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
