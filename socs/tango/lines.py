"""Lines of files: polls as ska-tango-event-monitor writes them, polls and events as we do.

Both are JSON objects, one a line, always valid; ``docs/reference/tango_files.rst`` has them. What
is read may also be what ska-tango-event-monitor wrote: without the braces at the end of each line,
and with messages of errors in it whose quotes are not escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, get_args

import msgspec

from socs.errors import Malformed, PeerError, TooLarge
from socs.tango.decode import decode
from socs.tango.encode import tree_of
from socs.tango.events import Event
from socs.tango.limits import MAX_LINE
from socs.tango.names import parse_server
from socs.tango.server import Sample
from socs.tango.states import Outcome

POLL, EVENT = "poll", "event"
LONGEST_POLL = 86_400.0  # s between the time of a poll and those of its samples
LATEST = 2.0**37  # s; the year 6325, which every program here can print
FORMATS = ("socs", "ska")  # what a line of a poll may look like


class Replayed(NamedTuple):
    """A poll that was read.

    Attributes:
        time: of the poll, UNIX time [s]; a time without a zone was taken as UTC.
        samples: of each server, their times are UNIX times [s].
        mended: whether the line was no JSON.
    """

    time: float
    samples: list[Sample]
    mended: bool


# -- writing --------------------------------------------------------------------------------------


def ska_line(samples: Sequence[Sample], utc: float) -> bytes:
    """A poll at ``utc`` (UNIX time [s]) as ska-tango-event-monitor has it."""
    replies = {name: _answer(sample) for name, sample in _named(samples)}
    return msgspec.json.encode({"time": _iso(utc), "replies": replies})


def poll_line(
    samples: Sequence[Sample], utc: float, offset: float, totals: Mapping[str, int]
) -> bytes:
    """A poll with all that is needed to follow it again; a superset of :func:`ska_line`.

    Args:
        samples: in order; of a server with several the first ones are in ``earlier``.
        utc: UNIX time of the poll [s].
        offset: UNIX time minus the clock of the samples [s].
        totals: the counts of the tracker after it.
    """
    replies: dict[str, Any] = {}
    earlier = []
    for server, sample in _named(samples):
        if server in replies:
            earlier.append({"server": server} | replies[server])
        replies[server] = _answer(sample) | {
            "outcome": sample.outcome,
            "begun": round(sample.begun + offset, 6),
            "ended": round(sample.ended + offset, 6),
            "identity": sample.identity,
        }
    line = {"kind": POLL, "time": _iso(utc), "replies": replies, "totals": dict(totals)}
    return msgspec.json.encode(line | ({"earlier": earlier} if earlier else {}))


def event_line(event: Event, offset: float) -> bytes:
    """Something that the tracker told. ``offset``: UNIX time minus the clock of ``event`` [s]."""
    row = event.row()
    line = {"kind": EVENT, "time": _iso(event.time + offset), "event": row.pop("kind")}
    del row["time"]
    return msgspec.json.encode(line | row)


def _named(samples: Sequence[Sample]) -> list[tuple[str, Sample]]:
    """``samples`` by admin device, without the database unless the same one is in several."""
    names = [parse_server(sample.server) for sample in samples]
    known: dict[str, set[str]] = {}
    for name in names:
        known.setdefault(name.path, set()).add(name.authority)
    return [
        (name.path if len(known[name.path]) == 1 else str(name), sample)
        for name, sample in zip(names, samples, strict=True)
    ]


def _answer(sample: Sample) -> dict[str, Any]:
    if sample.snapshot is None:
        return {"error": f"{sample.outcome}: {sample.reason}"}
    return {"data": tree_of(sample.snapshot)}


def _iso(utc: float) -> str:
    return datetime.fromtimestamp(utc, timezone.utc).isoformat(timespec="microseconds")


# -- reading --------------------------------------------------------------------------------------


class _Reply(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()
    error: str = ""
    outcome: str = ""
    begun: float | None = None
    ended: float | None = None
    identity: str = ""
    server: str = ""


class _Line(msgspec.Struct):
    time: str
    kind: str = POLL
    replies: dict[str, _Reply] = {}
    earlier: list[_Reply] = []


_read = msgspec.json.Decoder(_Line).decode
_ERROR = re.compile(rb'\{"error":"(.*?)"\}(?=,"|\}\}$)', re.DOTALL)
_NAME_GARBAGE = re.compile(rb'("att_name"\s*:\s*)".{0,256}?"(?=\s*(?:,\s*"|\}))', re.DOTALL)


def read_line(line: bytes) -> Replayed | None:
    """The poll in ``line``; None if that is an event, or blank.

    Raises:
        Malformed: it is no line of either format, also when mended.
        TooLarge: beyond :data:`MAX_LINE`.
    """
    if len(line) > MAX_LINE:
        raise TooLarge(f"a line of {len(line)} bytes")
    line = line.strip()
    if not line:
        return None
    found, mended = _mended(line)
    if found.kind != POLL:
        return None
    time = _unix(found.time)
    named = [*((each.server, each) for each in found.earlier), *found.replies.items()]
    samples = [_sample(name, reply, time) for name, reply in named]
    return Replayed(time, samples, mended)


def _mended(line: bytes) -> tuple[_Line, bool]:
    """``line``, and whether something had to be done to read it."""
    last = ""
    for number, attempt in enumerate((_as_it_is, _with_braces, _without_garbage)):
        try:
            return _read(attempt(line)), number > 0
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            last = str(error)
    raise Malformed(f"no line of a monitor of events: {last}")


def _as_it_is(line: bytes) -> bytes:
    return line


def _with_braces(line: bytes) -> bytes:
    return line + b"}}"


def _without_garbage(line: bytes) -> bytes:
    """``line`` with errors as text in JSON, and without names that are no text at all."""
    text = _with_braces(line).decode("utf-8", "replace").encode()
    escaped = _ERROR.sub(
        lambda found: b'{"error":' + msgspec.json.encode(found[1].decode()) + b"}", text
    )
    return _NAME_GARBAGE.sub(rb'\1""', escaped)


def _sample(name: str, reply: _Reply, time: float) -> Sample:
    begun = _near(reply.begun, time)
    ended = max(begun, _near(reply.ended, begun))
    outcome, snapshot = outcome_of(reply), None
    reason = reply.error.removeprefix(f"{outcome}: ")
    text = bytes(reply.data)
    if text and outcome in ("ok", "bad_reply"):
        try:
            snapshot, outcome = decode(text), "ok"
        except PeerError as error:
            outcome, reason = "bad_reply", str(error)
    elif outcome == "ok":
        outcome, reason = "bad_reply", "it has no data"
    return Sample(name, outcome, begun, ended, snapshot, reply.identity, reason)


def _near(told: float | None, time: float) -> float:
    """``told`` if it can be of the poll at ``time``, else ``time``."""
    return time if told is None or abs(told - time) > LONGEST_POLL else told


# What ska-tango-event-monitor notes is the text of the errors, by which they are told apart.
_TOLD: tuple[tuple[str, Outcome], ...] = (
    ("API_CommandNotFound", "no_command"),
    ("API_DeviceNotExported", "not_exported"),
    ("API_DeviceNotDefined", "not_exported"),
    ("DB_DeviceNotDefined", "not_exported"),
    ("API_CantConnectToDatabase", "unknown"),
    ("Timedout", "hung"),
    ("API_DeviceTimedOut", "hung"),
    ("API_CantConnectToDevice", "refused"),
    ("API_CommunicationFailed", "refused"),
)


def outcome_of(reply: _Reply) -> Outcome:
    """What became of asking a server, as it was noted or as the error says."""
    noted = reply.outcome or reply.error.partition(":")[0]
    for outcome in get_args(Outcome):
        if noted == outcome:
            known: Outcome = outcome
            return known
    if not reply.error:
        return "ok"
    return next((outcome for words, outcome in _TOLD if words in reply.error), "unknown")


def _unix(text: str) -> float:
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise Malformed(f"no time: {text[:80]!a}") from None
    seconds = (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()
    if not 0 <= seconds < LATEST:
        raise Malformed(f"no time of a poll: {text[:80]!a}")
    return seconds
