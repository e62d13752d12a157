"""A RabbitMQ that does not care for basic.qos: it delivers as fast as it can, for as long as it may."""

import socket
import threading

import pika


class FloodingBroker:
    """Serves one worker with one queue. `delivered` counts the messages that have left."""

    def __init__(self, body):
        self.body = body
        self.delivered = 0
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def _run(self):
        while True:
            try:
                worker, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with worker:
                    worker.settimeout(20)
                    self._serve(worker)
            except OSError:
                pass  # it has hung up, as it should

    def _serve(self, worker):
        spec, self.input = pika.spec, b""
        worker.recv(8)
        start = spec.Connection.Start(server_properties={"product": "Flood", "version": "1"})
        self._say(worker, 0, start)
        self._hear(worker, spec.Connection.StartOk)
        self._say(worker, 0, spec.Connection.Tune(channel_max=100, frame_max=131072, heartbeat=0))
        self._hear(worker, spec.Connection.Open)
        self._say(worker, 0, spec.Connection.OpenOk())
        self._hear(worker, spec.Channel.Open)
        self._say(worker, 1, spec.Channel.OpenOk())
        self._hear(worker, spec.Queue.Declare)
        self._say(worker, 1, spec.Queue.DeclareOk("jobs", 0, 0))
        self._hear(worker, spec.Basic.Qos)
        self._say(worker, 1, spec.Basic.QosOk())
        consume = self._hear(worker, spec.Basic.Consume)
        self._say(worker, 1, spec.Basic.ConsumeOk(consume.consumer_tag))
        tag = 0
        while True:
            tag += 1
            worker.sendall(self._message(tag, consume.consumer_tag))
            self.delivered += 1

    def _message(self, tag, consumer_tag):
        deliver = pika.spec.Basic.Deliver(consumer_tag, tag, False, "", "jobs")
        return b"".join(
            frame.marshal()
            for frame in (
                pika.frame.Method(1, deliver),
                pika.frame.Header(1, len(self.body), pika.BasicProperties(message_id=f"m{tag}")),
                pika.frame.Body(1, self.body),
            )
        )

    @staticmethod
    def _say(worker, channel, method):
        worker.sendall(pika.frame.Method(channel, method).marshal())

    def _hear(self, worker, kind):
        """The next method of this kind; others are passed over."""
        while True:
            used, frame = pika.frame.decode_frame(self.input)
            self.input = self.input[used:]
            if used == 0:
                piece = worker.recv(65536)
                if not piece:
                    raise OSError("hung up")
                self.input += piece
            elif isinstance(getattr(frame, "method", None), kind):
                return frame.method
