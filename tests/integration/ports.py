"""Ports for what tests start."""

import random
import socket

_given = set()  # by this process


def free_port():
    """Nobody listens there now. From below the range that the kernel gives to outgoing connections, as
    private_brokers.sh draws them: one from within it may be somebody's before it is ours."""
    while True:
        port = random.randrange(10000, 32000)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
