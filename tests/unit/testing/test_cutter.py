import contextlib
import socket
import struct
import threading

import pytest

from socs.testing import LOOPBACK, wait_until
from socs.testing.cutter import Moment, TcpCutter, is_mysql_commit

COMMIT = b"\x07\x00\x00\x00\x03COMMIT"


class Server:
    """Answers each message with its upper case; remembers what reached it."""

    def __init__(self):
        self.received = []
        self.ended = 0
        self._listener = socket.create_server((LOOPBACK, 0))
        self.address = self._listener.getsockname()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while message := connection.recv(1000):
                self.received.append(message)
                connection.sendall(message.upper())
        self.ended += 1

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cutter(server):
    with TcpCutter(server.address) as cutter:
        yield cutter


@pytest.fixture
def client(cutter):
    with socket.create_connection(cutter.address, timeout=5) as client:
        yield client


def ask(client, message):
    client.sendall(message)
    return client.recv(1000)


def test_passes_both_ways_and_large(client, server):
    assert ask(client, b"hello") == b"HELLO"
    client.sendall(b"a" * 300_000)
    answer = b""
    while len(answer) < 300_000:
        answer += client.recv(100_000)
    assert answer == b"A" * 300_000


def test_passes_the_end_on(client, server, cutter):
    client.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b""
    wait_until(lambda: server.ended == 1)
    wait_until(lambda: cutter.connections == 0)


def test_cut_before_the_server(client, server, cutter):
    cutter.arm(lambda chunk: chunk == b"now", Moment.BEFORE_SERVER)
    assert ask(client, b"before") == b"BEFORE"
    assert ask(client, b"now") == b""
    wait_until(lambda: cutter.cuts == 1)
    wait_until(lambda: server.ended == 1)
    assert server.received == [b"before"]


@pytest.mark.parametrize("moment", [Moment.AT_ONCE, Moment.BEFORE_REPLY])
def test_cut_after_the_server_has_it(client, server, cutter, moment):
    cutter.arm(lambda chunk: chunk == b"now", moment)
    assert ask(client, b"before") == b"BEFORE"
    client.sendall(b"now")
    wait_until(lambda: cutter.cuts == 1)
    wait_until(lambda: server.ended == 1)
    assert server.received == [b"before", b"now"]
    if moment is Moment.BEFORE_REPLY:
        assert client.recv(10) == b""


def test_arming_is_for_a_number_of_times(server, cutter):
    cutter.arm(lambda chunk: True, Moment.BEFORE_SERVER, times=2)
    answers = []
    for _ in range(4):
        with socket.create_connection(cutter.address, timeout=5) as client:
            answers.append(ask(client, b"x"))
    assert answers == [b"", b"", b"X", b"X"]
    assert cutter.cuts == 2


def test_disarm(client, cutter):
    cutter.arm(lambda chunk: True, Moment.BEFORE_SERVER)
    cutter.disarm()
    assert ask(client, b"x") == b"X"


def test_cut_now(client, server, cutter):
    assert ask(client, b"x") == b"X"
    cutter.cut()
    assert client.recv(10) == b""
    wait_until(lambda: server.ended == 1)
    assert cutter.connections == 0


def test_hang_and_resume(client, server, cutter):
    assert ask(client, b"x") == b"X"
    cutter.hang()
    client.sendall(b"y")
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(10)
    assert server.received == [b"x"]
    with socket.create_connection(cutter.address, timeout=5) as late:
        late.sendall(b"z")
        cutter.resume()
        assert late.recv(10) == b"Z"
    client.settimeout(30)
    assert client.recv(10) == b"Y"


def test_close_while_hanging(server):
    with TcpCutter(server.address) as cutter:
        cutter.hang()
        with socket.create_connection(cutter.address, timeout=5) as client:
            client.sendall(b"x")
            wait_until(lambda: cutter.connections == 1)
            cutter.close()
            assert client.recv(10) == b""
            assert not [t for t in threading.enumerate() if t.name.startswith("tcp-cutter")]


def test_refuse_and_allow(client, cutter):
    assert ask(client, b"x") == b"X"
    address = cutter.address
    cutter.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    assert ask(client, b"y") == b"Y"
    cutter.allow()
    assert cutter.address == address
    with socket.create_connection(address, timeout=5) as later:
        assert ask(later, b"z") == b"Z"


def test_reset_by_the_server_ends_the_client_too():
    with (
        socket.create_server((LOOPBACK, 0)) as listener,
        TcpCutter(listener.getsockname()) as cutter,
        socket.create_connection(cutter.address, timeout=5) as client,
    ):
        server, _ = listener.accept()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        assert client.recv(10) == b""
        wait_until(lambda: cutter.connections == 0)


def test_target_not_there(cutter, server):
    with socket.create_server((LOOPBACK, 0)) as probe:
        nowhere = probe.getsockname()
    with (
        TcpCutter(nowhere) as broken,
        socket.create_connection(broken.address, timeout=5) as client,
    ):
        assert client.recv(10) == b""


@pytest.mark.parametrize(
    ("chunk", "answer"),
    [
        (COMMIT, True),
        (b"\x07\x00\x00\x05\x03commit", True),
        (b"\x06\x00\x00\x00\x03COMMIT", False),
        (b"\x09\x00\x00\x00\x03ROLLBACK", False),
        (b"\x07\x00\x00\x00\x16COMMIT", False),
        (b"", False),
        (b"\x07", False),
    ],
)
def test_is_mysql_commit(chunk, answer):
    assert is_mysql_commit(chunk) is answer
