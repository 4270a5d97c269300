"""The control socket of a readout assembler: words in ASCII, answered one at a time.

::

    reset_ro_count X              -> Readout count reset
    set_publish_readouts True     -> Unpaused readout publishing
    set_publish_readouts False    -> Paused readout publishing
    status                        -> a JSON object

The first three are those of SSDAQ; the programs of each understand the other's socket. Whoever may
write to the socket's file may command: that is its owner alone.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from socs.closing import Closing
from socs.errors import ConfigError, OurError
from socs.problems import Problems, printable

if TYPE_CHECKING:
    from socs.slow_signal.stream import SlowSignalStream

NAME = "ssdaq-control"  # of the socket's file
MAX_REQUEST = 1000  # bytes
LINGER = 500  # ms that the last answer may take to leave
TIMEOUT = 5.0  # s for which a client waits
STOPPING_TIMEOUT = 5.0  # s for the command at hand when it ends
OWNER_ONLY = 0o600
NOBODY = "is a readout assembler running?"

Command = Callable[[list[str]], str]

log = logging.getLogger("ssdaq")


def run_dir() -> Path:
    """Where pid files and the control socket are: ``SOCS_RUN_DIR``, or ``/tmp`` as in SSDAQ."""
    return Path(os.environ.get("SOCS_RUN_DIR") or "/tmp").absolute()  # noqa: S108


def control_path() -> Path:
    """The control socket's file of this user's assembler."""
    return run_dir() / NAME


def commands_of(
    stream: SlowSignalStream, status: Callable[[], Mapping[str, Any]] | None = None
) -> dict[str, Command]:
    """What ``stream`` can be told. ``status`` is that of the stream by default."""

    def reset_ro_count(_arguments: list[str]) -> str:
        stream.reset_readout_count()
        return "Readout count reset"

    def set_publish_readouts(arguments: list[str]) -> str:
        wanted = {"True": True, "true": True, "False": False, "false": False}
        word = arguments[0] if arguments else ""
        if word not in wanted:
            return (
                f"Unrecognized arg `{printable(word)}` for command `set_publish_readouts` \n"
                "no action taken"
            )
        stream.set_publishing(wanted[word])
        return f"{'Unpaused' if wanted[word] else 'Paused'} readout publishing"

    def tell_status(_arguments: list[str]) -> str:
        return msgspec.json.encode((status or stream.status)()).decode()

    return {
        "reset_ro_count": reset_ro_count,
        "set_publish_readouts": set_publish_readouts,
        "status": tell_status,
    }


def answer(commands: Mapping[str, Command], request: bytes) -> str:
    """The answer to ``request``; one that nobody knows has one, too."""
    name, *arguments = request.decode("ascii", "replace").split() or [""]
    if name not in commands:
        known = ", ".join(sorted(commands))
        return f"Error, No command `{printable(name)}` found; there are {known}"
    return commands[name](arguments)


class ControlSocket(Closing):
    """Answers commands, in a thread of its own.

    Args:
        commands: by their names; each gets the words after it.
        path: of the socket's file.
        report: gets lines for the log, from any thread.

    Raises:
        ConfigError: the file cannot be used, or another assembler answers there.
    """

    def __init__(
        self,
        commands: Mapping[str, Command],
        path: Path,
        report: Callable[[str], None] = log.warning,
    ) -> None:
        self._commands, self.path = commands, path
        self._problems = Problems(report)
        if _connects(path) is None:
            raise ConfigError(
                f"another readout assembler answers at {path}; stop it, or set SOCS_RUN_DIR to "
                "another directory"
            )
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.set(zmq.MAXMSGSIZE, MAX_REQUEST)
        self._socket.set(zmq.LINGER, LINGER)
        try:
            self._socket.bind(f"ipc://{path}")
            path.chmod(OWNER_ONLY)
        except (zmq.ZMQError, OSError) as error:
            self._context.destroy(0)
            raise ConfigError(f"cannot make the control socket {path}: {error.strerror}") from error
        self._ends = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        self._ends[0].bind("inproc://end")
        self._ends[1].connect("inproc://end")
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="slow-signal-control", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._ends[0], zmq.POLLIN)
        while self._ends[0] not in dict(poller.poll()):
            try:
                self._socket.send(self._answer().encode("ascii", "replace"))
            except zmq.ZMQError as error:
                self._problems.report("socket", f"control socket: {error}", time.monotonic())
        self._socket.close()
        self._ends[0].close()

    def _answer(self) -> str:
        request = b" ".join(self._socket.recv_multipart())
        log.info("command: %s", printable(request.decode("ascii", "replace")))
        try:
            return answer(self._commands, request)
        except Exception as error:  # of a defect; commanding goes on
            log.exception("a command failed")
            return f"Error, {type(error).__name__}: {error}"

    def close(self) -> None:
        """Stop answering, and remove the socket's file."""
        if self._closed:
            return
        self._closed = True
        self._ends[1].send(b"end")
        self._thread.join(STOPPING_TIMEOUT)
        self._ends[1].close()
        if not self._thread.is_alive():
            self._context.term()
            if _connects(self.path) is not None:  # not that of a later assembler
                self.path.unlink(missing_ok=True)


def ask(request: str, path: Path, timeout: float = TIMEOUT) -> str:
    """The answer of the assembler whose control socket is at ``path``.

    Raises:
        OurError: there is none, or it does not answer within ``timeout`` [s].
    """
    reason = _connects(path)
    if reason is not None:
        raise OurError(f"cannot reach {path} ({reason}): {NOBODY}")
    with zmq.Context() as context, context.socket(zmq.REQ) as client:
        client.set(zmq.LINGER, 0)
        client.set(zmq.RCVTIMEO, int(timeout * 1000))
        client.connect(f"ipc://{path}")
        client.send(request.encode("ascii", "replace"))
        try:
            return client.recv().decode("ascii", "replace")
        except zmq.Again:
            raise OurError(f"no answer from {path} within {timeout:g} s: {NOBODY}") from None


def _connects(path: Path) -> str | None:
    """Why nobody listens at ``path``; None if somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.strerror or str(error)
        return None
