"""Debian's own Tango, whose libzmq can multicast; that of the wheel of pytango cannot.

The packages are not installed. They are unpacked, once, into a directory of their own, with
``mmdebstrap``: 240 MB, from the Debian mirrors, in about half a minute. That directory is
``$SOCS_TEST_TANGO_ROOT``, or else ``socs-tests/tango-forky`` in the user's cache, which may be
removed at any time.

What runs in there has a file system of its own, with an empty ``/tmp``, and a host name of its own.
Programs that share both talk by Unix sockets, whatever their networks, and Tango takes them for
one host, which never gets multicast.

This file is also the program that goes in.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from socs.sim.leash import Leash

SUITE = "forky"  # Debian 14, the first with a Tango that has QueryEventSystem
DIRECTORY = "SOCS_TEST_TANGO_ROOT"
PYTHON = "/usr/bin/python3"
UNPACK_TIMEOUT = 900.0  # s, with a slow mirror
STOP_TIMEOUT = 10.0
SOCS = Path(__file__).parents[1] / "socs"
# The loader finds these by links that only an installation would make.
ALTERNATIVES = ("usr/lib/*/blas", "usr/lib/*/lapack")


def tango_root() -> Path:
    """The directory with Debian's Tango; unpacked if it is not there yet. Else skips the test."""
    if os.getuid():
        pytest.skip("needs root: to change the root directory and to make networks")
    root = Path(os.environ.get(DIRECTORY) or _cache() / "socs-tests" / f"tango-{SUITE}").absolute()
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_name(f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # there may be other tests
        if not root.exists():
            _unpack(root)
    return root


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _unpack(root: Path) -> None:
    """Make ``root``, all of it or nothing."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("needs mmdebstrap: apt-get install mmdebstrap")
    print(f"Unpacking Debian's Tango into {root} ...")
    for left in root.parent.glob(f".{root.name}-*"):
        shutil.rmtree(left)  # of a run that was killed
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as directory:
        made, log = Path(directory) / "root", Path(directory) / "log"
        # The lists of a mirror that lags behind are signed all the same.
        late = 'Acquire::Check-Valid-Until "false"'
        command = ["mmdebstrap", "--variant=extract", "--include=python3-tango"]
        leash = Leash()
        try:
            process = leash.start(
                [*command, f"--aptopt={late}", SUITE, str(made)], log=log, env=os.environ
            )
            failed = process.wait(UNPACK_TIMEOUT)
        except TimeoutError:
            failed = True
        finally:
            leash.close(STOP_TIMEOUT)
        if failed:
            errors = [line for line in process.output().splitlines() if line.startswith("E:")]
            reason = errors[0] if errors else "it took too long"
            pytest.skip(f"mmdebstrap cannot get Debian's packages: {reason}")
        for name in ("bin", "lib", "lib64", "sbin"):
            (made / name).symlink_to(f"usr/{name}")
        (made / "etc" / "passwd").write_text("root:x:0:0:root:/root:/usr/sbin/nologin\n")
        made.rename(root)


def inside(root: Path, name: str, module: str, *words: str) -> list[str]:
    """What to run so that a module runs in there, as the same process, on a host called ``name``.

    ``socs`` can be imported there as far as it needs the standard library and Tango only.
    """
    own = ["unshare", "--mount", "--uts", "--", sys.executable, __file__, str(root), name]
    return [*own, PYTHON, "-m", module, *words]


def _enter(root: Path, name: str, command: list[str]) -> None:
    """Go in. What is mounted is seen by this process only, and ends with it."""
    socket.sethostname(name)
    package = root / "tmp" / "socs"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "tmp"], check=True)
    package.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", SOCS, package], check=True)
    found = [library for pattern in ALTERNATIVES for library in sorted(root.glob(pattern))]
    libraries = ":".join(f"/{library.relative_to(root)}" for library in found)
    os.chroot(root)
    os.chdir("/tmp")
    env = {key: value for key, value in os.environ.items() if key.startswith("TANGO_")}
    env |= {"HOME": "/tmp", "PYTHONPATH": "/tmp", "LD_LIBRARY_PATH": libraries}
    env |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    os.execve(command[0], command, env)


if __name__ == "__main__":
    _enter(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
