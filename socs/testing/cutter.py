"""A TCP proxy that breaks connections at chosen moments.

Made for the question what became of a COMMIT whose reply never came::

    with TcpCutter((host, port)) as cutter:
        cutter.arm(is_mysql_commit, Moment.BEFORE_REPLY)
        ...                 # a client of cutter.address commits and loses its connection
        assert cutter.cuts == 1

It can also hang (nothing is passed on, nothing is closed) and refuse connections.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from socs.closing import Closing
from socs.sim.ports import LOOPBACK, free_port

Address = tuple[str, int]

CHUNK = 65_536
BACKLOG = 64
CONNECT_TIMEOUT = 10.0  # seconds
PORT_ATTEMPTS = 5
MYSQL_HEADER = 4  # bytes: length of the payload (3, little-endian) and sequence number
MYSQL_COM_QUERY = b"\x03"


class Moment(enum.Enum):
    """When a connection is cut, seen from the message that it was armed for."""

    BEFORE_SERVER = "before server"  # the message is not passed on: the server never acts on it
    AT_ONCE = "at once"  # passed on, and cut without a look at what the server does
    BEFORE_REPLY = (
        "before reply"  # passed on, and cut when the reply is there: the server has acted
    )


def is_mysql_commit(chunk: bytes) -> bool:
    """Whether a client's message is ``COMMIT`` in the MySQL protocol.

    A client sends one command and waits for its reply, so a command as short as this comes whole.
    """
    length = int.from_bytes(chunk[: MYSQL_HEADER - 1], "little")
    payload = chunk[MYSQL_HEADER:]
    return len(payload) == length and payload.upper() == MYSQL_COM_QUERY + b"COMMIT"


@dataclass
class _Arming:
    matches: Callable[[bytes], bool]
    moment: Moment
    times: int


class TcpCutter(Closing):
    """Passes connections on to ``target``; a context manager that closes them all.

    ``address`` is where clients connect to; it stays the same through :meth:`refuse`.
    """

    def __init__(self, target: Address) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._armings: list[_Arming] = []
        self._links: list[_Link] = []
        self._cuts = 0
        self._accepted = 0
        self._replied = 0
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._listen_somewhere()

    @property
    def cuts(self) -> int:
        """Connections cut so far because they were armed for it; :meth:`cut` is not counted."""
        return self._cuts

    @property
    def accepted(self) -> int:
        """Connections taken so far."""
        return self._accepted

    @property
    def replied(self) -> int:
        """Bytes passed on so far from the server to clients."""
        return self._replied

    @property
    def connections(self) -> int:
        """Connections open now."""
        with self._lock:
            return sum(link.open for link in self._links)

    def arm(self, matches: Callable[[bytes], bool], moment: Moment, times: int = 1) -> None:
        """Cut the next ``times`` connections on which a client sends a message that matches.

        Args:
            matches: given what one read of the client's socket returned.
        """
        with self._lock:
            self._armings.append(_Arming(matches, moment, times))

    def disarm(self) -> None:
        """Forget all armings."""
        with self._lock:
            self._armings.clear()

    def cut(self) -> None:
        """Cut all connections that are open now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def hang(self) -> None:
        """Pass nothing on any more, in either direction, and close nothing; also for new ones."""
        self._flowing.clear()

    def resume(self) -> None:
        """End :meth:`hang`; what was kept back goes on."""
        self._flowing.set()

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        listener, acceptor = self._listener, self._acceptor
        if listener is not None and acceptor is not None:
            self._listener = None
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()
            acceptor.join()
            listener.close()

    def allow(self) -> None:
        """End :meth:`refuse`."""
        if self._listener is None:
            self._listener = socket.create_server(self.address, backlog=BACKLOG)
            self._acceptor = threading.Thread(
                target=self._accept, args=(self._listener,), name="tcp-cutter", daemon=True
            )
            self._acceptor.start()

    def close(self) -> None:
        """Close everything and wait for the threads."""
        self.refuse()
        self.cut()
        self.resume()
        for link in self._links:
            link.join()

    def _listen_somewhere(self) -> None:
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            self.address: Address = (LOOPBACK, free_port())
            try:
                self.allow()
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not attempts_left:
                    raise
            else:
                return

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # refuse() has shut the listener down
            self._accepted += 1
            try:
                server = socket.create_connection(self._target, CONNECT_TIMEOUT)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            link = _Link(
                client,
                server,
                self._flowing,
                self._moment_for,
                on_cut=self._count_cut,
                on_reply=self._count_reply,
            )
            with self._lock:
                self._links = [known for known in self._links if known.open]
                self._links.append(link)
            link.start()

    def _moment_for(self, chunk: bytes) -> Moment | None:
        """When to cut for this message of a client, if at all."""
        with self._lock:
            for arming in self._armings:
                if arming.times > 0 and arming.matches(chunk):
                    arming.times -= 1
                    return arming.moment
        return None

    def _count_cut(self) -> None:
        with self._lock:
            self._cuts += 1

    def _count_reply(self, size: int) -> None:
        with self._lock:
            self._replied += size


class _Link:
    """One connection: a client's and the server's socket, and a thread for each direction."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        flowing: threading.Event,
        moment_for: Callable[[bytes], Moment | None],
        *,
        on_cut: Callable[[], None],
        on_reply: Callable[[int], None],
    ) -> None:
        self._client = client
        self._server = server
        self._flowing = flowing
        self._moment_for = moment_for
        self._on_cut = on_cut
        self._on_reply = on_reply
        self._lock = threading.Lock()
        self._awaiting_reply = False  # to be cut when the next reply is there
        self._ended_pumps = 0
        self._threads = [
            threading.Thread(target=self._run, args=(pump,), name="tcp-cutter-link", daemon=True)
            for pump in (self._pump_requests, self._pump_replies)
        ]
        self.open = True

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Close both sides; this also wakes the threads that wait in recv()."""
        self.open = False
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):  # it is closed already
                side.shutdown(socket.SHUT_RDWR)

    def _run(self, pump: Callable[[], None]) -> None:
        try:
            pump()
        except OSError:
            self.cut()  # one side is gone: the other must not go on waiting for it
        with self._lock:
            self._ended_pumps += 1
            last = self._ended_pumps == len(self._threads)
        if last:
            self.open = False
            self._client.close()
            self._server.close()

    def _pump_requests(self) -> None:
        while chunk := self._client.recv(CHUNK):
            self._flowing.wait()
            moment = self._moment_for(chunk)
            self._awaiting_reply = moment is Moment.BEFORE_REPLY
            if moment is not Moment.BEFORE_SERVER:
                self._server.sendall(chunk)
            if moment in (Moment.BEFORE_SERVER, Moment.AT_ONCE):
                self._cut_as_armed()
                return
        self._flowing.wait()
        self._server.shutdown(socket.SHUT_WR)

    def _pump_replies(self) -> None:
        while chunk := self._server.recv(CHUNK):
            self._flowing.wait()
            if self._awaiting_reply:
                self._cut_as_armed()
                return
            self._client.sendall(chunk)
            self._on_reply(len(chunk))
        self._flowing.wait()
        self._client.shutdown(socket.SHUT_WR)

    def _cut_as_armed(self) -> None:
        self.cut()
        self._on_cut()
