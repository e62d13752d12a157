"""Jobs that are POSTed: what each answer means, what a request says of its job, connections that are
kept and connections that die, the drain with requests under way."""

import email.utils
import os
import signal
import subprocess
import threading
import time
import unittest
from pathlib import Path

from http_service import Service, answer, cut_off, endless, hang, reset
from ports import free_port
from worker import BUILD, RabbitCase, RedisCase, patience, wait_for

RETRY = 'retry "default" { attempts = 3  backoff = "constant"  first = "50ms"  jitter = 0 }\n'
TIGHT = 'timeout = "2s"  reserve = "500ms"  grace = "300ms"'
DEAD = [400, 409, 422]
RETRIED = [301, 307, 401, 403, 404, 408, 410, 413, 425, 429, 500, 502, 503, 504]


class HttpCase:
    def setUp(self):
        super().setUp()
        self.service = Service()
        self.addCleanup(self.service.close)
        self.gate_event = threading.Event()
        self.addCleanup(self.gate_event.set)

    def handler(self, extra="", url=None):
        return f'handler "h" {{ type = "http"  url = "{url or self.service.url}" {extra} }}\n'

    def start_http(self, extra="", url=None, retry=RETRY, section="", environment=None,
                   wrapper=(), **options):  # fmt: skip
        config = self.config(
            self.queue.section(extra=section), self.handler(extra, url), retry, **options
        )
        return self.start(config, environment=environment, wrapper=wrapper)

    def wait_requests(self, count, tag=None, seconds=20):
        wait_for(
            f"{count} requests", lambda: len(self.service.requests(tag)) >= count, seconds
        )

    def wait_dead(self, count):
        wait_for(f"{count} to be dead", lambda: self.queue.dead_depth() == count)

    def wait_fate(self, worker, count, fate="done", seconds=20):
        def settled():
            return [e for e in worker.events("job settled") if e["fate"] == fate]

        return wait_for(
            f"{count} jobs {fate}", lambda: len(settled()) >= count and settled(), seconds
        )

    def stop_clean(self, worker, code=0):
        got, seconds = worker.stop()
        self.assertEqual(got, code, worker.log_text()[-2000:])
        return seconds

    def fates(self, worker):
        return {k: v for k, v in worker.report()["since_start"].items() if v}


class HttpCases(HttpCase):
    """Hold for both sources."""

    def test_what_a_request_says(self):
        self.queue.publish(["a:hello"])
        worker = self.start_http(extra='timeout = "7s"  headers = {"X-Token: s3kr1t", "X-Two: 2"}')
        self.wait_fate(worker, 1)
        self.stop_clean(worker)
        [request] = self.service.requests()
        self.assertEqual(request.body, b"a:hello")
        headers = request.headers
        self.assertEqual(headers["Content-Type"], "application/octet-stream")
        self.assertEqual(headers["Content-Length"], "7")
        self.assertEqual(headers["Outfall-Source"], self.queue.source)
        self.assertEqual(headers["Outfall-Queue"], self.queue.name)
        self.assertEqual(headers["Outfall-Attempt"], "1")
        self.assertEqual(headers["Outfall-Interruptions"], "0")
        self.assertEqual(headers["Outfall-Crashes"], "0")
        self.assertEqual(headers["Outfall-Redelivered"], "0")
        self.assertEqual(headers["Outfall-Timeout-Ms"], "7000")
        self.assertEqual(headers["Idempotency-Key"], headers["Outfall-Job-Id"])
        self.assertNotIn(headers["Outfall-Job-Id"], (None, ""))
        self.assertRegex(headers["User-Agent"], r"^outfall/\d")
        self.assertEqual((headers["X-Token"], headers["X-Two"]), ("s3kr1t", "2"))
        self.assertIsNone(headers["Expect"])
        self.assertIsNone(headers["Outfall-Checkpoint"])
        self.assertNotIn("s3kr1t", worker.log_text())

    def test_each_status(self):
        for status in RETRIED:
            self.service.plan(f"r{status}", answer(status, f"not {status}\n"), answer(200, "ok"))
        for status in DEAD:
            self.service.plan(f"d{status}", answer(status, f"never {status}\n"))
        tags = [f"r{s}" for s in RETRIED] + [f"d{s}" for s in DEAD] + ["plain"]
        self.queue.publish(tags)
        worker = self.start_http()
        self.wait_dead(len(DEAD))
        self.wait_fate(worker, len(RETRIED) + 1)
        self.stop_clean(worker)
        for status in RETRIED:
            self.assertEqual(self.service.attempts(f"r{status}"), [1, 2], status)
        for status in DEAD:
            self.assertEqual(self.service.attempts(f"d{status}"), [1], status)
        self.assertCountEqual(self.queue.take_dead(), [f"d{s}" for s in DEAD])
        reasons = [e["reason"] for e in worker.events("job settled") if "reason" in e]
        self.assertIn("answered 503: not 503", reasons)
        self.assertIn("answered 422: never 422", reasons)
        self.assertIn("answered 301, redirects are not followed: not 301", reasons)
        self.assertEqual(
            self.fates(worker), {"done": len(RETRIED) + 1, "retried": len(RETRIED), "dead": 3}
        )

    def test_attempts_used_up_is_dead(self):
        self.service.plan("a", answer(500))
        self.queue.publish(["a"])
        worker = self.start_http()
        self.wait_dead(1)
        self.stop_clean(worker)
        self.assertEqual(self.service.attempts("a"), [1, 2, 3])

    def test_retry_after(self):
        """The policy says 50 ms; the answers say a second, and a date two seconds ahead."""
        soon = lambda: email.utils.formatdate(time.time() + 2, usegmt=True)
        self.service.plan("a", answer(429, headers={"Retry-After": "1"}), answer(204))
        self.service.plan(
            "b",
            lambda exchange: answer(503, headers={"Retry-After": soon()})(exchange),
            answer(204),
        )
        self.service.plan("c", answer(503, headers={"Retry-After": "when it suits me"}), answer(204))
        self.queue.publish(["a", "b", "c"])
        worker = self.start_http()
        self.wait_fate(worker, 3)
        self.stop_clean(worker)
        waited = {}
        for tag in "abc":
            first, second = self.service.requests(tag)
            waited[tag] = second.at - first.at
        self.figure("waited " + ", ".join(f"{tag} {s:.2f} s" for tag, s in waited.items()))
        self.assertGreaterEqual(waited["a"], 1.0)
        self.assertGreaterEqual(waited["b"], 1.0)  # dates are whole seconds
        self.assertLess(waited["c"], 1.0 * patience())

    def test_nobody_listens_and_then_somebody_does(self):
        port = free_port()
        self.queue.publish(["a"])
        worker = self.start_http(url=f"http://127.0.0.1:{port}/")
        paused = worker.wait_event("handler paused, it cannot begin jobs; none is counted")
        self.assertRegex(paused["why"], "refused|connect")
        service = Service(port)
        self.addCleanup(service.close)
        self.wait_fate(worker, 1, "done")
        self.stop_clean(worker)
        self.assertEqual(service.attempts("a"), [1])

    def test_a_timeout_is_a_failed_attempt(self):
        self.service.plan("a", hang(self.gate_event))
        self.queue.publish(["a"])
        worker = self.start_http(extra='timeout = "200ms"')
        self.wait_dead(1)
        self.stop_clean(worker)
        self.assertEqual(self.service.attempts("a"), [1, 2, 3])
        reasons = {e["reason"] for e in worker.events("job settled")}
        self.assertEqual(reasons, {"timed out: timeout = 200ms"})

    def test_a_drain_waits_for_answers(self):
        for n in range(6):
            self.service.plan(f"j{n}", hang(self.gate_event))
        self.queue.publish([f"j{n}" for n in range(6)])
        worker = self.start_http(concurrency=2, section="prefetch = 4")
        self.wait_requests(2)
        worker.send(signal.SIGTERM)
        wait_for("the drain", lambda: worker.events("drain moved"))
        self.gate_event.set()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(len(self.service.requests()), 2)
        self.assertEqual(self.fates(worker)["done"], 2)
        wait_for("everybody to let go", self.all_back)
        self.assertCountEqual(self.queue.take_all(), [f"j{n}" for n in range(2, 6)])

    def test_a_drains_deadline_cancels_and_returns(self):
        self.service.plan("a", hang(self.gate_event), answer(204))
        self.queue.publish(["a"])
        worker = self.start_http(drain=TIGHT)
        self.wait_requests(1)
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        self.assertGreater(seconds, 1.0)
        self.assertLess(seconds, 2.1 if patience() == 1 else 2 + 2 * patience())
        [job] = worker.report()["jobs"]
        self.assertEqual((job["fate"], job["duplicate_possible"]), ("returned", True))
        again = self.start_http()
        self.wait_fate(again, 1)
        self.stop_clean(again)
        first, second = self.service.requests("a")
        self.assertEqual(first.headers["Outfall-Interruptions"], "0")
        self.assertEqual(second.headers["Outfall-Attempt"], "1")
        self.assertEqual(second.headers["Outfall-Interruptions"], "1")
        self.assertEqual(second.headers["Outfall-Redelivered"], "1")
        if self.queue.kind == "redis":  # a message without an id gets a new one from each worker
            self.assertEqual(first.headers["Outfall-Job-Id"], second.headers["Outfall-Job-Id"])

    def test_policy_return_cancels_at_once(self):
        self.service.plan("a", hang(self.gate_event))
        self.queue.publish(["a"])
        worker = self.start_http(extra='deadline = "return"')
        self.wait_requests(1)
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        self.assertLess(seconds, 5 * patience())

    def test_policy_finish_uses_the_grace(self):
        self.service.plan("a", hang(self.gate_event))
        self.queue.publish(["a"])
        drain = 'timeout = "20s"  reserve = "1s"  grace = "18s"'  # asked after 1 s
        worker = self.start_http(extra='deadline = "finish"', drain=drain)
        self.wait_requests(1)
        worker.send(signal.SIGTERM)
        moved = lambda: [event["to"] for event in worker.events("drain moved")]
        wait_for("the deadline", lambda: "hurrying" in moved())
        self.gate_event.set()
        self.assertEqual(worker.wait_exit(), 0)

    def test_sigquit_cancels(self):
        self.service.plan("a", hang(self.gate_event))
        self.queue.publish(["a"])
        worker = self.start_http(drain='timeout = "60s"  grace = "30s"')
        self.wait_requests(1)
        code, seconds = worker.stop(signal.SIGQUIT)
        self.assertEqual(code, 12)
        self.assertLess(seconds, 3 * patience())

    def test_a_checkpoint_comes_back(self):
        """Left with an answer that means retry, handed to the next run, and replaced there."""
        self.service.plan(
            "a",
            answer(503, headers={"Outfall-Checkpoint": "page 7 of 50%"}),
            answer(503, headers={"Outfall-Checkpoint-Base64": "AP8K"}),
            answer(204),
        )
        self.service.plan("b", answer(500, headers={"Outfall-Checkpoint-Base64": "!"}), answer(204))
        self.service.plan("c", answer(500, headers={"Outfall-Checkpoint": "x" * 5000}), answer(204))
        self.queue.publish(["a", "b", "c"])
        worker = self.start_http()
        self.wait_fate(worker, 3)
        self.stop_clean(worker)
        left = [
            (r.headers["Outfall-Checkpoint"], r.headers["Outfall-Checkpoint-Base64"])
            for r in self.service.requests("a")
        ]
        self.assertEqual(left, [(None, None), ("page 7 of 50%", None), (None, "AP8K")])
        for tag in "bc":
            self.assertIsNone(self.service.requests(tag)[1].headers["Outfall-Checkpoint"])
        self.assertEqual(len(worker.events("checkpoint is no base64, ignored")), 1)
        self.assertEqual(len(worker.events("checkpoint too large, ignored")), 1)


class RabbitHttp(HttpCases, RabbitCase):
    def test_content_type_and_trace(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        self.queue.publish(
            ["a"], content_type="application/json", message_id="id-7",
            headers={"traceparent": trace},
        )  # fmt: skip
        worker = self.start_http(extra='headers = {"Content-Type: text/plain"}')
        self.wait_fate(worker, 1)
        self.stop_clean(worker)
        headers = self.service.requests("a")[0].headers
        self.assertEqual(headers.get_all("Content-Type"), ["application/json"])
        self.assertEqual(headers["Outfall-Job-Id"], "id-7")
        self.assertEqual(headers["traceparent"], trace)

    def test_ids_cannot_forge_headers(self):
        nasty = "a\r\nOutfall-Attempt: 9\r\n\r\nPOST /admin HTTP/1.1\r\n\r\n%ü"
        self.queue.publish(["a"], message_id=nasty, content_type="x\r\nX-Evil: 1")
        worker = self.start_http()
        self.wait_fate(worker, 1)
        self.stop_clean(worker)
        [request] = self.service.requests()
        self.assertEqual(request.headers["Outfall-Attempt"], "1")
        self.assertIsNone(request.headers["X-Evil"])
        self.assertEqual(
            request.headers["Outfall-Job-Id"],
            "a%0D%0AOutfall-Attempt: 9%0D%0A%0D%0APOST /admin HTTP/1.1%0D%0A%0D%0A%25%C3%BC",
        )
        self.assertEqual(request.headers["Content-Type"], "x%0D%0AX-Evil: 1")


class RedisHttp(HttpCases, RedisCase):
    def test_own_content_type_is_for_jobs_without(self):
        self.queue.publish(["a"])
        worker = self.start_http(extra='headers = {"content-type:  application/json"}')
        self.wait_fate(worker, 1)
        self.stop_clean(worker)
        headers = self.service.requests("a")[0].headers
        self.assertEqual(headers.get_all("Content-Type"), ["application/json"])


class Connections(HttpCase, RedisCase):
    """What does not depend on where a job comes from."""

    def test_connections_are_kept(self):
        self.queue.publish([f"j{n}" for n in range(500)])
        worker = self.start_http(concurrency=4, level="info")
        self.wait_requests(500)
        self.stop_clean(worker)
        self.figure(f"500 jobs, 4 at once: {self.service.connections} connections")
        self.assertLessEqual(self.service.connections, 4)

    def test_the_handlers_concurrency_is_its_width(self):
        for n in range(8):
            self.service.plan(f"j{n}", hang(self.gate_event))
        self.queue.publish([f"j{n}" for n in range(8)])
        worker = self.start_http(extra="concurrency = 3", concurrency=8)
        self.wait_requests(3)
        self.gate_event.set()
        self.wait_requests(8)
        self.stop_clean(worker)
        self.assertLessEqual(self.service.connections, 3)

    def test_connections_closed_while_idle(self):
        """The server closes each behind its answer without a word, so that many a request meets a dead
        connection: each job is done, once, at its first attempt."""
        count = 1000
        for n in range(count):
            self.service.plan(f"j{n}", answer(200, "ok", close_unsaid=True))
        self.queue.publish([f"j{n}" for n in range(count)])
        worker = self.start_http(concurrency=4, level="info")
        self.wait_requests(count, seconds=60)
        wait_for("all to be settled", lambda: self.queue.unsettled() == 0)
        self.stop_clean(worker)
        self.figure(f"{count} jobs over {self.service.connections} connections")
        self.assertEqual(self.fates(worker), {"done": count})
        self.assertEqual({r.headers["Outfall-Attempt"] for r in self.service.requests()}, {"1"})
        self.assertEqual(len(self.service.requests()), count)

    def test_a_server_that_breaks_down_costs_attempts(self):
        """A kept connection that dies at once is taken for one closed while idle, and the job is sent
        again; one that dies later took the job with it. Neither goes on within one attempt."""
        self.service.plan("quick", reset())
        self.service.plan("slow", reset(after=1.5))
        self.queue.publish(["warm", "slow"])
        worker = self.start_http(concurrency=1)
        self.wait_dead(1)
        self.assertEqual(self.service.attempts("slow"), [1, 2, 3])
        self.queue.publish(["warm", "quick"])
        self.wait_dead(2)
        self.stop_clean(worker)
        self.assertEqual(self.service.attempts("quick"), [1, 1, 2, 3])

    def test_a_kept_connection_that_dies_late(self):
        self.service.plan("a", reset(after=1.5), answer(204))
        self.queue.publish(["warm", "a"])
        worker = self.start_http(concurrency=1)
        self.wait_fate(worker, 2)
        self.stop_clean(worker)
        warm, first, second = self.service.requests()
        self.assertEqual(warm.connection, first.connection, "it was to be kept")
        self.assertEqual(self.service.attempts("a"), [1, 2])

    def test_half_an_answer_is_none(self):
        self.service.plan("a", cut_off(200), cut_off(422), answer(200, "ok"))
        self.queue.publish(["a"])
        worker = self.start_http()
        self.wait_fate(worker, 1)
        self.stop_clean(worker)
        self.assertEqual(self.service.attempts("a"), [1, 2, 3])

    def test_large_bodies(self):
        bodies = [f"b{n}:".encode() + os.urandom(1 << 20) * 20 for n in range(3)] + [b"", b"\0"]
        self.queue.publish(bodies)
        worker = self.start_http(concurrency=2)
        self.wait_fate(worker, 5, seconds=60)
        self.stop_clean(worker)
        self.assertCountEqual([r.body for r in self.service.requests()], bodies)

    def test_an_answer_without_end(self):
        self.service.plan("a", endless)
        self.queue.publish(["a"])
        worker = self.start_http(extra='timeout = "2s"', retry='retry "default" { attempts = 1 }\n')
        self.wait_requests(1)
        wait_for("50 MB of answer", lambda: self.service.written > 50 << 20)
        status = Path(f"/proc/{worker.pid}/status").read_text()
        peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
        self.wait_dead(1)
        self.stop_clean(worker)
        self.figure(f"{self.service.written >> 20} MB of answer read, peak memory {peak_mb:.0f} MB")
        self.assertLess(peak_mb, 40 * patience() ** 2)
        self.assertEqual(worker.events("job settled")[0]["reason"], "timed out: timeout = 2s")

    def test_headers_without_end(self):
        def endless_headers(exchange):
            exchange.send_response(200)
            exchange.flush_headers()
            try:
                while True:
                    exchange.wfile.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            except OSError:
                exchange.close_connection = exchange.broken = True

        self.service.plan("a", endless_headers)
        self.queue.publish(["a"])
        worker = self.start_http(retry='retry "default" { attempts = 1 }\n')
        self.wait_dead(1)
        status = Path(f"/proc/{worker.pid}/status").read_text()
        peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
        self.stop_clean(worker)
        self.figure(f"peak memory {peak_mb:.0f} MB, {worker.events('job settled')[0]['reason']}")
        self.assertLess(peak_mb, 40 * patience() ** 2)

    def test_stop_while_idle_with_kept_connections(self):
        took = []
        for _ in range(5):
            self.queue.publish([f"j{n}" for n in range(8)])
            worker = self.start_http(concurrency=8)
            self.wait_fate(worker, 8)
            self.wait_consuming(worker)
            took.append(self.stop_clean(worker) * 1000)
        self.figure("SIGTERM to exit: " + ", ".join(f"{ms:.1f}" for ms in took) + " ms")
        self.assertLess(min(took), 1000 * patience())

    def test_a_silent_name_server_does_not_hold_the_exit(self):
        """The look-up itself never comes back: a getaddrinfo() of the test's."""
        self.queue.publish(["a"])
        shim = BUILD / "tests" / "integration" / "silent_resolver.so"
        worker = self.start_http(
            url="http://silent.test/", drain=TIGHT,
            environment={
                "LD_PRELOAD": str(shim),
                "ASAN_OPTIONS": "exitcode=0:detect_leaks=0:verify_asan_link_order=0",
            },
        )  # fmt: skip
        wait_for("the look-up", lambda: "silent look-up" in worker.log_text())
        code, seconds = worker.stop()
        self.figure(f"exit after {seconds:.2f} s of 2 s, with a look-up under way")
        self.assertEqual(code, 0)  # nothing was sent, so it had not begun
        self.assertLess(seconds, 1 if patience() == 1 else 2 * patience())
        self.assertEqual(self.queue.waiting(), ["a"])

    def test_a_silent_name_server_is_a_connect_timeout(self):
        """And others go on meanwhile: the loop is not held either."""
        self.queue.publish(["a"])
        shim = BUILD / "tests" / "integration" / "silent_resolver.so"
        worker = self.start_http(
            url="http://silent.test/", extra='connect_timeout = "300ms"',
            environment={
                "LD_PRELOAD": str(shim),
                "ASAN_OPTIONS": "exitcode=0:detect_leaks=0:verify_asan_link_order=0",
            },
        )  # fmt: skip
        paused = worker.wait_event("handler paused, it cannot begin jobs; none is counted")
        self.stop_clean(worker)
        self.assertIn("timed out", paused["why"])

    def test_a_kept_connection_is_not_kept_for_ever(self):
        worker = self.start_http(extra='max_connection_age = "1s"')

        def another():
            self.queue.publish(["a"])
            wait_for("it to be settled", lambda: self.queue.unsettled() == 0)
            return self.service.connections > 1

        wait_for("another connection", another)
        self.stop_clean(worker)
        self.assertGreater(len(self.service.requests("a")), 2)  # the first was used again

    def test_a_proxy_in_the_environment_is_not_asked(self):
        self.queue.publish(["a"])
        proxy = f"http://127.0.0.1:{free_port()}"
        worker = self.start_http(environment={"http_proxy": proxy, "ALL_PROXY": proxy})
        self.wait_fate(worker, 1)
        self.stop_clean(worker)

    def test_a_password_is_sent_and_never_shown(self):
        self.service.plan("a", answer(500), answer(204))
        self.queue.publish(["a"])
        worker = self.start_http(url=f"http://me:s3kr1t@127.0.0.1:{self.service.port}/")
        self.wait_fate(worker, 1)
        self.stop_clean(worker)
        self.assertEqual(self.service.requests("a")[0].headers["Authorization"], "Basic bWU6czNrcjF0")
        # Nor when there is nobody to send it to.
        self.queue.publish(["b"])
        lost = self.start_http(url=f"http://me:s3kr1t@127.0.0.1:{free_port()}/")
        lost.wait_event("handler paused, it cannot begin jobs; none is counted")
        self.stop_clean(lost)
        for one in (worker, lost):
            self.assertNotIn("s3kr1t", one.log_text())

    def test_no_descriptor_is_left_behind(self):
        self.service.plan("bad", cut_off(200))
        worker = self.start_http(concurrency=4, retry='retry "default" { attempts = 1 }\n')
        descriptors = lambda: len(os.listdir(f"/proc/{worker.pid}/fd"))
        counts = []
        for _ in range(5):
            self.queue.publish(["bad:"] * 20 + [f"j{n}" for n in range(20)])
            wait_for("all to be settled", lambda: self.queue.unsettled() == 0)
            counts.append(descriptors())
        self.stop_clean(worker)
        self.assertLessEqual(max(counts[1:]), counts[0] + 4, counts)


class Tls(HttpCase, RedisCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.place = Path(cls.broker.directory)
        cls.make("ca", "/CN=test ca", "basicConstraints=critical,CA:true")
        cls.make("good", "/CN=good", "subjectAltName=IP:127.0.0.1", "ca")
        cls.make("wrong", "/CN=wrong", "subjectAltName=DNS:elsewhere.test", "ca")
        cls.make("stranger", "/CN=127.0.0.1", "subjectAltName=IP:127.0.0.1")

    @classmethod
    def make(cls, name, subject, extension, signer=None):
        """NAME.pem holds key and certificate."""
        key, crt, pem = (cls.place / f"{name}.{end}" for end in ("key", "crt", "pem"))
        command = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", subject, "-addext", extension,
            "-keyout", str(key), "-out", str(crt),
        ]  # fmt: skip
        if signer:
            command += ["-CA", f"{cls.place}/{signer}.crt", "-CAkey", f"{cls.place}/{signer}.key"]
            command += ["-addext", "basicConstraints=critical,CA:false"]
        subprocess.run(command, check=True, stderr=subprocess.PIPE)
        pem.write_text(key.read_text() + crt.read_text())

    def serve(self, certificate):
        service = Service(certificate=self.place / f"{certificate}.pem")
        self.addCleanup(service.close)
        return service

    def trusting(self):
        return f'ca_file = "{self.place}/ca.crt"'

    def test_a_good_certificate(self):
        service = self.serve("good")
        self.queue.publish([f"j{n}" for n in range(50)])
        worker = self.start_http(extra=self.trusting(), url=service.url, concurrency=2)
        self.wait_fate(worker, 50)
        self.stop_clean(worker)
        self.assertLessEqual(service.connections, 2)

    def refused(self, certificate, extra):
        service = self.serve(certificate)
        self.queue.publish(["a"])
        worker = self.start_http(extra=extra, url=service.url)
        paused = worker.wait_event("handler paused, it cannot begin jobs; none is counted")
        self.stop_clean(worker)
        self.assertEqual(service.requests(), [])
        self.assertEqual(self.queue.dead_depth(), 0)
        self.figure(paused["why"])
        return paused["why"]

    def test_an_unknown_authority(self):
        self.assertIn("certificate", self.refused("good", ""))

    def test_somebody_elses_authority(self):
        self.assertIn("certificate", self.refused("stranger", self.trusting()))

    def test_somebody_elses_name(self):
        self.assertIn("certificate", self.refused("wrong", self.trusting()))


if __name__ == "__main__":
    unittest.main(verbosity=2)
