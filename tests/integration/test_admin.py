"""Looking in and steering: every endpoint on both listeners, health across a drain, the feed with a
WebSocket client that is not ours, requests that mean harm, and outfall ctl."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest

import websockets

from worker import BUILD, OUTFALL, RabbitCase, RedisCase, patience, wait_for

TOKEN = "a-token-of-some-length"
TIGHT = 'timeout = "3s"  reserve = "500ms"  grace = "300ms"'


UPGRADE = (
    b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(opcode, payload=b""):
    """What a client sends: masked, with a mask of zeros; less than 126 bytes."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20 * patience())
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def half_close(sock):
    with contextlib.suppress(OSError):  # the worker may have cut it already
        sock.shutdown(socket.SHUT_WR)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        self.closes = response.will_close

    def json(self):
        return json.loads(self.body)


class AdminCase(RedisCase):
    def setUp(self):
        super().setUp()
        self.socket_path = self.directory / "a.sock"

    def admin(self, token=False, extra=""):
        if token:
            (self.directory / "token").write_text(TOKEN + "\n")
            extra += f'  token_file = "{self.directory}/token"'
        return f'admin {{ socket = "{self.socket_path}"  http = "127.0.0.1:0"  {extra} }}\n'

    def start_admin(self, *sections, token=False, extra="", ready=True, **options):
        sections = sections or (self.queue.section(extra="prefetch = 10"),)
        worker = self.start(self.config(*sections, self.admin(token, extra), **options))
        listening = worker.wait_event("admin listening", 2)
        self.port = int(listening["http"].rsplit(":", 1)[1])
        if ready:
            wait_for("readiness", lambda: self.get("/readyz").status == 200)
        return worker

    def start_busy(self, jobs=1, **options):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(jobs)])
        worker = self.start_admin(**options)
        self.record.wait_begun(jobs)
        return worker

    def tcp(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20 * patience())

    def unix(self):
        return UnixConnection(self.socket_path)

    def ask(self, method, path, connection=None, **headers):
        """One request; the connection is closed unless it was given."""
        ours = connection or self.tcp()
        ours.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = Answer(ours.getresponse())
        if connection is None:
            ours.close()
        return answer

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, **headers):
        """Over the Unix socket."""
        with contextlib.closing(self.unix()) as connection:
            return self.ask("POST", path, connection, **headers)

    def status(self):
        return self.get("/status").json()

    def raw(self, data=b""):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20 * patience())
        self.addCleanup(sock.close)
        sock.sendall(data)
        return sock

    def ctl(self, *arguments):
        return self.run_outfall("ctl", "-s", self.socket_path, *arguments)


class Pages(AdminCase):
    def test_every_endpoint_on_both_listeners(self):
        worker = self.start_admin()
        types = {
            "/": "text/html; charset=utf-8",
            "/page.css": "text/css; charset=utf-8",
            "/page.js": "text/javascript; charset=utf-8",
            "/favicon.svg": "image/svg+xml",
            "/livez": "application/json",
            "/readyz": "application/json",
            "/health": "application/json",
            "/status": "application/json",
            "/metrics": "text/plain; version=0.0.4; charset=utf-8",
        }
        for make in (self.tcp, self.unix):
            connection = make()
            for path, content_type in types.items():
                answer = self.ask("GET", path, connection)  # the same connection: keep-alive
                self.assertEqual((path, answer.status), (path, 200))
                self.assertEqual(answer.headers["Content-Type"], content_type)
                self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
                self.assertIn("default-src 'none'", answer.headers["Content-Security-Policy"])
                self.assertFalse(answer.closes, path)
                self.assertGreater(len(answer.body), 0)
            self.assertEqual(self.ask("HEAD", "/health", connection).body, b"")
            self.assertEqual(self.ask("GET", "/nothing", connection).status, 404)
            self.assertEqual(self.ask("GET", "/drain", connection).headers["Allow"], "POST")
            connection.close()
        self.assertEqual(self.get("/health").json(), {"status": "healthy"})
        self.assertEqual(worker.stop()[0], 0)

    def test_the_page_needs_nothing_but_itself(self):
        self.start_admin()
        page = self.get("/").body.decode()
        for attribute in re.findall(r'(?:src|href)="([^"]*)"', page):
            self.assertEqual(self.get("/" + attribute.lstrip("/")).status, 200, attribute)
        self.assertNotRegex(page, r"<style|<script>| style=| on[a-z]+=")

    def test_not_ready_without_its_broker(self):
        nowhere = 'redis "away" { url = "redis://127.0.0.1:1"  list "l" { handler = "h" } }\n'
        self.start_admin(nowhere, ready=False)
        answer = self.get("/readyz")
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.json()["why"], 'redis "away" is not connected')
        self.assertEqual(self.get("/health").status, 200)
        self.assertEqual(self.get("/livez").status, 200)

    def test_quiet_and_resume(self):
        self.start_admin()
        self.assertEqual(self.post("/quiet").json(), {"status": "quiet"})
        self.assertEqual(self.get("/readyz").status, 503)
        self.assertEqual(self.get("/health").status, 200)
        self.queue.publish(["a"])
        self.assertEqual(self.post("/resume").json(), {"status": "open"})
        self.record.wait_ended(1)
        wait_for("readiness", lambda: self.get("/readyz").status == 200)

    def test_status_names_what_runs(self):
        worker = self.start_busy(2, concurrency=2)
        self.queue.publish(["more"])
        wait_for("a job that is held", lambda: self.status()["jobs"]["held"] == 1)
        status = self.status()
        self.assertEqual(status["worker"]["pid"], worker.pid)
        self.assertEqual(status["state"], "open")
        self.assertEqual(status["jobs"]["running"], 2)
        self.assertEqual(status["control"], "none")
        self.assertEqual({job["queue"] for job in status["running"]}, {self.queue.name})
        self.assertEqual(status["sources"][0]["link"], "up")
        self.assertEqual(status["queues"][0]["in_worker"], 3)
        worker.send(signal.SIGTERM)
        wait_for("the drain", lambda: self.status()["state"] == "finishing")
        status = self.status()
        self.assertIn("2 running", status["drain"]["waiting_for"])
        self.assertEqual(status["drain"]["why"], "SIGTERM")
        self.assertLess(status["drain"]["left_ms"], 30000)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)

    def test_stuck_threads_are_not_alive(self):
        """A plugin's thread that never comes back cannot be killed: only a new process helps."""
        self.queue.publish([f"a:stubborn:{self.gate()}"])
        handler = self.plugin_handler(threads=1, extra='timeout = "100ms"')
        self.start_admin(
            self.queue.section(), handler, drain='timeout = "10s" grace = "100ms"', ready=False
        )
        self.assertEqual(self.get("/livez").status, 200)
        wait_for("it to be stuck", lambda: self.get("/livez").status == 503, 20)
        self.assertIn("is stuck", self.get("/livez").json()["why"])
        self.open_gate()


class Metrics(AdminCase):
    def samples(self, text):
        """Strict: each line is a comment we know, or a sample of the family before it."""
        found, family = {}, None
        for line in text.splitlines():
            comment = re.fullmatch(r"# (HELP|TYPE) (\w+) (.+)", line)
            if comment:
                family = comment[2]
                continue
            sample = re.fullmatch(
                r'(\w+)(\{\w+="(?:[^"\\\n]|\\.)*"(?:,\w+="(?:[^"\\\n]|\\.)*")*\})? (\S+)', line
            )
            self.assertIsNotNone(sample, line)
            self.assertTrue(sample[1].startswith(family), line)
            self.assertNotIn(sample[1] + (sample[2] or ""), found, "twice")
            found[sample[1] + (sample[2] or "")] = float(sample[3])
        return found

    def test_they_count(self):
        worker = self.start_admin()
        self.queue.publish(["a", "b", "c:exit:65"])
        of = f'{{source="{self.queue.source}",queue="{self.queue.name}"'

        def all_left():
            found = self.samples(self.get("/metrics").body.decode())
            return found if found[f'outfall_jobs_total{of},fate="dead"}}'] == 1 else None

        wait_for("two done", lambda: self.status()["fates"]["done"] == 2)
        found = wait_for("one dead", all_left)
        self.assertEqual(found[f'outfall_jobs_total{of},fate="done"}}'], 2)
        self.assertEqual(found[f"outfall_job_duration_seconds_count{of}}}"], 3)
        self.assertGreater(found[f"outfall_job_duration_seconds_sum{of}}}"], 0)
        self.assertEqual(found[f'outfall_job_wait_seconds_bucket{of},le="+Inf"}}'], 3)
        self.assertEqual(found['outfall_drain_state{state="open"}'], 1)
        self.assertEqual(found[f'outfall_source_consuming{{source="{self.queue.source}"}}'], 1)
        self.assertGreater(found["outfall_resident_memory_bytes"], 1e6)
        self.assertGreater(found["outfall_loop_lag_seconds"], 0)
        self.assertEqual(worker.stop()[0], 0)

    @unittest.skipUnless(shutil.which("promtool"), "LOUD SKIP: promtool is not installed")
    def test_promtool_finds_nothing(self):
        self.start_admin()
        lint = subprocess.run(
            ["promtool", "check", "metrics"], input=self.get("/metrics").body, capture_output=True
        )
        self.assertEqual((lint.returncode, lint.stdout, lint.stderr), (0, b"", b""))

    def test_in_a_drain(self):
        worker = self.start_busy()
        worker.send(signal.SIGTERM)
        wait_for("the drain", lambda: self.status()["state"] == "finishing")
        found = self.samples(self.get("/metrics").body.decode())
        self.assertEqual(found['outfall_drain_state{state="finishing"}'], 1)
        self.assertLess(found["outfall_drain_seconds_left"], 30)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)


class Guard(AdminCase):
    def test_tcp_only_reads(self):
        worker = self.start_admin()
        for path in ("/quiet", "/drain", "/drain?wait=1s", "/reload", "/nothing"):
            answer = self.ask("POST", path)
            self.assertEqual(answer.status, 403)
            self.assertIn("only reading", answer.json()["error"])
        self.assertEqual(self.status()["state"], "open")
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(worker.report()["why"], "SIGTERM")

    def test_tcp_steers_with_the_token(self):
        self.start_admin(token=True)
        self.assertEqual(self.status()["control"], "token")
        for wrong in ({}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}):
            answer = self.ask("POST", "/quiet", **wrong)
            self.assertEqual(answer.status, 401)
            self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
        self.assertEqual(self.status()["state"], "open")
        self.assertEqual(self.ask("POST", "/quiet", Authorization=f"Bearer {TOKEN}").status, 200)
        self.assertEqual(self.status()["state"], "quiet")

    def test_hosts_and_origins(self):
        self.start_admin(token=True, extra='hosts = {"worker.example"}')
        here = f"127.0.0.1:{self.port}"
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        self.assertEqual(self.get("/status", Host="evil.example").status, 403)
        self.assertEqual(self.get("/status", Host="worker.example").status, 200)
        self.assertEqual(self.ask("POST", "/quiet", Host="evil.example", **allowed).status, 403)
        answer = self.ask("POST", "/quiet", Origin="http://evil.example", **allowed)
        self.assertEqual(answer.status, 403)
        self.assertEqual(self.ask("POST", "/quiet", Origin=f"http://{here}", **allowed).status, 200)
        self.assertEqual(self.post("/resume", Origin="http://evil.example").status, 403)
        self.assertEqual(self.post("/resume", Origin="http://localhost").status, 200)

    def test_a_check_without_a_host(self):
        """HAProxy's speaks HTTP/1.0, and leaves it out."""
        self.start_admin()
        sock = self.raw(b"GET /readyz HTTP/1.0\r\n\r\n")
        self.assertTrue(sock.makefile("rb").read().startswith(b"HTTP/1.1 200 "))

    def assert_not_had(self, worker, why):
        """Not our fault, and the next start may find it free: no internal error."""
        self.assertEqual(worker.wait_exit(), 69)
        [event] = worker.events("worker not started")
        lines = worker.config_path.read_text().splitlines()
        [line] = [n for n, text in enumerate(lines, 1) if text.startswith("admin ")]
        self.assertEqual(event["why"], f"{worker.config_path}:{line}: {why}")

    def test_the_sockets_file(self):
        worker = self.start_admin(extra='socket_mode = "0600"')
        self.assertEqual(stat.S_IMODE(os.stat(self.socket_path).st_mode), 0o600)
        second = self.start(self.config(self.queue.section(), self.admin()))
        self.assert_not_had(second, f"admin.socket {self.socket_path}: somebody answers there already")
        self.assertEqual(self.post("/resume").status, 200)  # the first still answers
        worker.process.kill()
        worker.process.wait()
        self.assertTrue(self.socket_path.exists())
        third = self.start_admin()  # what was left behind is replaced
        self.assertEqual(self.post("/resume").status, 200)
        self.assertEqual(third.stop()[0], 0)
        self.assertFalse(self.socket_path.exists())

    def test_a_port_that_is_taken(self):
        worker = self.start_admin()
        self.socket_path = self.directory / "b.sock"
        admin = self.admin().replace("127.0.0.1:0", f"127.0.0.1:{self.port}")
        second = self.start(self.config(self.queue.section(), admin))
        self.assert_not_had(second, f"admin.http 127.0.0.1:{self.port}: Address already in use")
        self.assertFalse(self.socket_path.exists())  # nothing is left of the half that worked
        agent = f'admin {{\n  agent = "127.0.0.1:{self.port}"\n}}\n'
        third = self.start(self.config(self.queue.section(), agent))
        self.assert_not_had(third, f"admin.agent 127.0.0.1:{self.port}: Address already in use")
        self.assertEqual(worker.stop()[0], 0)

    @unittest.skipIf(os.environ.get("OUTFALL_TEST_SANITIZE"), "a sanitizer wants to be the first library")
    def test_every_interface_of_a_host_without_ipv6(self):
        shim = BUILD / "tests" / "integration" / "no_ipv6.so"
        worker = self.start(
            self.config(self.queue.section(), 'admin { http = "*:0" }\n'),
            environment={"LD_PRELOAD": str(shim)},
        )
        bound = worker.wait_event("admin listening", 2)["http"]
        self.port = int(bound.rsplit(":", 1)[1])
        self.assertEqual(self.get("/livez").status, 200)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_socket_that_cannot_be_made(self):
        """The configuration says so already; what it cannot see, the start meets."""
        file = self.directory / "file"
        file.touch()
        for path, why in ((file, "is a file that is no socket"), (file / "x", "Not a directory")):
            worker = self.start(self.config(self.queue.section(), f'admin {{ socket = "{path}" }}\n'))
            self.assertEqual(worker.wait_exit(), 78)
            self.assertRegex(worker.log_text(), rf":\d+: error: admin: .*{why}\n")


class Harm(AdminCase):
    def work_goes_on(self, worker, name):
        self.queue.publish([name])
        wait_for("a job to run", lambda: name in self.record.ended())
        self.assertIsNone(worker.process.poll())

    def test_malformed_requests(self):
        worker = self.start_admin()
        for n, data in enumerate([
            b"\r\n\r\n", b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"{}\r\n\r\n",
            b"GET /status HTTP/1.1\r\n\r\n", b"GET " + b"/" * 20000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 40000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
            b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
            b"POST /drain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
            "GET /\u00e9%ff%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
        ]):  # fmt: skip
            with self.subTest(n):
                with contextlib.suppress(ConnectionError):  # it may be cut before all is sent
                    sock = self.raw(data)
                    half_close(sock)
                    answer = sock.makefile("rb").read()
                    self.assertNotIn(b" 200 ", answer.split(b"\r\n")[0])
        self.work_goes_on(worker, "after")
        self.assertEqual(self.status()["state"], "open")
        self.assertEqual(worker.stop()[0], 0)

    def test_bodies_are_not_wanted(self):
        self.start_admin()
        for size, status in ((100, 200), (4096, 200), (4097, 413), (1_000_000, 413)):
            for body in (b"x" * size, iter([b"x" * size])):  # the second is sent in chunks
                with contextlib.closing(self.unix()) as connection:
                    connection.request("POST", "/resume", body=body)
                    self.assertEqual(connection.getresponse().status, status)
        with contextlib.closing(self.unix()) as connection:  # who means to send more is cut
            headers = {"Content-Length": "100000000"}
            connection.request("POST", "/resume", headers=headers)
            self.assertEqual(connection.getresponse().status, 413)

    def test_slow_clients_are_cut_and_keep_nobody_out(self):
        """A byte now and then, on every connection there may be."""
        worker = self.start_admin()
        slow = [self.raw(b"G") for _ in range(64)]
        begun = time.monotonic()
        self.assertEqual(self.post("/resume").status, 200)  # the other door is open
        self.work_goes_on(worker, "meanwhile")

        def dribble():
            alive = []
            for sock in slow:
                with contextlib.suppress(OSError):
                    sock.setblocking(False)
                    sock.send(b"E")
                    try:
                        if sock.recv(100) == b"":
                            continue
                    except BlockingIOError:
                        pass
                    alive.append(sock)
            return not alive

        wait_for("all of them to be cut", dribble, 30)
        self.figure(f"64 slow clients are cut after {time.monotonic() - begun:.1f} s")
        self.assertGreater(time.monotonic() - begun, 5)
        wait_for("room for others", lambda: self.get("/livez").status == 200)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_full_house_that_empties_at_once_opens_again(self):
        """The library leaves its listening socket alone while it is full, and forgets to come back."""
        worker = self.start_admin()
        for _ in range(64):
            self.raw(b"G")
        begun = time.monotonic()
        wait_for("their time to be nearly over", lambda: time.monotonic() - begun > 9)
        worker.send(signal.SIGSTOP)
        wait_for("all of them to be late", lambda: time.monotonic() - begun > 11)
        worker.send(signal.SIGCONT)
        self.assertEqual(self.get("/livez").status, 200)
        self.assertEqual(worker.stop()[0], 0)

    def test_those_who_do_not_read_hold_nothing(self):
        worker = self.start_admin()
        socks = [self.raw(UPGRADE) for _ in range(10)]
        socks += [self.raw(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50) for _ in range(10)]
        wait_for("them to be heard", lambda: socks[9].recv(4, socket.MSG_PEEK) == b"HTTP")
        self.work_goes_on(worker, "meanwhile")
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.figure(f"exit with 10 deaf WebSocket clients: {seconds:.2f} s")
        self.assertLess(seconds, 3 * patience())

    def test_a_client_that_lies_about_frames(self):
        worker = self.start_admin()
        for lie in (
            b"\x81\x05hello",  # not masked
            b"\x81\xff" + b"\xff" * 8 + b"mask",  # without end
            b"\x81\xfe\xff\xff" + b"mask" + b"x" * 65535,  # longer than we listen
            b"\xf3\x80mask", b"\x88\x81mask\0", os.urandom(2000),
        ):  # fmt: skip
            sock = self.raw(UPGRADE)
            with contextlib.suppress(ConnectionError):
                sock.sendall(lie)
                half_close(sock)
                sock.makefile("rb").read()  # to the end: it is closed
        self.work_goes_on(worker, "after")
        wait_for("nobody to be left", lambda: len(os.listdir(f"/proc/{worker.pid}/fd")) < 40)
        self.assertEqual(worker.stop()[0], 0)


class Siege(AdminCase):
    """Nothing that an admin client does holds the loop, grows the worker, or keeps a probe out."""

    @staticmethod
    def on_this_machine(seconds):
        """The loop waits for a processor as well, where many want one."""
        return seconds * patience() * max(1, os.getloadavg()[0] / os.cpu_count())

    def resident_kb(self, worker):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{worker.pid}/status").read())[1])

    def listen(self):
        sock = self.raw(UPGRADE)
        wait_for("the first message", lambda: b" 101 " in sock.recv(64, socket.MSG_PEEK))
        return sock

    def besiege(self, data, seconds=3):
        """Sends it as fast as it is taken, on a new connection whenever one is cut; reads nothing."""
        until = time.monotonic() + seconds

        def run():
            while time.monotonic() < until:
                with contextlib.suppress(OSError), contextlib.closing(
                    socket.create_connection(("127.0.0.1", self.port), 5)
                ) as sock:
                    sock.settimeout(1)
                    sock.sendall(UPGRADE)
                    sock.recv(4096)
                    while time.monotonic() < until:
                        sock.sendall(data)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def probe(self):
        begun = time.monotonic()
        self.assertEqual(self.get("/livez").status, 200)
        return time.monotonic() - begun

    def assert_calm(self, worker, resident_kb, while_alive):
        longest = self.probe()
        while while_alive():
            longest = max(longest, self.probe())
            if not os.environ.get("OUTFALL_TEST_SANITIZE"):  # address keeps what was freed for a while
                self.assertLess(self.resident_kb(worker) - resident_kb, 8192)
        text = self.get("/metrics").body.decode()
        lag = float(re.search(r"^outfall_loop_lag_seconds (\S+)", text, re.M)[1])
        self.figure(f"/livez within {longest * 1000:.0f} ms, lag {lag * 1000:.1f} ms")
        self.assertLess(longest, self.on_this_machine(1))
        self.assertLess(lag, self.on_this_machine(0.05))

    def test_floods_of_frames(self):
        worker = self.start_admin()
        resident_kb = self.resident_kb(worker)
        for payload, opcode in ((b"x" * 100, 1), (b"", 9), (b"x" * 100, 9), (b"", 10)):
            with self.subTest(opcode=opcode, bytes=len(payload)):
                siege = self.besiege(frame(opcode, payload) * 1000)
                self.assert_calm(worker, resident_kb, siege.is_alive)
        siege = self.besiege(frame(1, b"x" * 100) * 1000, 5)
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 2 * patience())  # one second is theirs who listen

    def hear(self, sock, wanted):
        """Reads until it has come."""
        said = b""
        with contextlib.suppress(ConnectionResetError):  # what we said was not read to its end
            while wanted not in said and (more := sock.recv(65536)):
                said += more
        self.assertIn(wanted, said)

    def test_a_loud_listener_is_told_why(self):
        self.start_admin()
        sock = self.listen()
        sock.sendall(frame(1, b"x" * 100) * 50)
        self.hear(sock, b"\x03\xf0a listener has nothing to say")  # 1008

    def test_a_listener_that_pings_is_answered(self):
        self.start_admin()
        sock = self.listen()
        for n in range(3):
            sock.sendall(frame(9, b"ping%d" % n))
            self.hear(sock, b"\x8a\x05ping%d" % n)
        self.hear(self.raw(UPGRADE + frame(9, b"early")), b"\x8a\x05early")

    def test_two_hundred_connections(self):
        """Idle ones, half a request, answers that nobody reads: each new one has a place."""
        worker = self.start_admin()
        resident_kb = self.resident_kb(worker)
        for data in (b"", b"GET /li", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20):
            with self.subTest(data[:12]):
                crowd = [self.raw(data) for _ in range(200)]
                self.assert_calm(worker, resident_kb, iter([True] * 50 + [False]).__next__)
                for sock in crowd:
                    sock.close()
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 2 * patience())

    def test_many_scrapes_at_once(self):
        """With 200 lists one takes some milliseconds to be made. They are made one after the other, and who
        comes last with a small question has not to wait for them: epoll tells the order of the answers."""
        lists = "".join(f'  list "l{n}" {{ handler = "h" }}\n' for n in range(200))
        worker = self.start_admin(f'redis "cache" {{\n  url = "{self.queue.url()}"\n{lists}}}\n')
        worker.send(signal.SIGSTOP)
        crowd = [self.raw(b"GET /metrics HTTP/1.0\r\n\r\n") for _ in range(50)]
        crowd.append(self.raw(b"GET /livez HTTP/1.0\r\n\r\n"))
        order = []
        with contextlib.closing(select.epoll()) as epoll:
            for sock in crowd:
                epoll.register(sock, select.EPOLLIN | select.EPOLLONESHOT)
            worker.send(signal.SIGCONT)
            while len(order) < len(crowd):
                order += [fd for fd, _ in epoll.poll(20 * patience(), len(crowd))]
        self.assertLess(order.index(crowd[-1].fileno()), 30)
        for sock in crowd:
            answer = sock.makefile("rb").read()
            self.assertIn(b" 200 ", answer[:20])
            self.assertTrue(answer.endswith(b"\n"))
        self.assertEqual(worker.stop()[0], 0)

    def test_listeners_have_places_of_their_own(self):
        worker = self.start_admin()
        resident_kb = self.resident_kb(worker)
        listening = [self.listen() for _ in range(32)]
        with self.raw(UPGRADE) as one_more:
            self.assertIn(b" 503 ", one_more.recv(4096))
        self.assert_calm(worker, resident_kb, iter([True] * 50 + [False]).__next__)
        listening.pop().close()
        wait_for("its place", lambda: b" 101 " in self.raw(UPGRADE).recv(4096))
        self.assertEqual(worker.stop()[0], 0)

    def test_who_waits_for_the_drain_and_hangs_up(self):
        """A house full of waiters still has places, and those of waiters that left are free."""
        worker = self.start_busy(drain='timeout = "none"')
        ask = b"POST /drain?wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"

        def wait_on_socket():
            sock = socket.socket(socket.AF_UNIX)
            self.addCleanup(sock.close)
            sock.settimeout(0.2 * patience())
            sock.connect(str(self.socket_path))
            sock.sendall(ask)
            return sock

        def is_refused():
            with wait_on_socket() as sock, contextlib.suppress(TimeoutError):
                return b" 503 " in sock.recv(4096)
            return False

        waiters = [wait_on_socket() for _ in range(48)]
        wait_for("one more to be refused", is_refused)
        self.assertEqual(self.post("/extend?by=1m").status, 409)  # there is no limit to move
        for sock in waiters[1:]:
            sock.close()
        wait_for("their places", lambda: not is_refused())
        self.open_gate()
        waiters[0].settimeout(20 * patience())
        self.assertIn(b'"exit_code":0', waiters[0].makefile("rb").read())
        self.assertEqual(worker.wait_exit(), 0)

    def connected(self, worker):
        """Connections to the admin page that have not been closed at both ends."""
        rows = [row.split() for row in open(f"/proc/{worker.pid}/net/tcp").readlines()[1:]]
        there, listens, waits = f"0100007F:{self.port:04X}", "0A", "06"
        return [row for row in rows if row[1] == there and row[3] not in (listens, waits)]

    def test_without_descriptors_it_rests(self):
        """A listening socket with somebody in it stays readable; both kinds of ours, idle otherwise."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            agent = probe.getsockname()[1]
        worker = self.start_admin(extra=f'agent = "127.0.0.1:{agent}"')
        soft, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, hard))
        late = [socket.create_connection(("127.0.0.1", port), 5) for port in (agent, self.port)]
        worker.wait_event("admin cannot accept connections, trying again each second", 2)

        def used():
            fields = open(f"/proc/{worker.pid}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before, begun = used(), time.monotonic()
        wait_for("three seconds", lambda: time.monotonic() - begun > 3)
        self.assertLess(used() - before, 0.3 * patience())
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (soft, hard))
        self.assertIn(b"up ready", late[0].recv(100))
        late[1].sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertIn(b" 200 ", late[1].recv(4096))
        for sock in late:
            sock.close()
        self.assertEqual(len(worker.events("admin cannot accept connections, trying again each second")), 2)
        self.assertEqual(worker.stop()[0], 0)


class Draining(AdminCase):
    def test_keep_alive_across_the_drain(self):
        worker = self.start_busy()
        connection, idle = self.tcp(), self.tcp()
        self.assertEqual(self.ask("GET", "/health", connection).json(), {"status": "healthy"})
        self.assertEqual(self.ask("GET", "/health", idle).status, 200)
        worker.send(signal.SIGTERM)
        wait_for("the drain", lambda: worker.events("drain moved"))
        answer = self.ask("GET", "/health", connection)
        self.assertEqual((answer.status, answer.json()), (503, {"status": "draining"}))
        self.assertTrue(answer.closes)
        self.assertEqual(answer.headers["Connection"], "close")
        connection.close()
        # It listens to the end, and every answer says the same.
        for path in ("/readyz", "/health"):
            answer = self.get(path)
            self.assertEqual((answer.status, answer.json()["status"]), (503, "draining"))
        for path in ("/livez", "/status", "/metrics", "/", "/nothing"):
            self.assertTrue(self.get(path).closes, path)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)  # the idle connection did not hold it
        with self.assertRaises(ConnectionRefusedError):
            self.get("/health")
        self.assertEqual(idle.sock.recv(1), b"")

    def test_idle_connections_do_not_hold_the_exit(self):
        worker = self.start_admin()
        connections = [self.tcp() for _ in range(30)]
        for connection in connections:
            self.ask("GET", "/health", connection)
        connections += [self.raw(b"GET /hea") for _ in range(10)]
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.figure(f"SIGTERM to exit with 40 idle connections: {seconds * 1000:.1f} ms")
        self.assertLess(seconds, 0.5 * patience())

    def test_a_drain_that_is_waited_for(self):
        worker = self.start_busy()
        answers = []
        asker = threading.Thread(target=lambda: answers.append(self.post("/drain?wait=none")))
        asker.start()
        wait_for("the drain", lambda: self.status()["state"] == "finishing")
        short = self.post("/drain?wait=100ms")
        self.assertEqual((short.status, short.json()["state"]), (202, "finishing"))
        self.assertEqual(answers, [])
        self.open_gate()
        asker.join(20 * patience())
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(answers[0].status, 200)
        self.assertEqual(answers[0].json()["goodbye"], {"why": "POST /drain", "exit_code": 0})
        self.assertEqual(answers[0].json()["fates"]["done"], 1)
        self.assertEqual(worker.report()["why"], "POST /drain")

    def test_the_answer_knows_the_exit_code(self):
        """Interrupted at the deadline; the answer comes in time all the same."""
        worker = self.start_busy(drain=TIGHT)
        begun = time.monotonic()
        answer = self.post("/drain?wait=none")
        self.assertEqual(answer.json()["goodbye"]["exit_code"], 10)
        self.assertEqual(worker.wait_exit(), 10)
        self.assertLess(time.monotonic() - begun, 3 * patience())

    def test_a_thread_that_never_ends_and_those_who_wait(self):
        self.queue.publish([f"a:stubborn:{self.gate()}"])
        worker = self.start_admin(
            self.queue.section(), self.plugin_handler(threads=1), drain=TIGHT, ready=False
        )
        self.record.wait_begun(1)
        answer = self.post("/drain?wait=none")
        self.assertEqual(answer.json()["goodbye"]["exit_code"], 10)
        self.assertEqual(worker.wait_exit(), 10)
        self.assertFalse(self.socket_path.exists())

    def test_a_hook_and_then_the_signal_is_one_stop(self):
        """Its echo included. And the next signal hurries."""
        worker = self.start_busy()
        self.assertEqual(self.post("/drain").status, 202)
        wait_for("the drain", lambda: self.status()["state"] == "finishing")
        begun = time.monotonic()
        wait_for("more than the debounce", lambda: time.monotonic() - begun > 1.1)
        worker.send(signal.SIGTERM)
        worker.wait_event("already draining, as was asked for; another signal hurries")
        worker.send(signal.SIGTERM)
        worker.wait_event("stop ignored, it came within a second of the last")
        self.assertEqual(self.status()["state"], "finishing")
        begun = time.monotonic()
        wait_for("more than the debounce", lambda: time.monotonic() - begun > 1.1)
        worker.send(signal.SIGTERM)
        self.assertEqual(worker.wait_exit(), 12)

    def test_extend(self):
        worker = self.start_busy(drain=TIGHT)
        self.assertEqual(self.post("/extend?by=1m").status, 409)
        self.assertEqual(self.post("/drain").status, 202)
        begun = time.monotonic()
        self.assertEqual(self.post("/extend?by=1m").status, 200)
        self.assertGreater(self.status()["drain"]["jobs_have_ms"], 55000)
        wait_for("the first deadline to pass", lambda: time.monotonic() - begun > 3.2)
        self.assertEqual(self.status()["state"], "finishing")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(self.record.ended(), ["j0"])

    def test_idle_figures(self):
        worker = self.start_admin()
        self.get("/metrics")
        resident = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{worker.pid}/status").read())[1])
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.figure(f"idle with admin: {resident / 1024:.1f} MB, SIGTERM to exit {seconds * 1000:.1f} ms")


class Feed(AdminCase):
    """With the client of python3-websockets, which is strict about what a server may do."""

    def listen(self, until, **options):
        """Collects messages until `until` says so or the server closes; returns them and the close."""

        async def collect():
            uri = f"ws://127.0.0.1:{self.port}/events"
            messages = []
            async with websockets.connect(uri, **options) as client:
                try:
                    while not until(messages):
                        text = await asyncio.wait_for(client.recv(), 20 * patience())
                        messages.append(json.loads(text))
                except websockets.ConnectionClosed:
                    return messages, (client.close_code, client.close_reason)
            return messages, None

        return asyncio.run(collect())

    def listen_aside(self):
        """The same in a thread, to the close; returns the list it fills, and a way to wait."""
        messages, ends = [], []

        def note(found):
            messages[:] = found
            return False

        def run():
            ends.append(self.listen(note))

        thread = threading.Thread(target=run)
        thread.start()
        wait_for("the first message", lambda: messages)

        def result():
            thread.join(20 * patience())
            return ends[0]

        return messages, result

    def test_it_tells_what_happens(self):
        self.start_admin()
        messages, result = self.listen_aside()
        self.assertEqual(messages[0]["state"], "open")
        self.queue.publish([f"a:gate:{self.gate()}"])
        wait_for("the job to be seen", lambda: messages[-1]["jobs"]["running"] == 1)
        seen = len(messages)
        wait_for("its age to grow", lambda: len(messages) > seen + 1)
        self.assertGreater(messages[-1]["running"][0]["age_ms"], messages[seen - 1]["running"][0]["age_ms"])
        self.workers[0].send(signal.SIGTERM)
        wait_for("the drain to be seen", lambda: messages[-1]["state"] == "finishing")
        self.open_gate()
        messages, close = result()
        self.assertEqual(close, (1001, "the worker has drained: SIGTERM"))
        self.assertEqual(messages[-1]["state"], "closed")
        self.assertEqual(messages[-1]["goodbye"], {"why": "SIGTERM", "exit_code": 0})
        states = [m["state"] for m in messages]
        for state in ("open", "finishing", "closed"):
            self.assertIn(state, states)
        self.assertEqual(self.workers[0].wait_exit(), 0)

    def test_nothing_new_is_not_told(self):
        """Two messages at once or later would be one too many: nothing has changed."""
        worker = self.start_admin()
        messages, result = self.listen_aside()
        begun = time.monotonic()
        wait_for("three seconds", lambda: time.monotonic() - begun > 3.2)
        self.assertEqual(len(messages), 1)
        worker.send(signal.SIGTERM)
        result()

    def test_without_listeners_there_is_no_timer(self):
        worker = self.start_admin()
        self.listen(lambda messages: messages)  # came, and went

        def switches():
            text = open(f"/proc/{worker.pid}/status").read()
            return int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", text)[1])

        def rests():
            before, begun = switches(), time.monotonic()
            wait_for("some time", lambda: time.monotonic() - begun > 2)
            return switches() - before <= 2  # the blocked pop may be renewed

        wait_for("the worker to rest", rests, 20)

    def test_idle_exit_with_a_listener(self):
        worker = self.start_admin()
        _, result = self.listen_aside()
        code, seconds = worker.stop()
        self.assertEqual(code, 0)
        self.figure(f"SIGTERM to exit with a listener: {seconds * 1000:.1f} ms")
        self.assertEqual(result()[1][0], 1001)

    def test_foreign_pages_may_not_listen(self):
        self.start_admin()
        with self.assertRaisesRegex(websockets.InvalidHandshake, "HTTP 403"):
            self.listen(lambda messages: messages, origin="http://evil.example")
        messages, _ = self.listen(lambda m: m, origin=f"http://127.0.0.1:{self.port}")
        self.assertEqual(messages[0]["control"], "none")


class Silence(AdminCase):
    def test_who_does_not_answer_a_ping_has_gone(self):
        """A page left open answers, and stays; a host that has vanished keeps no place."""
        self.start_admin()
        sock = self.raw(UPGRADE)
        sock.setblocking(False)
        said = []

        async def stay():
            async with websockets.connect(
                f"ws://127.0.0.1:{self.port}/events", ping_interval=None
            ) as client:
                while client.close_code is None and not gone():
                    await asyncio.sleep(0.2)
                return client.close_code is not None

        def gone():
            try:
                said.append(sock.recv(65536))
            except BlockingIOError:
                return False
            return said[-1] == b""

        closed = asyncio.run(asyncio.wait_for(stay(), 150 * patience()))
        self.assertFalse(closed)
        self.assertIn(b"\x89\x00", b"".join(said))
        self.assertIn(b"\x03\xf0it does not answer a ping", b"".join(said))


class ByDefault(AdminCase):
    """Nobody said where the socket is: worker and ctl find each other."""

    def start_plain(self, admin="", **environment):
        worker = self.start(self.config(self.queue.section(), admin), environment=environment)
        worker.wait_event("worker started")
        return worker

    def ctl_in(self, **environment):
        return self.run_outfall("ctl", "status", env={"PATH": os.environ["PATH"], **environment})

    def test_in_the_folder_that_systemd_made(self):
        there = {"RUNTIME_DIRECTORY": f"{self.directory}:/elsewhere"}
        worker = self.start_plain(**there)
        self.assertEqual(worker.wait_event("admin listening")["socket"], f"{self.directory}/admin.sock")
        self.assertIn(f"pid {worker.pid}", self.ctl_in(**there).stdout)
        second = self.start_plain(**there)  # goes without
        self.assertIn("answers there already", second.wait_event("no admin socket, ctl cannot reach this worker")["why"])
        self.assertIn(f"pid {worker.pid}", self.ctl_in(**there).stdout)
        self.assertEqual([second.stop()[0], worker.stop()[0]], [0, 0])
        self.assertFalse((self.directory / "admin.sock").exists())
        self.assertEqual(self.ctl_in(**there).returncode, 69)

    def test_none_means_none(self):
        worker = self.start_plain('admin { socket = "none" }\n')
        self.assertEqual(worker.events("admin listening"), [])
        self.assertFalse((self.directory / "admin.sock").exists())
        done = self.run_outfall("ctl", "-c", worker.config_path, "status")
        self.assertEqual(done.returncode, 64)
        self.assertIn("has no admin.socket", done.stderr)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_folder_that_cannot_be_is_no_error(self):
        worker = self.start_plain(RUNTIME_DIRECTORY="/proc/nowhere/" + "x" * 200)
        self.assertEqual(worker.stop()[0], 0)

    @unittest.skipUnless(os.geteuid() == 0, "LOUD SKIP: only root can be somebody else")
    def test_in_a_users_own_folder(self):
        os.chmod(self.directory, 0o777)
        os.chmod(self.directory.parent, 0o711)
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        own = {"XDG_RUNTIME_DIR": str(self.directory), "RUNTIME_DIRECTORY": ""}
        worker = self.start(self.config(self.queue.section()), environment=own, wrapper=nobody)
        path = self.directory / "outfall" / "admin.sock"
        self.assertEqual(worker.wait_event("admin listening")["socket"], str(path))
        done = subprocess.run(
            [*nobody, OUTFALL, "ctl", "status"], env=own, capture_output=True, text=True
        )
        self.assertIn("has been open", done.stdout)
        self.assertEqual(worker.stop()[0], 0)
        self.assertFalse(path.parent.exists())  # it was made for this


class Terminal(RabbitCase):
    """What producers, jobs and configurations call things is shown; a terminal does not obey it."""

    EVIL = "\x1b]0;pwned\x07\x1b[31mred\nforged line \u009b31m\u202etxt.exe"

    TAME = "\\u001b]0;pwned\\u0007\\u001b[31mred\\u000aforged line \\u009b31m\\u202etxt.exe"

    def assert_tame(self, done, shown=TAME):
        text = done.stdout + done.stderr
        self.assertIn(shown, text)
        self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]|^forged")

    def test_ids_of_jobs(self):
        self.queue.publish([f"a:gate:{self.gate()}"], message_id=self.EVIL)
        sock = self.directory / "a.sock"
        worker = self.start(self.config(self.queue.section(), f'admin {{ socket = "{sock}" }}\n'))
        self.record.wait_begun(1)
        worker.send(signal.SIGTERM)
        worker.wait_event("drain moved", 2)
        for words in (["status"], ["jobs"], ["drain", "--wait", "--timeout", "100ms"], ["drain", "--dry-run"]):
            with self.subTest(words):
                self.assert_tame(self.run_outfall("ctl", "-s", sock, *words))
        text = self.run_outfall("ctl", "-s", sock, "status", "--json").stdout
        self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
        self.assertEqual(json.loads(text)["running"][0]["id"], self.EVIL)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)

    def test_the_last_failure_of_a_queue(self):
        program = self.directory / "fails.py"
        line = json.dumps({"error": {"class": self.EVIL, "message": "page 7: " + self.EVIL}}).encode() + b"\n"
        program.write_text(f"import os\nos.write(4, {line!r})\nos._exit(65)\n")
        handler = f'handler "h" {{ type = "exec"  command = {{"/usr/bin/python3", "{program}"}} }}\n'
        sock = self.directory / "a.sock"
        self.queue.publish(["a"], message_id="order-17")
        worker = self.start(self.config(self.queue.section(), handler, f'admin {{ socket = "{sock}" }}\n'))
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        worker.wait_event("job settled")
        shown = self.run_outfall("ctl", "-s", sock, "status")
        self.assert_tame(shown, f"{self.TAME}: page 7: {self.TAME}")
        self.assertRegex(shown.stdout, r"order-17 +1 +dead")
        [queue] = json.loads(self.run_outfall("ctl", "-s", sock, "status", "--json").stdout)["queues"]
        self.assertEqual(queue["last_failure"]["class"], self.EVIL)
        self.assertEqual(worker.stop()[0], 0)

    def test_names_in_a_configuration(self):
        path = self.directory / "evil.conf"
        path.write_text('handler "h\u202etxt.exe" { type = "exec"  command = {"/nowhere"} }\n')
        self.assert_tame(self.run_outfall("check", "-c", path), "h\\u202etxt.exe")
        self.assert_tame(self.run_outfall("enqueue", "-c", self.directory / "none", self.EVIL, "-b", "x"))

    def test_what_refuses_is_no_worker(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.directory / "a.sock"))
            listener.listen()

            def answer():
                client = listener.accept()[0]
                client.recv(4096)
                client.sendall(b"HTTP/1.1 409 No\r\n\r\n" + json.dumps({"error": self.EVIL}).encode())
                client.close()

            thread = threading.Thread(target=answer)
            thread.start()
            self.assert_tame(self.run_outfall("ctl", "-s", self.directory / "a.sock", "resume"))
            thread.join()


class Ctl(AdminCase):
    def test_looking(self):
        worker = self.start_busy()
        text = self.ctl("status").stdout
        self.assertIn(f"pid {worker.pid}", text)
        self.assertIn(f"{self.queue.source}/{self.queue.name}", text)
        self.assertEqual(json.loads(self.ctl("status", "--json").stdout)["jobs"]["running"], 1)
        self.assertIn(self.record.runs("j0")[0]["id"], self.ctl("jobs").stdout)
        self.assertIn("wait for 1", self.ctl("drain", "--dry-run").stdout)
        self.assertEqual(self.status()["state"], "open")
        self.open_gate()

    def test_dry_run_names_who_would_not_make_it(self):
        self.queue.publish([f"late:gate:{self.gate()}", f"in-time:gate:{self.gate()}"])
        self.start_admin(
            self.queue.section(), self.exec_handler(extra='timeout = "1h"'), drain=TIGHT
        )
        self.record.wait_begun(2)
        answer = self.ctl("drain", "--dry-run")
        self.assertEqual(answer.returncode, 0)
        self.assertIn("2 may not make it", answer.stdout)
        self.open_gate()

    def test_steering(self):
        self.start_admin()
        answer = self.ctl("quiet")
        self.assertEqual((answer.returncode, answer.stdout), (0, ""))
        self.assertEqual(self.status()["state"], "quiet")
        self.assertEqual(self.ctl("resume", "--json").stdout, '{"status":"open"}\n')
        answer = self.ctl("extend", "5m")
        self.assertEqual(answer.returncode, 1)
        self.assertEqual(answer.stderr, "outfall: ctl: refused: no drain is under way\n")

    def test_drain_wait_ends_with_the_process(self):
        worker = self.start_busy()
        arguments = [OUTFALL, "ctl", "-c", worker.config_path, "drain", "--wait"]
        ctl = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self.addCleanup(ctl.stdout.close)
        wait_for("the drain", lambda: self.status()["state"] == "finishing")
        self.assertIsNone(ctl.poll())
        self.open_gate()
        self.assertEqual(ctl.wait(20 * patience()), 0)
        self.assertEqual(worker.process.poll(), 0)  # at once: it has ended before
        self.assertIn("drained, exit code 0", ctl.stdout.read())

    def test_drain_timeout(self):
        worker = self.start_busy()
        answer = self.ctl("drain", "--wait", "--timeout", "200ms")
        self.assertEqual(answer.returncode, 75)
        self.assertIn("1 running", answer.stdout)
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)

    def test_a_worker_that_is_killed_while_waited_for(self):
        worker = self.start_busy()
        arguments = [OUTFALL, "ctl", "-s", self.socket_path, "drain", "--wait"]
        ctl = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        self.addCleanup(ctl.stderr.close)
        wait_for("the drain", lambda: self.status()["state"] == "finishing")
        worker.process.kill()
        self.assertEqual(ctl.wait(20 * patience()), 69)
        self.assertIn("has gone without an answer", ctl.stderr.read())

    def test_usage(self):
        self.assertEqual(self.ctl("status").returncode, 69)  # nobody there
        for wrong in ([], ["bogus"], ["status", "more"], ["extend"], ["extend", "soon"],
                      ["status", "--wait"], ["--bogus"], ["drain", "--timeout", "x"], ["top"]):  # fmt: skip
            answer = self.ctl(*wrong)
            self.assertEqual((answer.returncode, answer.stdout), (64, ""), wrong)
            self.assertTrue(answer.stderr.startswith("outfall: ctl: "), answer.stderr)
        self.assertEqual(self.run_outfall("ctl", "--help").returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
