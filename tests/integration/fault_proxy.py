"""A TCP proxy between worker and broker that does what networks do.

    proxy = FaultProxy(broker.port)
    proxy.break_with("stall")     # every connection, those to come included
    proxy.heal()                  # from now on bytes flow again; what a fault has cut stays cut

    delay       each piece arrives 50 ms late
    dribble     byte by byte, each a segment of its own
    stall       nothing moves any more, both ends stay open
    black_hole  as stall, and new connections are accepted and never answered
    half_close  the broker's side is closed for writing: the worker reads an end of file
    reset       connections die with RST, at once
    truncate    a few more bytes arrive, then the connection is closed, often within a frame
    refuse      nobody listens, and what was connected dies with RST
    slow        a megabyte in a second; not a fault, and not in FAULTS: everything must work

One thread with a selector owns every socket; a connection is two pipes. Faults change what the pipes do,
nothing else. What a test asks for is carried out by the thread, and has happened when the call returns."""

import queue
import selectors
import socket
import struct
import threading
import time

from ports import free_port

FAULTS = ["delay", "dribble", "stall", "black_hole", "half_close", "reset", "truncate", "refuse"]

DELAY_S = 0.05
TRUNCATE_AFTER = 5
PIECE = 65536
ROOM = 1 << 20  # bytes one pipe holds back before it stops reading


class Pipe:
    """One direction: read from `source`, wait in `held` until due, write to `sink`."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.held = []  # (when due, bytes)
        self.ended = False  # the source has closed
        self.passed = 0

    def room(self):
        return sum(len(piece) for _, piece in self.held) < ROOM


class Connection:
    def __init__(self, worker, broker):
        self.worker, self.broker = worker, broker
        self.pipes = [Pipe(worker, broker), Pipe(broker, worker)]
        self.left = None  # bytes until a truncation; None: no end in sight

    def sockets(self):
        return [s for s in (self.worker, self.broker) if s is not None]


class FaultProxy:
    def __init__(self, target_port):
        self.target_port = target_port
        self.fault = None
        self.connections = []
        self.accepted = 0
        self.listener = None
        self.orders = queue.SimpleQueue()  # (what to do, the event to set when it is done)
        self.wake_read, self.wake_write = socket.socketpair()
        self.closing = False
        self.port = None
        self._listen()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # --- the test's side --------------------------------------------------------------------

    def break_with(self, fault):
        self._order(lambda: self._break_with(fault))

    def heal(self):
        self._order(self._heal)

    def close(self):
        self._order(self._close)
        self.thread.join()

    def _order(self, what):
        done = threading.Event()
        self.orders.put((what, done))
        self.wake_write.send(b"x")
        if not done.wait(20):
            raise AssertionError("the fault proxy is dead")

    # --- the thread's -----------------------------------------------------------------------

    def _break_with(self, fault):
        self.fault = fault
        if fault == "refuse":
            self._stop_listening()
        for connection in list(self.connections):
            self._strike(connection)

    def _heal(self):
        if self.listener is None:
            self._listen()
        self.fault = None
        for connection in list(self.connections):
            connection.left = None
            # One that was never answered has no broker behind it, and cannot get one now.
            if connection.broker is None:
                self._cut(connection, reset=True)

    def _close(self):
        self._stop_listening()
        for connection in list(self.connections):
            self._cut(connection, reset=False)
        self.closing = True

    def _listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = self.port or free_port()  # it must be ours again when it is healed
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen()

    def _stop_listening(self):
        if self.listener is not None:
            self.listener.close()
        self.listener = None

    def _run(self):
        while not self.closing:
            with selectors.DefaultSelector() as selector:
                for sock, events in self._watched().items():
                    selector.register(sock, events)
                ready = [(key.fileobj, events) for key, events in selector.select(self._until_due())]
            for sock, events in ready:
                self._serve(sock, events)
            self._flush_due()
        self.wake_read.close()
        self.wake_write.close()

    def _watched(self):
        watched = {self.wake_read: selectors.EVENT_READ}
        if self.listener is not None:
            watched[self.listener] = selectors.EVENT_READ
        if self.fault in ("stall", "black_hole"):
            return watched
        for connection in self.connections:
            for pipe in connection.pipes:
                if pipe.source is not None and not pipe.ended and pipe.room():
                    watched[pipe.source] = watched.get(pipe.source, 0) | selectors.EVENT_READ
                if self._is_due(pipe) and pipe.sink is not None:
                    watched[pipe.sink] = watched.get(pipe.sink, 0) | selectors.EVENT_WRITE
        return watched

    @staticmethod
    def _is_due(pipe):
        return bool(pipe.held) and pipe.held[0][0] <= time.monotonic()

    def _until_due(self):
        dues = [pipe.held[0][0] for c in self.connections for pipe in c.pipes if pipe.held]
        return max(0, min(dues) - time.monotonic()) if dues else None

    def _serve(self, sock, events):
        if sock is self.wake_read:
            sock.recv(1)  # one for each order
            what, done = self.orders.get()
            what()
            done.set()
        elif sock is self.listener:
            self._accept()
        elif events & selectors.EVENT_READ:
            for connection in list(self.connections):
                for pipe in connection.pipes:
                    if pipe.source is sock:
                        self._read(connection, pipe)

    def _accept(self):
        worker, _ = self.listener.accept()
        worker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted += 1
        if self.fault in ("black_hole", "stall"):
            self.connections.append(Connection(worker, None))
            return
        try:
            broker = socket.create_connection(("127.0.0.1", self.target_port))
        except OSError:
            self._kill(worker)
            return
        broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for sock in (worker, broker):
            sock.setblocking(False)
        connection = Connection(worker, broker)
        self.connections.append(connection)
        self._strike(connection)

    def _strike(self, connection):
        """What a fault does to a connection at once."""
        if self.fault in ("reset", "refuse"):
            self._cut(connection, reset=True)
        elif self.fault == "truncate":
            connection.left = TRUNCATE_AFTER
        elif self.fault == "half_close" and connection.worker is not None:
            try:
                connection.worker.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def _read(self, connection, pipe):
        try:
            piece = pipe.source.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._cut(connection, reset=True)
            return
        if not piece:
            pipe.ended = True
            if not pipe.held:
                self._end(connection, pipe)
            return
        due = time.monotonic() + (DELAY_S if self.fault == "delay" else 0)
        pipe.held.append((due, piece))

    def _flush_due(self):
        if self.fault in ("stall", "black_hole"):
            return
        for connection in list(self.connections):
            for pipe in connection.pipes:
                while connection in self.connections and self._is_due(pipe):
                    if not self._write(connection, pipe):
                        break

    def _write(self, connection, pipe):
        due, piece = pipe.held[0]
        most = len(piece)
        if self.fault == "dribble":
            most = 1
        elif self.fault == "slow":
            most = min(most, 1000)
            due = time.monotonic() + 0.001
        if connection.left is not None:
            most = min(most, connection.left)
        try:
            sent = pipe.sink.send(piece[:most]) if most else 0
        except BlockingIOError:
            return False
        except OSError:
            # A half-closed worker still speaks; what the broker says to it goes nowhere.
            if self.fault == "half_close":
                pipe.held.clear()
                return False
            self._cut(connection, reset=True)
            return False
        pipe.held[0] = (due, piece[sent:])
        if sent == len(piece):
            pipe.held.pop(0)
        if connection.left is not None:
            connection.left -= sent
            if connection.left <= 0:
                self._cut(connection, reset=False)
                return False
        if not pipe.held and pipe.ended:
            self._end(connection, pipe)
        return sent > 0

    def _end(self, connection, pipe):
        try:
            pipe.sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if all(p.ended for p in connection.pipes):
            self._cut(connection, reset=False)

    def _cut(self, connection, reset):
        if connection in self.connections:
            self.connections.remove(connection)
        for sock in connection.sockets():
            if reset:
                self._kill(sock)
            else:
                sock.close()

    @staticmethod
    def _kill(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
