"""A mount namespace for a test: what is mounted in it nobody else sees, and it ends with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from socs.testing import wait_until


class Mounts:
    """The namespace of process ``holder``, which does nothing."""

    def __init__(self, holder: int) -> None:
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.inside = ["nsenter", "--target", str(holder), "--mount", *user]
        self._root = f"/proc/{holder}/root"

    def mount(self, *arguments: object) -> None:
        """``mount`` in the namespace."""
        subprocess.run([*self.inside, "mount", *map(str, arguments)], check=True)

    def seen(self, path: Path) -> Path:
        """Where ``path`` of the namespace can be seen from outside."""
        return Path(f"{self._root}{path}")


@contextmanager
def private_mounts() -> Iterator[Mounts]:
    """A namespace as root of which ``mount`` works; skips the test where that is not allowed."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    holder = subprocess.Popen(["unshare", "--mount", *user, "sleep", "infinity"])
    own = os.readlink("/proc/self/ns/mnt")
    command = Path(f"/proc/{holder.pid}/cmdline")

    def ready() -> bool:
        return holder.poll() is not None or command.read_bytes().startswith(b"sleep")

    try:
        wait_until(ready, 10, "the namespace")
        if holder.poll() is not None or os.readlink(f"/proc/{holder.pid}/ns/mnt") == own:
            pytest.skip("no mount namespaces for this user")
        yield Mounts(holder.pid)
    finally:
        holder.kill()
        holder.wait()
