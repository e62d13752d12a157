#!/usr/bin/python3
"""Sentinels, real ones: they are asked where the master is, and a master that dies or stands still under
load is left for the next one.

Replication is asynchronous, so a failover may lose what the old master had confirmed. Each test takes the
new master's word for what there is: of that nothing may be lost, and what runs twice is counted."""

import signal
import time
import unittest

from authority import Authority
from brokers import RedisServer
from ports import free_port
from sentinels import Jobs, SentinelSet
from worker import WorkerCase, patience, wait_for

JOBS = 5000


class SentinelCase(WorkerCase):
    sentinel_password = None

    def setUp(self):
        super().setUp()
        self.servers = SentinelSet(self.sentinel_password)
        self.addCleanup(self.servers.stop)
        self.queue = Jobs(self.servers)

    def consume(self, extra='lease = "3s"', redis=""):
        section = self.queue.section(extra=extra).replace("  list ", f"  {redis}\n  list ")
        return self.start(self.config(section, self.plugin_handler()))

    def new_master(self, old):
        node = wait_for("another master", lambda: self.elected(old), 30)
        self.queue.reconnect()
        return node

    def elected(self, old):
        node = self.servers.master()
        return node is not old and self.servers.role(node) == "master" and node

    def assert_consumes(self, tag):
        self.queue.publish([tag])
        wait_for(f"{tag} to run", lambda: tag in self.record.ended(), 30)


class Discovery(SentinelCase):
    sentinel_password = "s3ntinel"

    def test_finds_the_master_and_says_so_without_secrets(self):
        for sentinel in self.servers.sentinels[:2]:
            sentinel.kill()
        self.queue.publish(["j1"])
        worker = self.consume()
        self.record.wait_ended(1)
        event = worker.wait_event("redis connected")
        self.assertEqual(event["master"], f"127.0.0.1:{self.servers.nodes[0].port}")
        self.assertEqual(worker.stop()[0], 0)
        for secret in (self.sentinel_password, "data%3A", self.servers.PASSWORD):
            self.assertNotIn(secret, worker.log_text())

    def test_enqueue_finds_it_too(self):
        worker = self.consume()
        worker.wait_event("redis connected")
        done = self.run_outfall("enqueue", "-c", worker.config_path, "cache/jobs", "--body", "j1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.record.wait_ended(1)

    def test_a_silent_sentinel_is_not_waited_for(self):
        self.servers.sentinels[0].kill(signal.SIGSTOP)
        self.addCleanup(self.servers.sentinels[0].kill, signal.SIGCONT)
        self.queue.publish(["j1"])
        begun = time.monotonic()
        self.consume()
        self.record.wait_ended(1)
        self.assertLess(time.monotonic() - begun, 4 * patience())

    def test_no_sentinel_is_a_state_and_no_exit(self):
        for sentinel in self.servers.sentinels:
            sentinel.kill()
        self.queue.client.lpush("jobs", "j1")
        worker = self.consume()
        event = worker.wait_event("redis link down, reconnecting", 2)
        self.assertIn("sentinel 127.0.0.1:", event["why"])
        self.servers.sentinels[1].start()
        self.record.wait_ended(1)
        self.assertEqual(worker.stop()[0], 0)

    def test_a_wrong_password_at_the_start_is_refused_for_good(self):
        self.queue.servers.sentinel_password = "mistaken"
        url = self.servers.url()
        self.queue.servers.sentinel_password = self.sentinel_password
        worker = self.start(self.config(self.queue.section(url=url)))
        self.assertEqual(worker.wait_exit(), 69)
        self.assertIn("WRONGPASS", worker.log_text())
        self.assertNotIn("mistaken", worker.log_text())

    def test_a_name_they_do_not_know_is_waited_for(self):
        url = self.servers.url().replace("/jobs/2", "/others/2")
        worker = self.start(self.config(self.queue.section(url=url)))
        event = worker.wait_event("redis link down, reconnecting", 2)
        self.assertIn("knows no master of that name", event["why"])
        self.assertEqual(worker.stop()[0], 0)


class Encrypted(WorkerCase):
    def test_sentinels_and_master(self):
        ca = Authority(self.directory / "ca", "tests")
        pem, key = self.directory / "server.pem", self.directory / "server.key"
        ca.issue(pem, key, "127.0.0.1", names="IP:127.0.0.1")
        master_port, sentinel_port = free_port(), free_port()
        tls = {"tls-ca-cert-file": ca.pem, "tls-cert-file": pem, "tls-key-file": key,
               "tls-auth-clients": "no", "tls-replication": "yes"}  # fmt: skip
        words = [word for key, value in tls.items() for word in ("--" + key, value)]
        master = RedisServer("--tls-port", master_port, *words)
        self.addCleanup(master.stop)
        sentinel = RedisServer(sentinel=[
            f"tls-port {sentinel_port}", *(f"{key} {value}" for key, value in tls.items()),
            f"sentinel monitor jobs 127.0.0.1 {master_port} 1",
        ])  # fmt: skip
        self.addCleanup(sentinel.stop)
        master.client().lpush("jobs", "j1")
        worker = self.start(self.config(
            f'redis "cache" {{ url = "rediss+sentinel://127.0.0.1:{sentinel_port}/jobs"\n'
            f'ca_file = "{ca.pem}"\nlist "jobs" {{ handler = "h" }} }}\n'))  # fmt: skip
        self.record.wait_ended(1)
        event = worker.wait_event("redis connected")
        self.assertEqual((event["master"], event["tls"]), (f"127.0.0.1:{master_port}", "TLSv1.3"))
        self.assertEqual(worker.stop()[0], 0)


class FailoverCase(SentinelCase):
    def under_load(self, workers=1, extra='lease = "9s"', redis=""):
        """Workers in the middle of it, and a producer that notes what the master confirmed."""
        started = [self.consume(extra, redis) for _ in range(workers)]
        for worker in started:
            worker.wait_event("redis connected")
        self.queue.publish_to_all([f"j{n}:ms:2" for n in range(JOBS)], replicas=2)
        self.record.wait_ended(JOBS // 10)
        return started

    def judge(self, workers, begun):
        """Everything the new master has is done by now. Printed: what became of the rest."""
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0, 60)
        self.assert_consumes("last")
        ended = self.record.ended()
        lost = {f"j{n}" for n in range(JOBS)} - set(ended)
        twice = self.record.ended_twice()
        self.figure(f"{JOBS} jobs, lost {len(lost)}, run twice {len(twice)}, "
                    f"consuming again after {self.gap(workers, begun):.1f} s")  # fmt: skip
        # Every replica had all of them: none can be lost.
        self.assertEqual(lost, set())
        for worker in workers:
            self.assertIn(worker.stop()[0], (0, 11))
        return twice

    def gap(self, workers, begun):
        # One that had connected and taken nothing yet says "connected" once more.
        links = ("redis connected", "redis link restored")
        wait_for("every worker to be back",
                 lambda: all(sum(len(w.events(link)) for link in links) > 1 for w in workers), 30)  # fmt: skip
        return self.back - begun

    def fail_over(self, how, **load):
        workers = self.under_load(**load)
        old = self.servers.master()
        begun = time.monotonic()
        old.kill(how)
        self.new_master(old)
        ended = len(self.record.ended())
        wait_for("jobs to end again", lambda: len(self.record.ended()) > ended, 30)
        self.back = time.monotonic()
        return old, self.judge(workers, begun)

    def stop_replicas(self):
        replicas = [node for node in self.servers.nodes if node is not self.servers.master()]
        for node in replicas:
            node.kill(signal.SIGSTOP)
            self.addCleanup(node.kill, signal.SIGCONT)
        # What a replica's kernel has it would still read when it goes on, master or no master.
        self.servers.client(self.servers.master()).client_kill_filter(_type="slave")
        return replicas

    def lagging(self, jobs, redis=""):
        """A worker holds and runs what the replicas have in the list and know nothing more of."""
        worker = self.consume('lease = "30s"  prefetch = 12', redis)
        worker.wait_event("redis connected")
        worker.send(signal.SIGTSTP)
        worker.wait_event("drain moved")
        wait_for("the intake to be shut", lambda: not self.blocked())
        self.queue.publish_to_all(jobs, replicas=2)
        replicas = self.stop_replicas()
        worker.send(signal.SIGCONT)
        return worker, replicas

    def blocked(self):
        return [c for c in self.queue.client.client_list() if "b" in c["flags"]]

    def promote(self, replicas):
        old = self.servers.master()
        old.kill()
        for node in replicas:
            node.kill(signal.SIGCONT)
        self.new_master(old)


class Failover(FailoverCase):
    def test_master_killed(self):
        _, twice = self.fail_over(signal.SIGKILL)
        self.assertLessEqual(len(twice), JOBS // 10)

    def test_master_killed_under_three_workers(self):
        _, twice = self.fail_over(signal.SIGKILL, workers=3)
        self.assertLessEqual(len(twice), JOBS // 10)

    def test_master_stopped_and_back(self):
        """It wakes up in the belief of being the master, with our connections still open."""
        old, _ = self.fail_over(signal.SIGSTOP, extra='lease = "30s"')
        worker = self.consume()
        worker.wait_event("redis connected")
        old.kill(signal.SIGCONT)
        wait_for("the old master to be a replica", lambda: self.servers.role(old) == "slave", 30)
        self.assert_consumes("later")
        self.assertEqual(worker.stop()[0], 0)

    def test_an_old_master_that_others_have_left(self):
        """Cut off from the Sentinels but not from us: nothing fails, and only asking again tells."""
        worker = self.consume()
        worker.wait_event("redis connected")
        old = self.servers.master()
        # To the Sentinels it does not answer, and what they tell it to become it does not become.
        self.servers.client(old).execute_command(
            "ACL", "SETUSER", "default", "-ping", "-replicaof", "-slaveof", "-multi", "-client|kill"
        )
        self.new_master(old)
        self.assertEqual(self.servers.role(old), "master")
        event = worker.wait_event("redis link down, reconnecting")
        self.assertIn("the sentinels say that the master is", event["why"])
        worker.wait_event("redis link restored")
        self.assert_consumes("j1")
        self.assertEqual(worker.stop()[0], 0)

    def test_claims_that_were_not_replicated(self):
        """The new master still has these jobs in its list. The worker claims them again: what runs here runs
        on, what has ended here and could not be told is told now, and nothing runs twice."""
        jobs = [f"j{n}:gate:{self.gate(f'gate{n % 2}')}" for n in range(20)]
        worker, replicas = self.lagging(jobs)
        self.record.wait_begun(4)
        self.servers.master().kill(signal.SIGSTOP)
        self.open_gate("gate0")
        self.record.wait_ended(2)
        self.promote(replicas)
        worker.wait_event("claims that the server has forgotten, claiming them again")
        self.open_gate("gate1")
        wait_for("all to end", lambda: len(set(self.record.ended())) == 20, 30)
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0)
        self.assertEqual(self.record.begun_twice(), [])
        worker.stop()

    def test_settles_that_were_not_replicated(self):
        """What only the old master knew to be done runs again: exactly that, and once."""
        worker, replicas = self.lagging([f"j{n}" for n in range(6)])
        self.record.wait_ended(6)
        wait_for("all settled", lambda: self.queue.unsettled() == 0)
        self.promote(replicas)
        wait_for("a second run of each", lambda: len(self.record.ended()) == 12)
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0)
        self.figure(f"6 settled on the old master alone, run twice {len(self.record.ended_twice())}")
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(len(self.record.ended()), 12)

    def test_planned(self):
        """SENTINEL FAILOVER stops nobody: what the old master confirms until it is told has no future."""
        workers = self.under_load()
        old = self.servers.master()
        begun = time.monotonic()
        self.servers.ask(self.servers.sentinels[0]).execute_command("SENTINEL", "FAILOVER", "jobs")
        self.new_master(old)
        ended = len(self.record.ended())
        wait_for("jobs to end again", lambda: len(self.record.ended()) > ended, 30)
        self.back = time.monotonic()
        self.judge(workers, begun)


class Waiting(FailoverCase):
    """wait_replicas: what the replicas have not heard of has not happened."""

    def test_claims(self):
        """The same as test_settles_that_were_not_replicated, where each runs twice."""
        worker, replicas = self.lagging(
            [f"j{n}" for n in range(6)], 'wait_replicas = 1  wait_timeout = "4s"'
        )
        client = self.queue.client
        wait_for("a claim", lambda: client.llen("jobs") == 0)
        self.assertEqual(self.record.begun(), [])
        self.promote(replicas)
        wait_for("all to end", lambda: len(self.record.ended()) == 6)
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), [])
        self.assertEqual(worker.report()["fates"]["unsettled"], 0)

    def test_settles(self):
        self.queue.publish([f"j{n}:gate:{self.gate()}" for n in range(8)])
        worker = self.consume('lease = "30s"', 'wait_replicas = 1  wait_timeout = "4s"')
        self.record.wait_begun(4)
        replicas = self.stop_replicas()
        self.open_gate()
        self.record.wait_ended(4)
        client = self.queue.client
        wait_for("a settle that the replicas cannot have", lambda: self.queue.unsettled() < 8)
        self.promote(replicas)
        wait_for("all to end", lambda: len(set(self.record.ended())) == 8)
        wait_for("nothing unsettled", lambda: self.queue.unsettled() == 0)
        self.assertEqual(worker.stop()[0], 0)
        self.assertEqual(self.record.begun_twice(), [])
        client.close()

    def test_without_replicas_the_work_goes_on(self):
        for node in self.servers.nodes[1:]:
            node.kill()
        self.queue.publish([f"j{n}" for n in range(20)])
        worker = self.consume(redis='wait_replicas = 1  wait_timeout = "50ms"')
        self.record.wait_ended(20)
        self.assertEqual(len(worker.events("too few replicas confirmed in time, going on without")), 1)
        self.servers.nodes[1].start()

        def pushed_and_confirmed():
            self.queue.publish(["more"])
            return worker.events("replicas confirm again")

        wait_for("a replica again", pushed_and_confirmed, every=0.2)
        self.assertEqual(worker.stop()[0], 0)

    def test_under_load(self):
        """Afterwards one of the two replicas is missing for good, and the work does not crawl."""
        _, twice = self.fail_over(signal.SIGKILL, workers=2, redis="wait_replicas = 2")
        self.assertLessEqual(len(twice), JOBS // 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
