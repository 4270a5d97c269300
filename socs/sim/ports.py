"""Ports for private servers on this machine."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from socs.errors import ConfigError

LOOPBACK = "127.0.0.1"
# Below the ports that the kernel hands to outgoing connections. A port from that range would not do
# for a server that is killed and restarted: while it is down, any outgoing connection may be given
# the port, and a client that keeps trying to connect can even be connected to itself.
LOWEST_PORT = 15_000
ATTEMPTS = 200
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 on which nothing listens now.

    Another process can take it before its user does: whoever starts a server on it tries again
    with another port when the server cannot listen.

    Args:
        kind: ``SOCK_STREAM`` for TCP, ``SOCK_DGRAM`` for UDP.

    Raises:
        ConfigError: no free port was found in many attempts.
    """
    ephemeral_low = int(_EPHEMERAL.read_text().split()[0])
    for _ in range(ATTEMPTS):
        wanted = random.randrange(LOWEST_PORT, ephemeral_low) if ephemeral_low > LOWEST_PORT else 0
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((LOOPBACK, wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError(f"no free port on {LOOPBACK} between {LOWEST_PORT} and {ephemeral_low}")
