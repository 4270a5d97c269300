import socket
from pathlib import Path

import pytest

from socs.errors import ConfigError
from socs.sim import ports


def test_can_be_listened_on_and_is_never_given_to_outgoing_connections():
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        port = ports.free_port(kind)
        assert ports.LOWEST_PORT <= port < low
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.bind((ports.LOOPBACK, port))


def test_passes_over_ports_in_use(monkeypatch):
    taken = ports.free_port()
    draws = iter([taken, taken, taken + 1])
    with socket.create_server((ports.LOOPBACK, taken)):
        monkeypatch.setattr(ports.random, "randrange", lambda low, high: next(draws))
        monkeypatch.setattr(ports, "ATTEMPTS", 2)
        with pytest.raises(ConfigError, match="no free port"):
            ports.free_port()
        assert ports.free_port() == taken + 1
