"""What all that loads pytango needs: that it is there, and the database that it is to talk to.

pytango is loaded by child processes only, so both are seen to before one is started.
"""

from __future__ import annotations

import importlib.util
import os
import re

from socs.errors import ConfigError

VARIABLE = "TANGO_HOST"
_MOST = 65535  # the largest port
_HOST = re.compile(r"([a-z0-9_.-]+|\[[0-9a-f:.]+\]):(?P<port>[0-9]{1,5})")


def require_pytango() -> None:
    """Make sure that a child process finds pytango.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("tango") is None:
        raise ConfigError("this needs pytango, which is not installed: pip install 'socs[tango]'")


def database_hosts(text: str) -> tuple[str, ...]:
    """Each ``host:port`` of a database in ``text``, in lower case; commas are between several.

    Tango takes the first one that can be reached, each time that it has to connect.

    Raises:
        ConfigError: something in it is no ``host:port``.
    """
    hosts = tuple(part.strip().lower() for part in text.split(","))
    for each in hosts:
        found = _HOST.fullmatch(each)
        if found is None or not 0 < int(found["port"]) <= _MOST:
            raise ConfigError(
                f"{text!r} is no Tango database: host:port is expected, or several with commas "
                "between them"
            )
    return hosts


def environment(tango_host: str | None) -> dict[str, str]:
    """The environment of a child that talks to ``tango_host``.

    Without one that is what ``TANGO_HOST`` says, and without that what Tango's own files say.

    Raises:
        ConfigError: ``TANGO_HOST`` or ``tango_host`` is no ``host:port``.
    """
    environ = {**os.environ}
    if tango_host:
        environ[VARIABLE] = ",".join(database_hosts(tango_host))
    elif environ.get(VARIABLE):
        try:
            database_hosts(environ[VARIABLE])
        except ConfigError as error:
            raise ConfigError(f"{VARIABLE}: {error}") from None
    return environ
