"""A TCP relay in front of a broker, to cut connections and to fall silent where a broker would not."""

import selectors
import socket
import threading


class Relay:
    """Forwards what comes to `port`. One thread serves all; the test changes what it does."""

    def __init__(self, to_port):
        self.to_port = to_port
        self.silent = False  # new connections are taken, and nothing is ever answered
        self.says = None  # (what the broker sends, what comes instead, as long)
        self.accepted = 0
        self._pairs = {}  # socket: its other end, None while silent
        self._nears = []  # as they came
        self._sent = {}  # by each of them, in bytes
        self._pending = {}  # what an end has not taken yet; so long its other end is not read
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

    def cut_first(self):
        """The first connection: a worker's consuming one."""
        with self._lock:
            self._drop(self._nears[0])

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
        self._watch(near)

    def put_in(self, data):
        """What the broker has not said, to all; it must be quiet meanwhile."""
        with self._lock:
            for near in self._nears:
                if near in self._pairs:
                    near.sendall(data)

    def let_go(self):
        with self._lock:
            held, self._held = self._held, None
            if held in self._pairs:
                self._watch(held)
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
        self._pending.pop(end, None)
        if end in self._selector.get_map():
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
            far.setblocking(False)
            self._pairs[far] = near
            self._watch(far)
        near.setblocking(False)
        self._pairs[near] = far
        self._nears.append(near)
        self._sent[near] = 0
        self._watch(near)

    def _watch(self, end):
        """Nobody waits for one that takes nothing: a blocked broker would hold us, and the test with us."""
        reads = end is not self._held and self._pairs[end] not in self._pending
        events = selectors.EVENT_READ * reads | selectors.EVENT_WRITE * (end in self._pending)
        known = end in self._selector.get_map()
        if not events and known:
            self._selector.unregister(end)
        elif events and known:
            self._selector.modify(end, events)
        elif events:
            self._selector.register(end, events)

    def _give(self, end, data):
        """As much as it takes now."""
        try:
            rest = data[end.send(data) :]
        except BlockingIOError:
            rest = data
        self._pending.pop(end, None)
        if rest:
            self._pending[end] = rest
        self._watch(end)
        self._watch(self._pairs[end])

    def _forward(self, end):
        data = end.recv(65536)
        if not data:
            self._drop(end)
            return
        if end in self._sent:
            self._sent[end] += len(data)
        elif self.says:
            data = data.replace(*self.says)
        if self._many is not None and self._sent.get(end, 0) >= self._many:
            self._hold(end)
        if self._pairs[end] is not None:
            self._give(self._pairs[end], data)

    def _serve(self, end, events):
        """It may have been dropped in the same round."""
        try:
            if end in self._pairs and events & selectors.EVENT_WRITE:
                self._give(end, self._pending[end])
            if end in self._pairs and events & selectors.EVENT_READ and end is not self._held:
                self._forward(end)
        except OSError:
            self._drop(end)

    def _run(self):
        while not self._ends:
            ready = [(key.fileobj, events) for key, events in self._selector.select()]
            with self._lock:
                for end, events in ready:
                    if end is self._listener:
                        self._accept()
                    elif end is self._woken:
                        self._woken.recv(1)
                    else:
                        self._serve(end, events)
