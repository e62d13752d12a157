"""exec handlers in a real worker: descriptors 3 and 4, what a process is given and allowed, exit codes of
another consumer, and what signals to groups do."""

import json
import os
import signal
import unittest
from pathlib import Path

from worker import RabbitCase, RedisCase, wait_for

ONCE = 'retry "default" { attempts = 1 }\n'


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class ExecCase:
    def script(self, text, name="h", extra=""):
        """A handler that is a shell script; $DIR is the test's folder."""
        path = self.directory / f"{name}.sh"
        path.write_text(f"DIR='{self.directory}'\n{text}\n")
        return self.exec_handler(name, extra, ["/bin/sh", str(path)])

    def file(self, name):
        """What a script wrote, once there is a whole line of it."""
        path = self.directory / name
        wait_for(name, lambda: path.exists() and path.read_text().endswith("\n"))
        return path.read_text()

    def run_jobs(self, handler, bodies=("x",), *sections, **options):
        self.queue.publish(bodies)
        return self.start(self.config(self.queue.section(), handler, *sections, **options))

    def wait_gone(self, worker):
        wait_for("all to be settled", lambda: len(worker.events("job settled")) > 0)

    def stop_clean(self, worker):
        self.assertEqual(worker.stop()[0], 0, worker.log_text()[-2000:])

    def wrote(self, worker, stream="stdout"):
        return [e["line"] for e in worker.events("job wrote") if e["stream"] == stream]


class BothCases(ExecCase):
    def test_what_it_writes_says_whose_it_is(self):
        worker = self.run_jobs(self.script("echo words"))
        event = worker.wait_event("job wrote")
        self.assertEqual((event["source"], event["queue"]), (self.queue.source, self.queue.name))
        self.assertEqual((event["handler"], event["attempt"]), ("h", 1))
        self.assertEqual(event["worker"], worker.events("worker started")[0]["name"])
        self.wait_gone(worker)
        self.stop_clean(worker)

    def test_a_running_child_reads_the_drain_notice(self):
        worker = self.run_jobs(
            self.script(
                "read -r job <&3; echo began >$DIR/began; read -r notice <&3\n"
                'printf "%s\\n" "$notice" >$DIR/notice'
            ),
            drain='timeout = "20s"  reserve = "1s"  grace = "1s"',
        )
        self.file("began")
        self.stop_clean(worker)  # it ends because of the notice, and for nothing else
        notice = json.loads(self.file("notice"))
        self.assertEqual(notice["notice"], "drain")
        self.assertGreater(notice["remaining_ms"], 10000)
        self.assertLessEqual(notice["remaining_ms"], 18000)
        self.assertEqual(worker.report()["fates"]["done"], 1)

    def test_a_job_that_extends_outlives_its_timeout(self):
        worker = self.run_jobs(
            self.script(
                "echo $OUTFALL_ATTEMPT >>$DIR/attempts; "
                """echo '{"extend_ms":60000,"progress":0.4,"note":"slow today"}' >&4; sleep 1""",
                extra='timeout = "300ms"',
            )
        )
        self.wait_gone(worker)
        self.stop_clean(worker)
        self.assertEqual(self.file("attempts"), "1\n")
        self.assertEqual(worker.report()["since_start"]["done"], 1)
        [progress] = worker.events("job progressed")
        self.assertEqual((progress["done"], progress["note"]), (0.4, "slow today"))

    def test_the_other_consumers_exit_codes(self):
        """3 and 5 are dead, 4 and 6 come back at once and count for nothing, 1 is a failure like any."""
        worker = self.run_jobs(
            self.script(
                "code=$(cat); echo attempt $OUTFALL_ATTEMPT >>$DIR/$code\n"
                "test $(wc -l <$DIR/$code) -gt 1 && exit 0; exit $code",
                extra='exit_codes = "cli-consumer"',
            ),
            ["0", "1", "3", "4", "5", "6"],
        )
        wait_for("all to be settled for good", lambda: (
            worker.process.poll() is not None
            or sum(e["fate"] in ("done", "dead") for e in worker.events("job settled")) == 6
        ))  # fmt: skip
        self.stop_clean(worker)
        self.assertCountEqual(self.queue.take_dead(), ["3", "5"])
        runs = {code: self.file(code).replace("attempt ", "").split() for code in "013456"}
        self.assertEqual(
            runs,
            {"0": ["1"], "1": ["1", "2"], "3": ["1"], "4": ["1", "1"], "5": ["1"], "6": ["1", "1"]},
        )

    def test_a_signal_to_the_workers_group_leaves_jobs_running(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                gate = f"gate{number}"
                worker = self.run_jobs(self.exec_handler(), [f"j{number}:gate:{self.gate(gate)}"])
                wait_for("it to run", lambda: f"j{number}" in self.record.begun())
                os.killpg(worker.pid, number)
                worker.wait_event("draining")  # a second later it still runs
                self.open_gate(gate)
                self.assertEqual(worker.wait_exit(), 0)
                self.assertIn(f"j{number}", self.record.ended())
                self.assertEqual(worker.report()["fates"]["done"], 1)


class RabbitExec(BothCases, RabbitCase):
    def test_the_line_has_headers_and_properties(self):
        self.queue.publish(
            ["body"], headers={"tenant": "ada", "n": 7}, message_id="m-1", content_type="text/x",
            correlation_id="c-1",
        )  # fmt: skip
        handler = self.script("head -n 1 <&3 >$DIR/line", extra='timeout = "7s"')
        worker = self.start(self.config(self.queue.section(), handler))
        line = json.loads(self.file("line"))
        self.stop_clean(worker)
        self.assertEqual(line["type"], "job")
        self.assertEqual((line["id"], line["queue"]), ("m-1", self.queue.name))
        self.assertEqual((line["source"], line["bytes"]), (self.queue.source, 4))
        self.assertEqual((line["attempt"], line["timeout_ms"]), (1, 7000))
        self.assertEqual(line["content_type"], "text/x")
        self.assertEqual(line["headers"], {"tenant": "ada", "n": 7})
        self.assertEqual(line["properties"]["correlation_id"], "c-1")

    def test_headers_larger_than_a_pipe_arrive_whole(self):
        self.queue.publish(["body"], headers={"big": "x" * 100_000})
        handler = self.script("head -n 1 <&3 | wc -c >$DIR/bytes; echo ok >$DIR/done")
        worker = self.start(self.config(self.queue.section(), handler))
        self.file("done")
        self.stop_clean(worker)
        self.assertGreater(int(self.file("bytes")), 100_000)


class RedisExec(BothCases, RedisCase):
    def test_the_line_without_headers(self):
        worker = self.run_jobs(self.script("head -n 1 <&3 >$DIR/line"), ["body"])
        line = json.loads(self.file("line"))
        self.stop_clean(worker)
        self.assertEqual((line["queue"], line["bytes"]), (self.queue.name, 4))

    def test_a_cancel_notice_says_why(self):
        worker = self.run_jobs(
            self.script(
                "trap 'read -r notice <&3; printf \"%s\\n\" \"$notice\" >$DIR/notice; exit 0' TERM\n"
                "read -r job <&3; while :; do sleep 0.05; done",
                extra='timeout = "300ms"',
            )
        )
        notice = json.loads(self.file("notice"))
        self.stop_clean(worker)
        self.assertEqual((notice["notice"], notice["reason"]), ("cancel", "timeout"))

    def test_rubbish_is_logged_and_the_job_goes_on(self):
        worker = self.run_jobs(self.script("echo rubbish >&4; echo more >&4; echo ok >$DIR/done"))
        self.file("done")
        self.wait_gone(worker)
        self.stop_clean(worker)
        [event] = worker.events("job wrote rubbish to descriptor 4, ignoring it")
        self.assertEqual(event["line"], "rubbish")
        self.assertEqual(worker.report()["since_start"]["done"], 1)

    # --- what a process is given ----------------------------------------------------------------

    def test_environment_is_what_was_let_through(self):
        handler = self.exec_handler(
            command=["/usr/bin/env"], extra='environment = {"APP_*", "LANG=C", "OUTFALL_TEST_SCRATCH"}'
        )
        self.queue.publish(["x"])
        worker = self.start(
            self.config(self.queue.section(), handler),
            environment={"APP_NAME": "yes", "SECRET": "no", "OUTFALL_JOB_ID": "of another"},
        )
        self.wait_gone(worker)
        self.stop_clean(worker)
        variables = dict(line.split("=", 1) for line in self.wrote(worker))
        own = {name for name in variables if name.startswith("OUTFALL_") and "TEST" not in name}
        self.assertEqual(set(variables) - own, {"APP_NAME", "LANG", "OUTFALL_TEST_SCRATCH"})
        self.assertEqual(variables["LANG"], "C")
        self.assertNotEqual(variables["OUTFALL_JOB_ID"], "of another")
        self.assertIn("OUTFALL_QUEUE", own)

    def test_directory(self):
        handler = self.exec_handler(command=["/bin/pwd"], extra='directory = "/usr/share"')
        worker = self.run_jobs(handler)
        self.wait_gone(worker)
        self.stop_clean(worker)
        self.assertEqual(self.wrote(worker), ["/usr/share"])

    def test_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("LOUD SKIP: only root can run a handler as another user")
        handler = self.exec_handler(
            command=["/bin/sh", "-c", "id -un; id -Gn; echo $HOME; touch /no-such-right || echo refused"],
            extra='user = "nobody"',
        )
        worker = self.run_jobs(handler)
        self.wait_gone(worker)
        self.stop_clean(worker)
        self.assertEqual(self.wrote(worker), ["nobody", "nogroup", "/nonexistent", "refused"])

    def test_limits(self):
        for limit, command, signal_name in (
            ('limit_file_size = "8k"', "exec head -c 100000 /dev/zero >$DIR/big", "SIGXFSZ"),
            ('limit_cpu = "1s"', "while :; do :; done", "SIGXCPU"),
        ):
            with self.subTest(limit):
                worker = self.run_jobs(self.script(command, extra=limit), ["x"], ONCE)
                wait_for("it to be dead", lambda: self.queue.dead_depth() == 1, 60)
                self.stop_clean(worker)
                [settled] = worker.events("job settled")
                self.assertIn(signal_name, settled["reason"])
                self.queue.take_dead()
        self.assertEqual((self.directory / "big").stat().st_size, 8192)

    def test_nothing_else_is_inherited(self):
        worker = self.run_jobs(self.exec_handler(command=["/bin/ls", "/proc/self/fd"]), ["x"])
        self.wait_gone(worker)
        self.stop_clean(worker)
        self.assertEqual(self.wrote(worker), ["0", "1", "2", "3", "4", "5"])  # 5 is the folder

    def test_what_does_not_fit_is_found_by_check(self):
        config = self.directory / "bad.conf"
        config.write_text(
            self.queue.section() + 'handler "h" { type = "exec"  command = {"/bin/true"}\n'
            'user = "no-such-user"\ndirectory = "/no/such" }\n'
        )  # fmt: skip
        for command in ("check", "run"):
            done = self.run_outfall(command, "-c", config)
            self.assertEqual(done.returncode, 78)
            line = config.read_text().splitlines().index('user = "no-such-user"') + 1
            text = done.stdout + done.stderr
            self.assertIn(f"bad.conf:{line}: ", text)
            self.assertIn('there is no user "no-such-user"', text)
            self.assertIn(f"bad.conf:{line + 1}: ", text)

    # --- what it leaves -------------------------------------------------------------------------

    def test_output_lines(self):
        worker = self.run_jobs(self.script("seq 50; seq 50 >&2", extra="output_lines = 10"))
        self.wait_gone(worker)
        self.stop_clean(worker)
        self.assertEqual(len(worker.events("job wrote")), 10)
        [event] = worker.events("job wrote more than output_lines, not logged")
        self.assertEqual(event["lines"], 90)

    def test_what_a_run_cost_is_in_the_report(self):
        script = (
            "import os, sys, time; x = b'x' * (200 << 20); open(sys.argv[1] + '/began', 'w').write('yes\\n')\n"
            "while not os.path.exists(sys.argv[1] + '/gate'): time.sleep(0.01)\n"
        )
        path = self.directory / "big.py"
        path.write_text(script)
        handler = self.exec_handler(command=["/usr/bin/python3", path, self.directory])
        worker = self.run_jobs(handler)
        self.file("began")
        worker.send(signal.SIGTERM)
        worker.wait_event("drain moved")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        [job] = worker.report()["jobs"]
        self.assertGreater(job["cpu_ms"], 0)
        self.assertGreater(job["peak_bytes"], 200 << 20)
        self.assertLess(job["peak_bytes"], 400 << 20)

    def test_a_killed_job_takes_its_whole_group_along(self):
        worker = self.run_jobs(
            self.script(
                "trap '' TERM; sleep 300 & echo $! >$DIR/grandchild; wait; sleep 300",
                extra='timeout = "300ms"',
            ),
            ["x"], ONCE,
            drain='timeout = "30s"  grace = "300ms"',
        )  # fmt: skip
        grandchild = int(self.file("grandchild"))
        wait_for("it to be dead", lambda: self.queue.dead_depth() == 1)
        self.stop_clean(worker)
        wait_for("the grandchild to be gone", lambda: not alive(grandchild))

    def test_one_that_is_given_back_is_the_same_job(self):
        worker = self.run_jobs(
            self.script("echo $OUTFALL_JOB_ID >>$DIR/ids; test $(wc -l <$DIR/ids) -gt 3 || exit 6",
                        extra='exit_codes = "cli-consumer"'),
        )  # fmt: skip
        wait_for("it to be done", lambda: worker.events("job settled")[-1:]
                 and worker.events("job settled")[-1]["fate"] == "done")  # fmt: skip
        self.stop_clean(worker)
        self.assertEqual(len(set(self.file("ids").split())), 1)
        self.assertEqual(self.queue.client.exists("{jobs}:history"), 0)

    def test_nor_does_it_outlive_an_exit_that_has_no_time(self):
        worker = self.run_jobs(
            self.script("trap '' TERM; sleep 300 & echo $! >$DIR/grandchild; wait; sleep 300"), ["x"],
            drain='timeout = "200ms"  reserve = "0s"  grace = "0s"',
        )  # fmt: skip
        grandchild = int(self.file("grandchild"))
        self.addCleanup(lambda: alive(grandchild) and os.kill(grandchild, signal.SIGKILL))
        self.assertEqual(worker.stop()[0], 10)
        wait_for("the grandchild to be gone", lambda: not alive(grandchild))


if __name__ == "__main__":
    unittest.main()
