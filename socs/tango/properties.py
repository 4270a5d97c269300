"""Free properties of a Tango database, read and written by a child process.

pytango's database calls hold Python's global lock while they wait: with a database that hangs, the
whole process, threads and Ctrl-C included, would stand still for more than a minute. The child can
be killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from socs.errors import OurError, StorageUnavailable
from socs.problems import printable
from socs.tango.installed import VARIABLE, environment, require_pytango

TIMEOUT = 10.0  # seconds; a healthy database is asked within one
CHILD = "socs.tango.property_child"


class PropertyStore:
    """The free properties of one database.

    Args:
        tango_host: ``host:port``, or several with commas between; None for what
            ``TANGO_HOST`` or Tango's own files say.
        timeout: for each call [s].

    Raises:
        ConfigError: pytango is not installed, or ``tango_host`` makes no sense.
    """

    def __init__(self, tango_host: str | None = None, timeout: float = TIMEOUT) -> None:
        require_pytango()
        self._environ = environment(tango_host)
        self._timeout = timeout

    def read(self, name: str, prefix: str) -> dict[str, list[str]]:
        """The properties of an object whose names begin with ``prefix``.

        Raises:
            StorageUnavailable: the database was not reached, or did not answer in time.
        """
        reply = self._ask(do="read", object=name, wildcard=f"{prefix}*")
        properties: dict[str, list[str]] = reply["properties"]
        return properties

    def write(self, name: str, key: str, old: Sequence[str], new: Sequence[str]) -> None:
        """Change one property of an object from ``old`` to ``new``; without elements it is deleted.

        Raises:
            OurError: it is no longer ``old``; nothing was written. Or the database does not give
                back what was written.
            StorageUnavailable: the database was not reached, or did not answer in time; it is not
                known whether it was written.
        """
        reply = self._ask(do="write", object=name, property=key, old=[*old], new=[*new])
        if not reply["written"]:
            raise OurError(f"{name}/{key} was changed meanwhile: nothing was written, look again")
        if reply["found"] != [*new]:
            raise OurError(f"the database gives back {reply['found']} for {name}/{key}")

    def _ask(self, **request: Any) -> dict[str, Any]:
        host = self._environ.get(VARIABLE, "")
        where = f"the Tango database {printable(host)}".rstrip()
        try:
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-m", CHILD],
                input=json.dumps({**request, "timeout": self._timeout}).encode(),
                capture_output=True,
                check=False,
                env=self._environ,
                timeout=self._timeout,
            )
        except subprocess.TimeoutExpired:
            text = f"{where} did not answer within {self._timeout:g} s"
            doubt = "; look whether it was written" if request["do"] == "write" else ""
            raise StorageUnavailable(text + doubt) from None
        except OSError as error:  # no memory, too many processes
            raise OurError(f"{where} cannot be asked: {error}") from error
        try:
            reply: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise OurError(
                f"asking {where} ended with status {done.returncode}: {printable(last)}"
            ) from None
        if "error" in reply:
            raise StorageUnavailable(f"{where}: {printable(reply['error'])}")
        return reply
