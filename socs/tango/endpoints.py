"""The sockets that device servers publish at, asked for by a child process.

A child, because a server that hangs holds up whoever asks it for seconds, whatever its time-out.
This one is killed in the end, and what it told until then counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from socs.tango.installed import environment

CHILD = "socs.tango.endpoint_child"
TIMEOUT = 20.0  # s for all servers together
HEARTBEAT, EVENT = "Heartbeat: ", "Event: "
MULTICAST = "multicast"  # in the line that a server adds to the last text if it sends some so


@dataclass(frozen=True)
class Endpoints:
    """Of one server.

    Attributes:
        heartbeat: of its heartbeats, ``tcp://host:port``.
        event: of its unicast events; "" if it has none yet.
        multicast: it sends some event by multicast.
    """

    heartbeat: str
    event: str
    multicast: bool


def endpoints_of(texts: Sequence[str]) -> Endpoints:
    """What the texts of the command ``ZmqEventSubscriptionChange`` with ``info`` say."""
    lines = [line for text in texts for line in text.splitlines()]

    def behind(word: str) -> str:
        return next((line.removeprefix(word) for line in lines if line.startswith(word)), "")

    others = [line for line in lines if not line.startswith((HEARTBEAT, EVENT))]
    return Endpoints(behind(HEARTBEAT), behind(EVENT), any(MULTICAST in line for line in others))


def ask_endpoints(
    servers: Sequence[str], tango_host: str | None = None, timeout: float = TIMEOUT
) -> dict[str, Endpoints]:
    """Of the ``servers`` (names of admin devices) that tell theirs in time.

    Args:
        servers: names of admin devices.
        tango_host: ``host:port`` for names without one; None for what ``TANGO_HOST`` or Tango's
            own files say.
        timeout: for all together [s].

    Raises:
        ConfigError: ``tango_host`` makes no sense.
    """
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", CHILD],
            input=json.dumps([*servers]).encode(),
            capture_output=True,
            check=False,
            env=environment(tango_host),
            timeout=timeout,
        )
        told = done.stdout
    except subprocess.TimeoutExpired as late:
        told = late.stdout or b""
    except OSError:  # no memory, too many processes: next time
        return {}
    return {
        line["server"]: endpoints_of(line["texts"])
        for line in map(_read, told.splitlines())
        if "texts" in line
    }


def _read(line: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:  # cut by the end of the child
        return {}
    return found
