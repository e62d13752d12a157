"""A service that jobs are POSTed to, as its author would write it, except that each job's answer is
scripted by the test:

    service = Service()
    service.plan("a", answer(503, "later"), answer(204))     # the last one holds for ever
    service.url, service.requests("a"), service.connections

A tag is what stands before the first colon of a body. Anything without a plan is answered with 204.
"""

import collections
import http.server
import socket
import ssl
import struct
import threading
import time

Request = collections.namedtuple("Request", "tag headers body connection at")


def answer(status, body="", headers=(), close_unsaid=False):
    """close_unsaid: the connection ends behind the answer, and the answer does not say so."""

    def act(exchange):
        exchange.send_response(status)
        for name, value in dict(headers).items():
            exchange.send_header(name, value)
        data = body.encode()
        if status != 204:
            exchange.send_header("Content-Length", str(len(data)))
        exchange.end_headers()
        exchange.wfile.write(data)
        exchange.close_connection = exchange.close_connection or close_unsaid

    return act


def hang(gate, then=answer(204)):
    """Until the gate opens; `gate` is a threading.Event."""

    def act(exchange):
        gate.wait(120)
        then(exchange)

    return act


def reset(after=0.0):
    """The server breaks down with the job in its hands."""

    def act(exchange):
        time.sleep(after)
        exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.close_connection = True
        exchange.broken = True

    return act


def cut_off(status):
    """Half of an answer."""

    def act(exchange):
        exchange.send_response(status)
        exchange.send_header("Content-Length", "1000")
        exchange.end_headers()
        exchange.wfile.write(b"half\n")
        exchange.close_connection = True

    return act


def endless(exchange):
    """An answer without end, as fast as it is read."""
    exchange.send_response(200)
    exchange.send_header("Transfer-Encoding", "chunked")
    exchange.end_headers()
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    try:
        while True:
            exchange.wfile.write(chunk)
            exchange.server.service.written += len(chunk)
    except OSError:
        exchange.close_connection = exchange.broken = True


class _Exchange(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.broken = False
        self.number = self.server.service.connected()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.service.serve(self, body)

    def finish(self):
        if self.broken:
            self.connection.close()  # at once: nothing is flushed, no FIN before the RST
        else:
            super().finish()

    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def shutdown_request(self, request):
        request.close()

    def handle_error(self, request, client_address):
        pass  # a client that went away: tests look at its side of it


class Service:
    def __init__(self, port=0, certificate=None):
        self.lock = threading.Lock()
        self.plans, self.seen = {}, []
        self.connections = self.written = 0
        self.server = _Server(("127.0.0.1", port), _Exchange)
        self.server.service = self
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.port = self.server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}/jobs"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def plan(self, tag, *answers):
        self.plans[tag] = list(answers)

    def connected(self):
        with self.lock:
            self.connections += 1
            return self.connections

    def serve(self, exchange, body):
        tag = body.split(b":", 1)[0].decode(errors="replace")
        with self.lock:
            self.seen.append(Request(tag, exchange.headers, body, exchange.number, time.monotonic()))
            plan = self.plans.get(tag) or [answer(204)]
            act = plan.pop(0) if len(plan) > 1 else plan[0]
        act(exchange)

    def requests(self, tag=None):
        with self.lock:
            return [r for r in self.seen if tag in (None, r.tag)]

    def attempts(self, tag):
        return [int(r.headers["Outfall-Attempt"]) for r in self.requests(tag)]
