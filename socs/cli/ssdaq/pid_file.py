"""A file with the number of the one process that runs a job, which no stale number can spoil.

The process holds a record lock on the file for as long as it lives, and the kernel tells which
process that is. So the number in the file is for people and other programs; nothing here relies on
it, and nobody is signalled because of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path

from socs.closing import Closing
from socs.errors import ConfigError, OurError

FLOCK = "@hhqqi4x"  # struct flock: type, whence, start, length, pid
PERIOD = 1.0  # s between two reports of a process that is still there


class AlreadyRuns(ConfigError):
    """Another process runs the job."""


class PidFile(Closing):
    """This process runs the job, until :meth:`close` or its end.

    Args:
        path: of the file; its directory must be there.

    Raises:
        AlreadyRuns: another process does; the message has its number.
        ConfigError: the file cannot be used, or is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = _locked(path)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """The job is done: remove the file."""
        if self._fd is not None:
            if _is_at(self._fd, self.path):
                self.path.unlink(missing_ok=True)  # before others can have the lock
            os.close(self._fd)
            self._fd = None


def _locked(path: Path) -> int:
    """The file, open and locked, and still under its name."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            why = "is a link" if error.errno == errno.ELOOP else error.strerror
            raise ConfigError(f"cannot use the pid file {path}: {why}") from error
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
                raise ConfigError(f"the pid file {path} is not a file of this user")
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise ConfigError(f"cannot lock {path}: {error.strerror}") from error
                raise AlreadyRuns(f"it runs already, as process {_holder(fd)} ({path})") from error
            if _is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its owner has removed it meanwhile


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _holder(fd: int) -> int | None:
    """The process that has the lock on the file; None if there is none."""
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    found = struct.unpack(FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return None if found[0] == fcntl.F_UNLCK else int(found[4])


def running(path: Path) -> int | None:
    """The process that runs the job; None if there is none, whatever the file says.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read the pid file {path}: {error.strerror}") from error
    try:
        return _holder(fd)
    finally:
        os.close(fd)


def stop(path: Path, timeout: float, told: Callable[[str], object]) -> bool:
    """Ask the process that runs the job to end, and wait for it; False if there is none.

    Args:
        path: of the pid file.
        timeout: longest time to wait [s].
        told: gets a line each second.

    Raises:
        OurError: it did not end in time, or is that of another user.
    """
    pid = running(path)
    if pid is None:
        return False
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True  # it has just ended
    try:
        if running(path) != pid:  # the number may be that of another process by now
            return True
        signal.pidfd_send_signal(process, signal.SIGTERM)
        _wait(process, pid, timeout, told)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise OurError(f"process {pid} ({path}) is that of another user") from error
    finally:
        os.close(process)
    return True


def _wait(process: int, pid: int, timeout: float, told: Callable[[str], object]) -> None:
    begun = time.monotonic()
    while not select.select([process], [], [], min(PERIOD, timeout))[0]:
        waited = time.monotonic() - begun
        if waited >= timeout:
            raise OurError(
                f"gave up: process {pid} has not ended within {timeout:g} s; it may still be "
                f"completing a file. Wait for it, or end it with `kill -9 {pid}`"
            )
        told(f"process {pid} is still ending, after {waited:.0f} s")
