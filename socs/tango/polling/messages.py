"""What the poller and its child tell each other, as frames of JSON.

All times are of the monotonic clock [s], which is the same one for both. Servers are called by
their full names, ``tango://host:port/dserver/program/instance``.
"""

from __future__ import annotations

import msgspec

from socs.tango.states import Outcome

# -- to the child ---------------------------------------------------------------------------------


class Configure(msgspec.Struct, tag=True):
    """Settings: first of all, and whenever names change. See ``PollSettings``."""

    names: list[str]
    timeout: float
    ping_timeout: float
    directory_period: float
    max_servers: int


class Poll(msgspec.Struct, tag=True):
    """Ask all servers now."""

    number: int


class Perf(msgspec.Struct, tag=True):
    """Performance monitoring is to be on at some servers, and off at others.

    ``again``: those of ``on`` where it is off, though it was switched on.
    """

    on: list[str]
    off: list[str]
    again: list[str] = []


class Stop(msgspec.Struct, tag=True):
    """Switch performance monitoring off where it is on, and end."""


# -- from the child -------------------------------------------------------------------------------


class Pulse(msgspec.Struct, tag=True):
    """The child is there, and its main thread runs."""


class DatabaseState(msgspec.Struct):
    """One Tango database: since when it has not answered, None if it does; and why."""

    host: str
    silent_since: float | None = None
    reason: str = ""


class Known(msgspec.Struct, tag=True):
    """What is polled now.

    Attributes:
        settled: everything was looked up and connected to once, or has had its time.
        refused: how many servers are not polled because there are too many.
        unresolved: names that nothing was found for.
    """

    servers: list[str]
    settled: bool
    refused: int
    unresolved: list[str]
    databases: list[DatabaseState]


class Answer(msgspec.Struct):
    """What became of asking one server once; see :class:`socs.tango.server.Sample`."""

    number: int
    server: str
    outcome: Outcome
    begun: float
    ended: float
    reply: str = ""
    identity: str = ""
    reason: str = ""


class Answers(msgspec.Struct, tag=True):
    """Some answers."""

    answers: list[Answer]


class Over(msgspec.Struct, tag=True):
    """Each server of this poll has its answer. ``late``: replies too late for the ones before."""

    number: int
    late: int


class PerfDone(msgspec.Struct, tag=True):
    """Performance monitoring of a server was switched, or it was tried (``reason``)."""

    server: str
    on: bool
    reason: str = ""


ToChild = Configure | Poll | Perf | Stop
FromChild = Pulse | Known | Answers | Over | PerfDone

encode = msgspec.json.Encoder().encode
decode_to_child = msgspec.json.Decoder(ToChild).decode
decode_from_child = msgspec.json.Decoder(FromChild).decode
