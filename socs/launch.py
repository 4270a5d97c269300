"""Becomes the program named on the command line, in a process group of its own.

Run by path in front of the real command: ``python launch.py PARENT PROGRAM ARGUMENTS...``. So a
signal reaches the program together with all that it starts, and the program is told to end
(SIGTERM) when its parent dies, however that happens: nothing else would stop it from steering the
hardware beside the next one. Imports the standard library only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; kept over exec
CANNOT_RUN = 127  # exit status, as of a shell


def main(parent: int, command: list[str]) -> None:
    """Replace this process by ``command``; end if ``parent`` is gone."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # gone before we asked to be told
        raise SystemExit(CANNOT_RUN)
    try:
        os.execvp(command[0], command)  # noqa: S606  a list of arguments, no shell
    except OSError as error:
        raise SystemExit(f"cannot run {command[0]}: {error.strerror}") from None


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
