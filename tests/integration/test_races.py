"""The moments that lose jobs elsewhere, hundreds of times: deliveries between cancel and cancel-ok,
a pop that was under way when the drain began, a whole prefetch to be given back in order.

Handlers are plugin threads here, which are fast enough that every interleaving comes up. After each
clean stop the count must come out exactly: run once, or still in the queue; nothing else."""

import collections
import random
import signal
import threading
import time
import unittest

from worker import RabbitCase, RedisCase, patience, wait_for

SEED = random.SystemRandom().randrange(1 << 30)


class RaceCases:
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)

    def assert_each_once(self, sent, left):
        """Counted here: unittest would compare lists of a hundred thousand by their differences,
        and not come to an end when there are many."""
        found = collections.Counter(self.record.ended() + left)
        expected = collections.Counter(sent)
        lost, extra = expected - found, found - expected
        self.assertEqual(self.record.begun_twice()[:5], [], f"seed {SEED}")
        self.assertEqual((len(lost), len(extra)), (0, 0), f"seed {SEED}: {[*lost][:5]} {[*extra][:5]}")

    def tiny(self, prefetch, **options):
        return self.config(
            self.queue.section(extra=f"prefetch = {prefetch}"),
            self.plugin_handler(threads=4),
            level="info",
            **options,
        )

    def test_stop_at_random_moments(self):
        """Big prefetch, tiny jobs, SIGTERM while deliveries pour in."""
        rounds, per_round = 25 if patience() == 1 else 5, 4000
        sent, stops_in_the_middle = [], 0
        for number in range(rounds):
            fresh = [f"{number}-{n}" for n in range(per_round)]
            sent += fresh
            self.queue.publish(fresh)
            size = self.record.path.stat().st_size
            worker = self.start(self.tiny(prefetch=1000))
            wait_for(
                "a first job of this round",
                lambda: self.record.path.stat().st_size > size,
                every=0.001,
            )
            time.sleep(self.random.random() * 0.03)  # a random moment is the point here
            self.assertEqual(worker.stop()[0], 0)
            stops_in_the_middle += self.queue.depth() > 0
        wait_for("everybody to let go", self.all_back)
        left = self.queue.take_all()
        self.figure(
            f"{rounds} stops, {stops_in_the_middle} in the middle; {len(sent)} jobs: "
            f"{len(sent) - len(left)} run once, {len(left)} in the queue"
        )
        self.assert_each_once(sent, left)
        self.assertGreater(stops_in_the_middle, rounds // 2, "too few to show anything")

    def test_quiet_races_with_a_producer(self):
        """Quiet and resume against single jobs that arrive at that very moment. On Redis each is a
        blocked pop that must be unblocked, and may have a job in its hands."""
        rounds = 300 if patience() == 1 else 60
        worker = self.start(self.tiny(prefetch=10))
        self.wait_consuming(worker)
        sent = []

        def produce():
            for number in range(rounds * 3):
                sent.append(f"p{number}")
                self.producer_publish(sent[-1])
                time.sleep(self.random.random() * 0.002)

        producer = threading.Thread(target=produce)
        producer.start()
        quiets = 0
        while producer.is_alive() or quiets < rounds:
            worker.send(signal.SIGTSTP)
            wait_for("quiet", lambda: self.moved(worker, "quiet") > quiets, every=0.001)
            quiets += 1
            worker.send(signal.SIGCONT)
            wait_for("open", lambda: self.moved(worker, "open") >= quiets, every=0.001)
        producer.join()
        self.record.wait_ended(len(sent))
        self.assertEqual(worker.stop()[0], 0)
        self.figure(f"{quiets} times quiet and resumed, {len(sent)} jobs, each run once")
        self.assert_each_once(sent, self.queue.take_all())

    def moved(self, worker, to):
        return worker.log_text().count(f'"to":"{to}"')

    def test_stop_races_with_a_producer(self):
        """SIGTERM to an idle worker at the moment a job arrives."""
        rounds = 30 if patience() == 1 else 8
        sent = []
        for number in range(rounds):
            worker = self.start(self.tiny(prefetch=10))
            self.wait_consuming(worker)
            tags = [f"{number}-{n}" for n in range(3)]
            sender = threading.Thread(target=lambda: [self.producer_publish(t) for t in tags])
            sender.start()
            time.sleep(self.random.random() * 0.0015)
            self.assertEqual(worker.stop()[0], 0)
            sender.join()
            sent += tags
        wait_for("everybody to let go", self.all_back)
        left = self.queue.take_all()
        self.figure(f"{rounds} stops: {len(sent) - len(left)} run once, {len(left)} in the queue")
        self.assert_each_once(sent, left)

    def test_ten_thousand_unbegun_go_back_in_order(self):
        """With the first jobs still running, so that no multiple may cover everything."""
        count = 10000
        bodies = [f"j{n}" for n in range(count)]
        bodies[0] = f"j0:gate:{self.gate()}"
        bodies[1] = f"j1:gate:{self.gate()}"
        self.queue.publish(bodies)
        worker = self.start(
            self.config(
                self.queue.section(extra="prefetch = 10002 concurrency = 2"),
                self.plugin_handler(threads=2),
                level="info",
            )
        )
        self.record.wait_begun(2)
        wait_for("all to be taken", lambda: self.queue.depth() == 0)
        begun = time.monotonic()
        worker.send(signal.SIGTERM)
        wait_for("all to be back", lambda: self.queue.depth() == count - 2, every=0.002)
        self.figure(f"giving back {count - 2} held jobs: {(time.monotonic() - begun) * 1000:.0f} ms")
        self.open_gate()
        self.assertEqual(worker.wait_exit(), 0)
        self.assertEqual(worker.report()["fates"]["returned"], count - 2)
        self.assertCountEqual(self.record.ended(), ["j0", "j1"])
        wait_for("everybody to let go", self.all_back)
        left = self.queue.take_all()
        differ = [n for n, pair in enumerate(zip(left, bodies[2:])) if pair[0] != pair[1]]
        self.assertEqual((len(left), differ[:5]), (count - 2, []), "their order has changed")


class RabbitRaces(RaceCases, RabbitCase):
    def producer_publish(self, body):
        if not hasattr(self, "publishing"):
            self.publishing = self.broker.connect(self.queue.vhost)
            self.addCleanup(self.publishing.close)
            self.publishing_channel = self.publishing.channel()
        self.publishing_channel.basic_publish("", self.queue.name, body)
        # A round trip: it is in the queue now.
        self.publishing_channel.queue_declare(self.queue.name, passive=True)


class RedisRaces(RaceCases, RedisCase):
    def producer_publish(self, body):
        self.queue.client.lpush(self.queue.name, body)


if __name__ == "__main__":
    unittest.main(verbosity=2)
