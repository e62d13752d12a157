"""Under a real supervisord: it is asked how long it waits, and stops, restarts and scale-downs lose nothing,
whatever it was told to wait."""

import getpass
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest
import xmlrpc.client

from supervisor.xmlrpc import SupervisorTransport  # Debian's package supervisor

from brokers import patience, wait_for
from ports import free_port
from worker import BUILD, OUTFALL, RedisCase, Worker

UNSAID = "supervisord did not say how long it waits, set OUTFALL_STOP_TIMEOUT to its stopwaitsecs"
SUPERVISORD = shutil.which("supervisord", path="/usr/bin:/usr/local/bin")


def complaints(worker):
    """But for one about our Redis, which is right: nobody starts it again."""
    said = [event for event in worker.events() if event["level"] in ("warn", "error")]
    return [event for event in said if not event["event"].startswith("redis keeps nothing on disk")]


class Supervisord:
    """A supervisord of our own, in a folder of its own, on a Unix socket or on loopback."""

    def __init__(self, directory, programs, tcp=False, password=None):
        self.directory = directory
        where = f"127.0.0.1:{free_port()}" if tcp else str(directory / "s.sock")
        server = f"[inet_http_server]\nport={where}\n" if tcp else f"[unix_http_server]\nfile={where}\n"
        if password:
            server += f"username=op\npassword={password}\n"
        self.conf = directory / "supervisord.conf"
        self.conf.write_text(
            f"{server}[supervisord]\nnodaemon=true\nlogfile={directory}/supervisord.log\n"
            f"pidfile={directory}/supervisord.pid\nchildlogdir={directory}\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n" + programs
        )
        environ = {k: v for k, v in os.environ.items() if not k.startswith("SUPERVISOR_")}
        self.process = subprocess.Popen(
            [SUPERVISORD, "-c", str(self.conf)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=environ, start_new_session=True,
        )  # fmt: skip
        url = f"http://{where}" if tcp else f"unix://{where}"
        self.login = ("op" if password else "", password or "", url)
        wait_for("supervisord", self.answers)

    @property
    def rpc(self):
        """Anew each time: after an error a transport is of no use."""
        transport = SupervisorTransport(*self.login)
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def answers(self):
        try:
            return self.rpc.getState()["statename"] == "RUNNING"
        except (OSError, http.client.HTTPException):
            return False

    def state(self, name):
        return self.rpc.getProcessInfo(name)["statename"]

    def log(self):
        return (self.directory / "supervisord.log").read_text()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60 * patience())


class Supervised(Worker):
    """A worker that supervisord started: only its log and report are ours."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.log_path = directory / f"{name}.log"
        self.report_path = directory / f"{name}.report.json"

        class Process:
            returncode = None

            def poll(self):
                return None

        self.process = Process()

    def kill(self):
        pass  # supervisord ends it

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


class SupervisordCase(RedisCase):
    def setUp(self):
        super().setUp()
        self.config_path = self.directory / "w.conf"

    def supervise(self, *sections, program="", tcp=False, password=None, drain='timeout = "auto"',
                  numprocs=1, environment="", concurrency=4):  # fmt: skip
        config = self.config(
            *(sections or (self.queue.section(extra="prefetch = 10"),)),
            drain=drain, worker='name = "${WORKER}"', concurrency=concurrency,
        )  # fmt: skip
        self.config_path.write_text(config.replace("@REPORT@", f"{self.directory}/${{WORKER}}.report.json"))
        text = (
            f"[program:mail]\ncommand={OUTFALL} run -c {self.config_path}\nnumprocs={numprocs}\n"
            f"process_name=w%(process_num)d\nstartsecs=0\nautorestart=unexpected\nexitcodes=0,10,11,12\n"
            f"environment=WORKER=w%(process_num)d{environment}\n"
            f"stdout_logfile={self.directory}/w%(process_num)d.log\nredirect_stderr=true\n"
            f"stdout_logfile_maxbytes=0\n{program}\n"
        )
        self.supervisord = Supervisord(self.directory, text, tcp, password)
        self.addCleanup(self.supervisord.end)
        self.workers = [Supervised(self.directory, f"w{n}") for n in range(numprocs)]
        return self.workers[0]

    def stop(self, name="mail:w0"):
        begun = time.monotonic()
        self.supervisord.rpc.stopProcess(name)
        return time.monotonic() - begun


class Asking(SupervisordCase):
    def assert_found(self, worker, **facts):
        found = worker.wait_event("kill time found")
        self.assertEqual({key: found.get(key) for key in facts}, facts, found)

    def test_the_default_over_a_unix_socket(self):
        worker = self.supervise()
        self.assert_found(
            worker, **{"from": "supervisord"}, kill_after_ms=10000, stopsignal="TERM", stopasgroup="no",
            drain_timeout_ms=8000, jobs_have_ms=1000,
        )  # fmt: skip
        self.assertEqual(worker.events("worker started")[0]["drain_timeout"], "auto")
        self.assertEqual(complaints(worker), [])

    def test_over_tcp_with_others_beside_it(self):
        # All in one group: supervisord ends its groups one after another, one a second.
        other = (
            "[program:other]\ncommand=/bin/cat\nstopwaitsecs=77\nautostart=false\nnumprocs=200\n"
            "process_name=w%(process_num)d\n"
        )
        worker = self.supervise(program="stopwaitsecs=120\n" + other, tcp=True)
        self.assert_found(worker, kill_after_ms=120000, drain_timeout_ms=118000)

    def test_a_password(self):
        worker = self.supervise(password="s3cret", program="stopwaitsecs=20")
        said = worker.wait_event(UNSAID)
        self.assertIn("SUPERVISOR_PASSWORD", said["why"])
        self.assertEqual(said["drain_timeout_ms"], 30000)
        self.supervisord.end()
        worker.log_path.unlink()
        worker = self.supervise(
            password="s3cret", program="stopwaitsecs=20",
            environment=",SUPERVISOR_USERNAME=op,SUPERVISOR_PASSWORD=s3cret",
        )  # fmt: skip
        self.assert_found(worker, kill_after_ms=20000)
        self.assertNotIn("s3cret", worker.log_text())

    def test_what_does_not_fit(self):
        handler = self.exec_handler(extra='timeout = "1m"')
        worker = self.supervise(
            self.queue.section(), handler, drain='timeout = "30s"', program="stopsignal=USR2\nstopwaitsecs=20"
        )
        self.assert_found(worker, kill_after_ms=20000, stopsignal="USR2", drain_timeout_ms=30000)
        warned = worker.wait_event("stopsignal is none that drains: use stopsignal=TERM")
        self.assertEqual(warned["stopsignal"], "USR2")
        texts = {e["event"].split(",")[0]: e for e in worker.events() if e["level"] == "warn"}
        self.assertEqual(
            texts["drain.timeout is longer than the process manager waits"]["kill_after_ms"], 20000
        )
        long = texts["jobs of a handler may run longer than a stop leaves them"]
        self.assertEqual((long["handler"], long["timeout_ms"]), ("h", 60000))

    def test_what_fits_is_not_warned_of(self):
        handler = self.exec_handler(extra='timeout = "1m"')
        worker = self.supervise(
            self.queue.section(), handler, drain='timeout = "90s"', program="stopsignal=INT\nstopwaitsecs=90"
        )
        self.assert_found(worker, kill_after_ms=90000, stopsignal="INT", drain_timeout_ms=90000)
        self.assertEqual(complaints(worker), [])


class Elsewhere(RedisCase):
    """Without a supervisord, or with one that is none."""

    def start_with(self, environment, drain='timeout = "auto"', **options):
        return self.start(self.config(self.queue.section(), drain=drain), environment, **options)

    def test_nothing_is_known(self):
        worker = self.start_with({})
        self.assertEqual(worker.wait_event("kill time not known")["drain_timeout_ms"], 30000)

    def test_environment_and_file_the_shortest_counts(self):
        path = self.directory / "stop-timeout"
        path.write_text("60\n")
        drain = f'timeout = "auto"  deadline_file = "{path}"'
        worker = self.start_with({}, drain)
        self.assertEqual(worker.wait_event("kill time found")["drain_timeout_ms"], 58000)
        worker = self.start_with({"OUTFALL_STOP_TIMEOUT": "45s"}, drain)
        found = worker.wait_event("kill time found")
        self.assertEqual((found["from"], found["drain_timeout_ms"]), ("OUTFALL_STOP_TIMEOUT", 43000))
        path.write_text("soon\n")
        worker = self.start_with({"OUTFALL_STOP_TIMEOUT": "later"}, drain)
        worker.wait_event("kill time not readable, ignoring it", 2)
        self.assertEqual(worker.wait_event("kill time not known")["drain_timeout_ms"], 30000)

    def test_a_longer_timeout_is_warned_of(self):
        worker = self.start_with({"OUTFALL_STOP_TIMEOUT": "20s"}, 'timeout = "none"')
        worker.wait_event("kill time found")
        self.assertTrue(any(e["event"].startswith("drain.timeout is longer") for e in worker.events()))

    def test_what_usually_does_not_fit_is_said_once(self):
        self.queue.publish([f"j{n}:ms:300" for n in range(24)])
        drain = 'timeout = "300ms"  grace = "50ms"  reserve = "50ms"'
        worker = self.start(self.config(self.queue.section(), drain=drain, concurrency=8))
        self.record.wait_ended(24)

        def said():
            self.queue.publish(["k"])  # something happens, so the loop turns
            return worker.events(
                "jobs of a queue usually run longer than a stop leaves them, they would be "
                "interrupted and returned"
            )

        event = wait_for("a warning", said, every=0.2)[0]
        self.assertEqual((event["queue"], event["longer"]), (self.queue.name, 24))
        self.assertEqual(event["jobs_have_ms"], 200)
        worker.stop()

    def test_the_deadline_is_kept(self):
        self.queue.publish([f"a:gate:{self.gate()}"])
        worker = self.start_with(
            {"OUTFALL_STOP_TIMEOUT": "3s"}, 'timeout = "auto"  grace = "200ms"  reserve = "1s"'
        )
        self.record.wait_begun(1)
        code, seconds = worker.stop()
        self.assertEqual(code, 10)
        self.assertLess(seconds, 3 * patience())

    def under(self, url):
        return {"SUPERVISOR_SERVER_URL": url, "SUPERVISOR_PROCESS_NAME": "x", "SUPERVISOR_GROUP_NAME": "g"}

    def test_one_that_hangs_holds_neither_start_nor_stop(self):
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(self.directory / "s"))
            silent.listen()
            self.queue.publish(["a"])
            worker = self.start_with(self.under(f"unix://{self.directory}/s"))
            self.record.wait_ended(1)
            self.assertEqual(worker.events(UNSAID), [])
            code, seconds = worker.stop()
            self.assertEqual(code, 0)
            self.assertLess(seconds, 1 * patience())
            worker = self.start_with(self.under(f"unix://{self.directory}/s"))
            said = worker.wait_event(UNSAID)
            self.assertIn("no answer within 5 s", said["why"])

    def test_one_that_does_not_say_while_somebody_else_has(self):
        environment = dict(self.under(f"unix://{self.directory}/none"), OUTFALL_STOP_TIMEOUT="20s")
        worker = self.start_with(environment)
        said = worker.wait_event("supervisord did not say how long it waits")
        self.assertEqual((said["from"], said["drain_timeout_ms"]), ("OUTFALL_STOP_TIMEOUT", 18000))
        self.assertEqual(complaints(worker), [])

    def test_addresses_that_lead_nowhere(self):
        for url, why in (
            (f"unix://{self.directory}/none", "No such file"),
            ("http://127.0.0.1:1", "refused"),
            ("https://127.0.0.1:1", "neither unix:// nor http://"),
            ("rubbish", "SUPERVISOR_SERVER_URL"),
        ):
            worker = self.start_with(self.under(url))
            said = worker.wait_event(UNSAID)
            self.assertIn(why.lower(), said["why"].lower())
            self.wait_consuming(worker)
            self.assertEqual(worker.stop()[0], 0)


class TheFile(SupervisordCase):
    def test_the_program_file_that_we_ship(self):
        """Only what differs on this machine is replaced: paths, the user."""
        text = (BUILD / "outfall.supervisor.conf").read_text()
        self.config_path.write_text(
            self.config(self.queue.section()).replace("@REPORT@", f"{self.directory}/w0.report.json")
        )
        for there, here in (
            (re.search(r"(?m)^command=(\S+) run", text)[1], str(OUTFALL)),
            ("/etc/outfall/outfall.conf", str(self.config_path)),
            ("/var/log/supervisor/%(program_name)s_%(process_num)02d.log", f"{self.directory}/w0.log"),
            ("user=outfall", f"user={getpass.getuser()}"),
        ):
            self.assertEqual(text.count(there), 1, there)
            text = text.replace(there, here)
        self.supervisord = Supervisord(self.directory, text)
        self.addCleanup(self.supervisord.end)
        worker = Supervised(self.directory, "w0")
        self.workers = [worker]
        found = worker.wait_event("kill time found", 2)
        self.assertEqual((found["from"], found["kill_after_ms"]), ("supervisord", 120000))
        self.assertEqual(worker.events("kill time found")[0]["kill_after_ms"], 120000)
        self.assertEqual(found["stopsignal"], "TERM")
        self.stop("outfall:outfall_00")
        self.assertEqual(self.supervisord.state("outfall:outfall_00"), "STOPPED")
        self.assertEqual(worker.report()["exit_code"], 0)


class Stopping(SupervisordCase):
    def assert_nothing_lost(self, tags, doubled=0):
        """Each job ended, or is where the next worker finds it."""
        waiting = {body.split(":")[0] for body in self.queue.waiting()}
        self.assertEqual(set(self.record.ended()) | waiting, set(tags))

    def test_a_stop_lets_running_jobs_end_and_a_restart_goes_on(self):
        self.queue.publish([f"j{n}:ms:300" for n in range(20)])
        self.supervise(program="stopwaitsecs=30")
        self.record.wait_begun(2)
        self.stop()
        self.assertEqual(self.record.begun_twice(), [])
        self.assertCountEqual(self.record.begun(), self.record.ended())
        self.assert_nothing_lost([f"j{n}" for n in range(20)])
        self.supervisord.rpc.startProcess("mail:w0")
        self.record.wait_ended(20)
        self.assertEqual(self.record.ended_twice(), [])

    def test_stopwaitsecs_shorter_than_the_jobs(self):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(12)])
        worker = self.supervise(program="stopwaitsecs=4", drain='timeout = "auto" grace = "300ms" reserve = "1s"')
        worker.wait_event("kill time found")
        self.record.wait_begun(4)
        seconds = self.stop()
        self.assertNotIn("SIGKILL", self.supervisord.log())
        self.assertLess(seconds, 4)
        report = worker.report()
        self.assertEqual((report["exit_code"], report["fates"]["returned"]), (10, 10))
        self.assertEqual(self.queue.claimed(), 0)
        self.assert_nothing_lost([f"j{n}" for n in range(12)])
        self.open_gate()
        self.supervisord.rpc.startProcess("mail:w0")
        self.record.wait_ended(12)
        self.assertEqual({run["attempt"] for run in self.record.runs()}, {"1"})

    def test_a_signal_to_the_group_spares_running_jobs(self):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(4)])
        worker = self.supervise(program="stopwaitsecs=30\nstopasgroup=true\nkillasgroup=true")
        worker.wait_event("kill time found")
        self.record.wait_begun(4)
        stopper = threading.Thread(target=self.stop)
        stopper.start()
        worker.wait_event("draining")
        self.open_gate()
        stopper.join()
        self.assertEqual(len(self.record.ended()), 4)
        self.assertEqual(worker.report()["fates"]["done"], 4)

    def test_scale_down_under_load(self):
        """Three workers, two of them taken away in the middle, the last one does the rest."""
        jobs = 1500
        self.queue.publish([f"j{n}:ms:5" for n in range(jobs)])
        self.supervise(program="stopwaitsecs=30", numprocs=3)
        self.record.wait_begun(200, 60)
        for name in ("w2", "w1"):
            self.stop(f"mail:{name}")
            self.assertEqual(self.supervisord.state(f"mail:{name}"), "STOPPED")
        self.assertLess(len(self.record.ended()), jobs)
        self.record.wait_ended(jobs, 120)
        self.stop("mail:w0")
        self.assertEqual(set(self.record.ended()), {f"j{n}" for n in range(jobs)})
        self.assertEqual(self.record.ended_twice(), [])
        self.assertEqual(self.queue.unsettled(), 0)
        self.assertEqual(self.queue.dead_depth(), 0)
        done = [worker.report()["since_start"]["done"] for worker in self.workers]
        self.figure(f"{jobs} jobs, three workers, two stopped in the middle: done by each {done}")
        self.assertEqual(sum(done), jobs)


if __name__ == "__main__":
    unittest.main()
