"""Running a pysmurf script: a child process, its output, and its end.

Functions that touch files say so and are meant for a thread; all else belongs to the reactor.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from socs import launch
from socs.errors import FileNotReady, NotAllowed
from socs.problems import printable

KILL_AFTER = 5.0  # seconds that a script has to end after SIGTERM
DRAIN_TIMEOUT = 1.0  # seconds that output may still come after the script's end
MAX_LINE = 2_000  # characters of a line of output that go to the log

reactor: Any = _reactor

OnLine = Callable[[str], None]


def find_script(script: str, roots: Sequence[Path] = ()) -> str:
    """Where the script is, checked. Looks at files.

    Args:
        script: path as given; a relative one is below the working directory.
        roots: if there are any, the script must be below one of them, all links resolved.

    Raises:
        FileNotReady: there is no such file, or it is not a regular file.
        NotAllowed: it is outside ``roots``.
    """
    path = os.path.realpath(script)
    if roots and not any(Path(path).is_relative_to(os.path.realpath(root)) for root in roots):
        allowed = ", ".join(map(str, roots))
        raise NotAllowed(f"{script} is not below {allowed} (--script-root)")
    if not os.path.exists(path):
        raise FileNotReady(f"There is no script {script}")
    if not os.path.isfile(path):
        raise FileNotReady(f"{script} is not a file")
    return path


def open_output(log: str | bool) -> int | None:
    """Open what the script's output goes to. Opens a file.

    Args:
        log: path of a file to append to; ``False`` to discard the output; ``True`` for none,
            because the caller wants to read the output itself.

    Returns:
        A file descriptor, which the caller closes; ``None`` for ``True``.

    Raises:
        FileNotReady: the file cannot be opened for appending.
    """
    if log is True:
        return None
    path = log or os.devnull
    # O_NONBLOCK: a pipe that nobody reads would block for ever
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | (os.O_CREAT if log else 0), 0o666)
    except OSError as error:
        raise FileNotReady(f"Cannot open the log file {path}: {error.strerror}") from error
    except ValueError as error:
        raise FileNotReady(f"Cannot open the log file {path!r}: {error}") from error
    if log and not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotReady(f"Cannot use the log file {path}: not a regular file")
    os.set_blocking(descriptor, True)
    return descriptor


class Lines:
    """Puts lines together from chunks of bytes.

    What is not UTF-8 is replaced, control characters are escaped, and of a long line only the
    beginning is kept.
    """

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._rest = b""
        self._length = 0  # bytes of the unfinished line, of which _rest may be the beginning only

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        *finished, rest = chunk.split(b"\n")
        for piece in finished:
            self._append(piece)
            self.flush()
        self._append(rest)

    def flush(self) -> None:
        """End the line at hand, if there is anything of it."""
        line, length = self._rest, self._length
        self._rest, self._length = b"", 0
        if line.strip():
            text = printable(line.decode(errors="replace").rstrip(), MAX_LINE)
            cut = f" ({length} bytes)" if length > len(line) else ""
            self._on_line(text + cut)

    def _append(self, piece: bytes) -> None:
        room = 4 * MAX_LINE - len(self._rest)  # UTF-8 takes up to 4 bytes for a character
        self._rest += piece[:room]
        self._length += len(piece)


@dataclass(frozen=True)
class Ending:
    """How a script ended: ``exit_code`` as of subprocess, -N if signal N ended it."""

    exit_code: int
    told_to_end: bool

    @property
    def success(self) -> bool:
        """Whether it ended by itself, and says that all went well."""
        return self.exit_code == 0 and not self.told_to_end

    def __str__(self) -> str:
        why = ", after it was aborted" if self.told_to_end else ""
        if self.exit_code >= 0:
            return f"Script has finished with exit code {self.exit_code}{why}"
        return f"Script was ended by {signal.Signals(-self.exit_code).name}{why}"


class Script(ProcessProtocol):
    """A script that runs in a process group of its own.

    Args:
        command: program and arguments.
        env: its whole environment.
        output: descriptor for stdout and stderr; ``None`` to have them read line by line.
        on_line: gets ``("out" or "err")`` and a line of text.

    Attributes:
        ended: fires with the :class:`Ending` after the last line of output.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        output: int | None,
        on_line: Callable[[str, str], None] = lambda stream, line: None,
    ) -> None:
        self.ended: Deferred[Ending] = Deferred()
        self._told_to_end = False
        self._ending: Ending | None = None
        self._kill_call: Any = None
        self._drain_call: Any = None
        self._out = Lines(lambda line: on_line("out", line))
        self._err = Lines(lambda line: on_line("err", line))
        ours = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
        descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r"}
        if output is not None:
            descriptors.update({1: output, 2: output})
        self._process = reactor.spawnProcess(
            self, ours[0], [*ours, *command], env=dict(env), childFDs=descriptors
        )
        self._process.closeStdin()
        self.pid: int = self._process.pid

    def outReceived(self, data: bytes) -> None:
        """Output has come."""
        self._out.feed(data)

    def errReceived(self, data: bytes) -> None:
        """Output on stderr has come."""
        self._err.feed(data)

    def processExited(self, reason: Failure) -> None:
        """The process has ended; what it has started may still hold its output open."""
        status: Any = reason.value
        if self._kill_call is not None and self._kill_call.active():
            self._kill_call.cancel()
        if self._told_to_end:
            self._signal_group(signal.SIGKILL)  # what it has started and left
        exit_code = -status.signal if status.signal else status.exitCode
        self._ending = Ending(exit_code, self._told_to_end)
        self._drain_call = reactor.callLater(DRAIN_TIMEOUT, self._process.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        """The process has ended, and no output will come any more."""
        if self._drain_call.active():
            self._drain_call.cancel()
        self._out.flush()
        self._err.flush()
        assert self._ending is not None
        self.ended.callback(self._ending)

    def terminate(self) -> None:
        """Tell it, and all that it has started, to end; kill them after a while."""
        if self._ending is not None or self._told_to_end:
            return
        self._told_to_end = True
        self._signal_group(signal.SIGTERM)
        self._kill_call = reactor.callLater(KILL_AFTER, self._signal_group, signal.SIGKILL)

    def close(self) -> Deferred[None]:
        """Tell it to end, and fire when it has."""
        self.terminate()
        closed: Deferred[None] = Deferred()

        def pass_on(ending: Ending) -> Ending:
            closed.callback(None)
            return ending

        self.ended.addCallback(pass_on)
        return closed

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # no group: the launcher has not made it yet, or all have ended
            with contextlib.suppress(ProcessExitedAlready):
                self._process.signalProcess(number)
