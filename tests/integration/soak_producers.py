"""The soak's producers: bursts of jobs at a modest rate, and for each job whether the broker has it for sure."""

import itertools
import random
import threading
import time

import pika
import redis

BURST = 24  # more than one worker runs at once, so that some wait in their hands
EVERY_S = 2.5
ENOUGH_WAITING = 400  # not yet done: no more are put until then
ANSWER_S = 5


class Producer(threading.Thread):
    """One for each broker. What it meets is noted and ends nothing: the next burst tries again."""

    numbers = itertools.count(1)

    def __init__(self, oracle, seed):
        super().__init__(daemon=True)
        self.oracle, self.random = oracle, random.Random(seed)
        self.over = threading.Event()
        self.troubles = 0

    def run(self):
        while not self.over.wait(EVERY_S):
            if len(self.oracle.missing()) > ENOUGH_WAITING:
                continue
            self.put_if_possible()

    def put_if_possible(self):
        try:
            self.put_burst()
        except (pika.exceptions.AMQPError, redis.RedisError, OSError):
            self.troubles += 1

    def stop(self):
        self.over.set()
        self.join()

    def doing(self, queue):
        if queue == "flaky":
            return f"fail-until:{self.random.choice([2, 3])}"
        return "ms:%d" % self.random.choice([1, 5, 30, 100, 300, 3000])

    def new_job(self, queue):
        tag = f"{self.source[0]}{next(self.numbers)}"
        self.oracle.will_put(tag, self.source, queue)
        return tag, f"{tag}:{self.doing(queue)}"

    def a_queue(self):
        return self.random.choice(self.queues)


class RabbitProducer(Producer):
    source = "rabbitmq"
    queues = ["quorum"] * 5 + ["classic"] * 3 + ["flaky"] * 2

    def __init__(self, oracle, seed, cluster):
        super().__init__(oracle, seed)
        self.cluster = cluster

    def put_burst(self):
        with self.connect() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for _ in range(BURST):
                self.put(channel)

    def connect(self):
        node = self.random.choice(self.cluster.running())
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                "127.0.0.1", node.port, "/", pika.PlainCredentials("guest", "guest"), heartbeat=ANSWER_S,
                socket_timeout=ANSWER_S, stack_timeout=ANSWER_S, blocked_connection_timeout=ANSWER_S,
            )  # fmt: skip
        )

    def put(self, channel):
        queue = self.a_queue()
        tag, body = self.new_job(queue)
        properties = pika.BasicProperties(delivery_mode=2, message_id=tag)
        begun = time.monotonic()
        channel.basic_publish("", queue, body, properties, mandatory=True)
        # A classic queue whose node goes away meanwhile may confirm what it never got.
        if queue != "classic" or not self.struck_since(begun):
            self.oracle.is_put(tag)

    def struck_since(self, when):
        return any(until > when for _, until in self.oracle.strikes[self.source])


class RedisProducer(Producer):
    source = "redis"
    queues = ["jobs"] * 4 + ["flaky"]
    replicas = 2  # all of them: any may be the next master

    def __init__(self, oracle, seed, servers):
        super().__init__(oracle, seed)
        self.servers = servers

    def put_burst(self):
        master = self.servers.master()
        # Not one that tries again by itself: a push may have arrived though its answer has not.
        with redis.Redis("127.0.0.1", master.port, db=2, password=self.servers.PASSWORD,
                         socket_timeout=ANSWER_S) as client:  # fmt: skip
            tags = [self.push(client) for _ in range(BURST)]
            if client.wait(self.replicas, 2000) == self.replicas:
                for tag in tags:
                    self.oracle.is_put(tag)

    def push(self, client):
        queue = self.a_queue()
        tag, body = self.new_job(queue)
        client.lpush(queue, body)
        return tag
