"""Starting a program in the background, and being told whether it got up.

The program is started anew, in a session of its own, without anything of this process but a pipe.
Through it comes one line: ``up``, or why not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from socs.errors import ConfigError, OurError

UP = "up"
UMASK = 0o022
LONGEST_LINE = 4096  # bytes; written to a pipe in one piece


def into_background(command: Sequence[str], stdout: Path, stderr: Path) -> int:
    """Start ``command``, and wait until it has reported that it is up; its process number.

    Args:
        command: options of this Python; ``--report-to`` with a number follows (:class:`Report`).
        stdout, stderr: files to which its output is added.

    Raises:
        ConfigError: a file cannot be written.
        OurError: the program did not get up; the message is its own.
    """
    with ExitStack() as stack:
        outputs = [
            stack.enter_context(_Output(name, path))
            for name, path in (("stdout", stdout), ("stderr", stderr))
        ]
        reading, writing = os.pipe()
        heard = stack.enter_context(open(reading, "rb"))
        process = subprocess.Popen(  # noqa: S603  this Python, no shell
            [sys.executable, *command, "--report-to", str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=outputs[0].fd,
            stderr=outputs[1].fd,
            pass_fds=[writing],
            start_new_session=True,
            umask=UMASK,
        )
        os.close(writing)
        line = heard.read(LONGEST_LINE).decode("utf-8", "replace").strip()
    if line == UP:
        process.returncode = 0  # it is not ours any more
        return process.pid
    status = process.wait()
    raise OurError(line or f"it ended with status {status} at once; see {stderr}")


class _Output:
    """A file to which output is added."""

    def __init__(self, name: str, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NOCTTY
        try:
            self.fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(f"{name}: cannot write {path}: {error.strerror}") from error

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class Report:
    """Tells the process that has started this one in the background how it goes, once.

    Args:
        fd: the number that came with ``--report-to``; None if this runs in the foreground.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)

    def __call__(self, line: str) -> None:
        """Tell ``line``, if it is the first."""
        if self._fd is None:
            return
        with suppress(OSError):  # nobody listens any more
            os.write(self._fd, line.encode()[:LONGEST_LINE])
        os.close(self._fd)
        self._fd = None
