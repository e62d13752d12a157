"""A TCP relay in front of a broker, to cut connections and to fall silent where a broker would not."""

import selectors
import socket
import threading


class Relay:
    """Forwards what comes to `port`. One thread serves all; the test changes what it does."""

    def __init__(self, to_port):
        self.to_port = to_port
        self.silent = False  # new connections are taken, and nothing is ever answered
        self.accepted = 0
        self._pairs = {}  # socket: its other end, None while silent
        self._nears = []  # as they came
        self._sent = {}  # by each of them, in bytes
        self._many = None
        self._held = None
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._ends = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self):
        """Every connection that stands, at once."""
        with self._lock:
            for end in list(self._pairs):
                self._drop(end)

    def cut_held(self):
        with self._lock:
            self._drop(self._held)
            self._held = None

    def hold_first(self):
        """What the first connection sends from now on stays where it is, until let_go()."""
        with self._lock:
            self._hold(self._nears[0])

    def hold_after(self, many):
        """The same for the first connection that has sent so many bytes."""
        with self._lock:
            self._many = many

    def holds(self):
        return self._held is not None

    def _hold(self, near):
        self._held = near
        self._many = None
        self._selector.unregister(near)

    def let_go(self):
        with self._lock:
            if self._held in self._pairs:
                self._selector.register(self._held, selectors.EVENT_READ)
            self._held = None
            self._wake.send(b"x")

    def close(self):
        self._ends = True
        self._wake.send(b"x")
        self._thread.join()
        self.cut()
        self._listener.close()

    def _drop(self, end):
        if end not in self._pairs:
            return
        other = self._pairs.pop(end)
        if end is not self._held:
            self._selector.unregister(end)
        end.close()
        if other is not None:
            self._drop(other)

    def _accept(self):
        near = self._listener.accept()[0]
        self.accepted += 1
        far = None
        if not self.silent:
            try:
                far = socket.create_connection(("127.0.0.1", self.to_port))
            except OSError:
                near.close()
                return
            self._pairs[far] = near
            self._selector.register(far, selectors.EVENT_READ)
        self._pairs[near] = far
        self._nears.append(near)
        self._sent[near] = 0
        self._selector.register(near, selectors.EVENT_READ)

    def _forward(self, end):
        if end not in self._pairs:
            return  # dropped in the same round
        other = self._pairs[end]
        try:
            data = end.recv(65536)
            if end in self._sent:
                self._sent[end] += len(data)
            if data and other is not None:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)
        elif self._many is not None and self._sent.get(end, 0) >= self._many:
            self._hold(end)

    def _run(self):
        while not self._ends:
            ready = [key.fileobj for key, _ in self._selector.select()]
            with self._lock:
                for end in ready:
                    if end is self._listener:
                        self._accept()
                    elif end is self._woken:
                        self._woken.recv(1)
                    elif end is not self._held:
                        self._forward(end)
