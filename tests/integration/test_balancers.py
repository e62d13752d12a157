"""Load balancers in front of the admin port, with the very files that are in config/balancers: a worker that
drains is left within one check, and no request is lost for it."""

import http.client
import re
import signal
import socket
import subprocess
import threading
import time
import unittest
from pathlib import Path

from ports import free_port
from test_admin import AdminCase
from worker import patience, wait_for

BALANCERS = Path(__file__).resolve().parents[2] / "config/balancers"


class Balancers(AdminCase):
    def start_two(self):
        """Two workers of one queue; their ports for http and agent checks."""
        self.ports = []
        workers = []
        for n in range(2):
            admin = f'admin {{ socket = "none"  http = "127.0.0.1:0"  agent = "127.0.0.1:0"  hosts = {{"workers", "jobs.example"}} }}\n'
            workers.append(self.start(self.config(self.queue.section(extra="prefetch = 1"), admin)))
            http_port, agent_port = (
                int(event[key].rsplit(":", 1)[1])
                for event, key in zip(
                    (workers[n].wait_event("admin listening", 1), workers[n].wait_event("admin listening", 2)),
                    ("http", "agent"),
                )
            )
            self.ports.append((http_port, agent_port))
            self.port = http_port
            wait_for("readiness", lambda: self.get("/readyz").status == 200)
        self.front = free_port()
        return workers

    def run_balancer(self, *command):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=(self.directory / "balancer.err").open("w"))  # fmt: skip
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)

    def ask_front(self, path="/health", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.front, timeout=20 * patience())
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            return None, b""
        finally:
            connection.close()

    def start_asking(self):
        """Somebody who asks all the time; what was no 200."""
        self.bad, self.stop_asking = [], threading.Event()

        def ask():
            while not self.stop_asking.is_set():
                answer = self.ask_front()
                if answer[0] != 200:
                    self.bad.append(answer)

        self.asker = threading.Thread(target=ask)
        self.asker.start()
        self.addCleanup(self.asker.join)
        self.addCleanup(self.stop_asking.set)

    def end_well(self, drained, other):
        """The drained one ends, and nobody who asked was refused."""
        self.open_gate()
        self.assertEqual(drained.wait_exit(), 0)
        self.stop_asking.set()
        self.asker.join()
        self.assertEqual(self.bad, [])
        self.assertEqual(other.stop()[0], 0)


class HAProxy(Balancers):
    def configure(self):
        text = (BALANCERS / "haproxy.cfg").read_text()
        line = "\tserver worker1 127.0.0.1:9180\n"
        self.assertIn(line, text)
        text = text.replace(line, "".join(
            f"\tserver worker{n} 127.0.0.1:{port} agent-port {agent}\n"
            for n, (port, agent) in enumerate(self.ports)
        )).replace("127.0.0.1:9100", f"127.0.0.1:{self.front}")  # fmt: skip
        text = f"global\n\tstats socket {self.directory}/stats mode 600 level admin\n" + text
        (self.directory / "haproxy.cfg").write_text(text)

    def states(self):
        """What HAProxy thinks of each server: status, weight, and the agent's last word."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"{self.directory}/stats")
            sock.sendall(b"show stat\n")
            rows = sock.makefile().read().lstrip("# ").splitlines()
        names = rows[0].split(",")
        found = [dict(zip(names, row.split(","))) for row in rows[1:] if row]
        return [row for row in found if row["svname"].startswith("worker")]

    def test_left_within_one_check(self):
        workers = self.start_two()
        self.configure()
        self.run_balancer("/usr/sbin/haproxy", "-db", "-f", f"{self.directory}/haproxy.cfg")
        wait_for("HAProxy", lambda: self.ask_front()[0] == 200)
        wait_for("both by their agents", lambda: [s["agent_status"] for s in self.states()] == ["L7OK", "L7OK"])
        self.assertEqual([s["status"] for s in self.states()], ["UP", "UP"])
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(2)])  # one for each: prefetch = 1
        self.record.wait_begun(2)
        wait_for("the weight to follow", lambda: [s["weight"] for s in self.states()] == ["75", "75"])
        self.start_asking()
        begun = time.monotonic()
        workers[0].send(signal.SIGTERM)
        wait_for("it to be out", lambda: self.states()[0]["status"] != "UP")
        self.figure(f"HAProxy leaves a worker {time.monotonic() - begun:.2f} s after SIGTERM")
        self.assertLess(time.monotonic() - begun, 2.5 * patience())  # a check each second
        self.assertEqual(self.states()[1]["status"], "UP")
        self.end_well(*workers)


class Nginx(Balancers):
    def configure(self):
        text = (BALANCERS / "nginx.conf").read_text()
        line = "\tserver 127.0.0.1:9180 max_fails=1 fail_timeout=10s;\n"
        self.assertIn(line, text)
        text = text.replace(line, "".join(line.replace("9180", str(port)) for port, _ in self.ports))
        text = text.replace("127.0.0.1:9100", f"127.0.0.1:{self.front}")
        paths = "".join(f"{kind}_temp_path {self.directory}/{kind};\n"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
        (self.directory / "nginx.conf").write_text(
            f"daemon off;\npid {self.directory}/nginx.pid;\nerror_log {self.directory}/nginx.err;\n"
            f"events {{ }}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
        )

    def test_no_request_is_lost(self):
        workers = self.start_two()
        self.configure()
        self.run_balancer("/usr/sbin/nginx", "-e", f"{self.directory}/nginx.err", "-p", str(self.directory),
                          "-c", f"{self.directory}/nginx.conf")  # fmt: skip
        wait_for("nginx", lambda: self.ask_front()[0] == 200)
        [name] = re.findall(r"server_name (\S+);", (BALANCERS / "nginx.conf").read_text())
        self.assertIn(f'hosts = {{"{name}"}}', (BALANCERS / "nginx.conf").read_text())
        self.assertEqual(self.ask_front(Host=name)[0], 200)  # a browser's, which comes through
        self.assertEqual(self.ask_front(Host="evil.example")[0], 403)
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(2)])
        self.record.wait_begun(2)
        self.start_asking()
        workers[0].send(signal.SIGTERM)
        wait_for("the drain", lambda: workers[0].events("drain moved"))
        other = str(workers[1].pid).encode()  # which nginx asks alone, once it has met a 503
        wait_for("the other to be asked", lambda: all(other in self.ask_front("/status")[1] for _ in range(10)))
        self.end_well(*workers)


if __name__ == "__main__":
    unittest.main(verbosity=2)
