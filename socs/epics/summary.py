"""What a gateway tells monitors: the traffic of a moment, added up, as one message of a feed.

A second of busy traffic is half a million requests; of these a monitor needs who asked for what how
often. So names go over the feed once, and are numbers from then on:

    epoch 7   number 41   names 1200, 1201, ...   requests (name 17, source 3, twice), ...
    epoch 7   number 42   names 1310, ...         requests (name 1201, source 0, once), ...
    epoch 8   number 43   names 0, 1, ...         from here on numbers stand for other names

Numbers of names are valid within an epoch. A gateway begins a new one when its table is full and
when it is asked to: by a monitor that has missed a message, or has just come. Nothing else is
needed to be complete again.

Messages are numbered without gaps from the start of a gateway on, also while nothing happens. So
each tells that the gateway listened from ``began`` to ``ended``, and a missing one is noticed.
Totals tell how many requests were in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from socs.epics.networks import HIGHEST_HOST, Networks
from socs.epics.ports import HIGHEST_PORT, USES
from socs.errors import ConfigError, Malformed

VERSION = 1
# Most rows in one message, so that none is over a megabyte; more traffic is more messages.
MOST_REQUESTS = 65_536
MOST_NAMES = 8_192
MOST_SOURCES = 65_536
MOST_ROWS = 8_192  # of each other kind
LONGEST_NAME = 512  # bytes
MOST_TEXT = 250_000  # characters of what applications told; more is told in parts
MOST_SERVERS = 16  # of one name
MOST_NETWORKS = 1_024
PROTOCOLS = frozenset({1, 2})  # as socs.epics.track.events numbers them
LATEST = 1e11  # UNIX time [s]; beyond, sums of times are inexact

# name    number of the name in this epoch
# source  row of the message's sources
# count   how often that source asked for it, at least 1; for more there are more rows
REQUESTS = np.dtype([("name", "<u4"), ("source", "<u2"), ("count", "<u2")])
# host, port  who asks (to whom an answer goes)
# datagrams   with requests that it sent
# requests    in them, those without a number of a name among them
SOURCES = np.dtype([("host", "<u4"), ("port", "<u2"), ("datagrams", "<u4"), ("requests", "<u4")])
# An answer to a foreign search, seen by capturing; one row for all the same of a moment.
# protocol    socs.epics.track.events.CA or PVA
# host, port  where the server listens, as the answer says; sender: who sent it
# time        of the last one, UNIX [s]
ANSWERS = np.dtype(
    [
        ("name", "<u4"),
        ("protocol", "u1"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("sender", "<u4"),
        ("guid", "V12"),
        ("time", "<f8"),
    ]
)
# sender, time  of the datagram; the rest as in socs.epics.decode.ca.CA_BEACON
CA_BEACONS = np.dtype(
    [
        ("time", "<f8"),
        ("sender", "<u4"),
        ("id", "<u4"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("minor", "<u2"),
    ]
)
# the same, as in socs.epics.decode.pva.PVA_BEACON
PVA_BEACONS = np.dtype(
    [
        ("time", "<f8"),
        ("sender", "<u4"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("changes", "<u2"),
        ("sequence", "u1"),
        ("guid", "V12"),
    ]
)

Rows = NDArray[np.void]


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """A datagram of an application: a heartbeat that can be decoded.

    Attributes:
        kind: ``json`` or ``alive``.
        time: when it came, UNIX [s].
        host, port: who sent it.
        datagram: as it came.
    """

    kind: str
    time: float
    host: int
    port: int
    datagram: bytes


class Found(msgspec.Struct, frozen=True, array_like=True):
    """What came of a search of the gateway's own.

    Attributes:
        protocol: socs.epics.track.events.CA or PVA.
        name: as it was asked for.
        servers: host, port, sender and GUID (may be empty) of each that answered; none: not found.
        attempts: how often it was asked for.
        asked, ended: when the search went out first, and when it was over, UNIX [s].
    """

    protocol: int
    name: bytes
    servers: tuple[tuple[int, int, int, bytes], ...]
    attempts: int
    asked: float
    ended: float


class AnswerPart(msgspec.Struct, frozen=True, array_like=True):
    """A part of what an application answered when it was asked; all of it, if it is short.

    Attributes:
        kind: ``names`` (its process variables) or ``lines`` (its host's sockets and processes).
        host, port: the application's, where it answers requests.
        texts: names or lines, in order; a part of them if there are many.
        time: when the last came, UNIX [s].
        server: TCP port of its server, as the monitor said; 0 if it did not.
        ending: how the conversation ended, one of `ENDINGS` of
            `socs.epics.applications.conversations`; empty if further parts
            follow. Unless it is ``complete``, there are more than were told.
        first: how many texts were in the parts before.
        total: how many names there are, as the application says; of lines always 0.
        skipped: names that can be none, and lines that could not be read.
    """

    kind: Literal["names", "lines"]
    host: int
    port: int
    texts: tuple[str, ...]
    time: float
    server: int = 0
    ending: str = "complete"
    first: int = 0
    total: int = 0
    skipped: int = 0


def _nothing(dtype: np.dtype[Any]) -> Callable[[], Rows]:
    return lambda: np.zeros(0, dtype)


@dataclass(eq=False)
class Summary:
    """One message.

    Attributes:
        gateway: its name.
        boot: drawn anew at each of its starts.
        number: of the message, 0 for the first of a boot.
        epoch: of the numbers of names.
        began, ended: between which everything here was received, UNIX time of the gateway [s].
        networks: what it hears; empty for any address.
        last: the gateway ends with this message.
        first_name: number of the first of ``names``; the others follow.
        names: those that have had no number in this epoch.
        requests, sources, answers, ca_beacons, pva_beacons: rows, see this module.
        beats, found, told: see there.
        totals: of this boot, this message included: ``requests`` (in rows, with or without a
            name) and ``datagrams`` (with requests).
        counters: of the gateway, by name.
        left_out: what it does not hear, as `socs.epics.ports.USES` has it.
    """

    gateway: str
    boot: str
    number: int
    epoch: int
    began: float
    ended: float
    networks: tuple[str, ...] = ()
    last: bool = False
    first_name: int = 0
    names: tuple[bytes, ...] = ()
    requests: Rows = field(default_factory=_nothing(REQUESTS))
    sources: Rows = field(default_factory=_nothing(SOURCES))
    answers: Rows = field(default_factory=_nothing(ANSWERS))
    ca_beacons: Rows = field(default_factory=_nothing(CA_BEACONS))
    pva_beacons: Rows = field(default_factory=_nothing(PVA_BEACONS))
    beats: tuple[Beat, ...] = ()
    found: tuple[Found, ...] = ()
    told: tuple[AnswerPart, ...] = ()
    totals: Mapping[str, int] = field(default_factory=lambda: {"requests": 0, "datagrams": 0})
    counters: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


_TABLES: dict[str, tuple[np.dtype[Any], int]] = {
    "requests": (REQUESTS, MOST_REQUESTS),
    "sources": (SOURCES, MOST_SOURCES),
    "answers": (ANSWERS, MOST_ROWS),
    "ca_beacons": (CA_BEACONS, MOST_ROWS),
    "pva_beacons": (PVA_BEACONS, MOST_ROWS),
}


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    gateway: str
    boot: str
    number: int
    epoch: int
    began: float
    ended: float
    networks: tuple[str, ...]
    last: bool
    first_name: int
    names: bytes
    lengths: bytes
    requests: bytes
    sources: bytes
    answers: bytes
    ca_beacons: bytes
    pva_beacons: bytes
    beats: tuple[Beat, ...]
    found: tuple[Found, ...]
    told: tuple[AnswerPart, ...]
    totals: dict[str, int]
    counters: dict[str, int]
    left_out: tuple[str, ...]


def encode(summary: Summary) -> dict[str, Any]:
    """The message: plain values fit for JSON, with base64 for tables and names."""
    told = {each.name: getattr(summary, each.name) for each in fields(summary)}
    told |= {name: getattr(summary, name).tobytes() for name in _TABLES}
    told["names"] = b"".join(summary.names)
    told["lengths"] = np.array([len(name) for name in summary.names], "<u2").tobytes()
    message: dict[str, Any] = msgspec.to_builtins(_Message(version=VERSION, **told))
    return message


def decode(message: object) -> Summary:
    """The summary in a message of a feed.

    Raises:
        Malformed: it is none, or of another version, or beyond a limit of this module.
    """
    if isinstance(message, Mapping) and message.get("version") != VERSION:
        raise Malformed(
            f"summary of version {message.get('version')!r}, not {VERSION}: "
            "gateway and monitor are of different releases",
            "summaries_malformed",
        )
    try:
        found = msgspec.convert(message, _Message)
        lengths = np.frombuffer(found.lengths, "<u2").astype(np.int64)
        values: dict[str, Any] = {name: _table(getattr(found, name), name) for name in _TABLES}
    except (msgspec.ValidationError, ValueError) as error:
        raise Malformed(f"summary: {error}", "summaries_malformed") from error
    values |= {name: getattr(found, name) for name in _PLAIN}
    summary = Summary(**values, names=_names(found.names, lengths))
    _check(summary)
    return summary


_PLAIN = [each.name for each in fields(Summary) if each.name not in {"names", *_TABLES}]


def _table(octets: bytes, name: str) -> Rows:
    dtype, most = _TABLES[name]
    rows = np.frombuffer(octets, dtype)
    if len(rows) > most:
        raise ValueError(f"{name}: {len(rows)} rows are more than {most}")
    return rows


def _names(octets: bytes, lengths: NDArray[np.int64]) -> tuple[bytes, ...]:
    ends = np.cumsum(lengths)
    whole = int(ends[-1]) if len(ends) else 0
    too_long = int(lengths.max(initial=0)) > LONGEST_NAME
    if whole != len(octets) or too_long or len(lengths) > MOST_NAMES:
        raise Malformed("summary: names and their lengths do not fit", "summaries_malformed")
    starts = (ends - lengths).tolist()
    return tuple(octets[a:b] for a, b in zip(starts, ends.tolist(), strict=True))


def _times(summary: Summary) -> Iterator[NDArray[np.float64]]:
    """All times that it tells."""
    told = [summary.began, summary.ended]
    told += [beat.time for beat in summary.beats] + [each.time for each in summary.told]
    told += [time for each in summary.found for time in (each.asked, each.ended)]
    yield np.array(told)
    for rows in (summary.answers, summary.ca_beacons, summary.pva_beacons):
        yield rows["time"]


def _are_places(summary: Summary) -> bool:
    """Are addresses and ports, outside of tables, and uses of ports, ones that can be."""
    if not set(summary.left_out) <= USES:
        return False
    told = [(beat.host, beat.port) for beat in summary.beats]
    told += [(each.host, each.port) for each in summary.told]
    servers = [server for each in summary.found for server in each.servers]
    told += [(host, port) for host, port, _, _ in servers]
    hosts = [*(host for host, _ in told), *(sender for _, _, sender, _ in servers)]
    ports = [port for _, port in told]
    return _within(hosts, HIGHEST_HOST) and _within(ports, HIGHEST_PORT)


def _are_networks(texts: tuple[str, ...]) -> bool:
    if len(texts) > MOST_NETWORKS:
        return False
    try:
        Networks(texts)
    except ConfigError:
        return False
    return True


def _protocols(summary: Summary) -> set[int]:
    return {*summary.answers["protocol"].tolist(), *(found.protocol for found in summary.found)}


def _within(values: list[int], highest: int) -> bool:
    return all(0 <= value <= highest for value in values)


def _check(summary: Summary) -> None:
    requests = summary.requests
    wrong = None
    if min(summary.number, summary.epoch, summary.first_name, *summary.totals.values(), 0) < 0:
        wrong = "a negative number"
    elif not summary.began <= summary.ended:
        wrong = "it ends before it begins"
    elif not all((np.abs(times) < LATEST).all() for times in _times(summary)):
        wrong = "times that cannot be"
    elif not _are_networks(summary.networks):
        wrong = "too many networks, or one that is none"
    elif not _are_places(summary):
        wrong = "addresses or ports that cannot be"
    elif not _protocols(summary) <= PROTOCOLS:
        wrong = "a protocol that is none"
    elif len(requests) and (
        int(requests["source"].max()) >= len(summary.sources) or not requests["count"].all()
    ):
        wrong = "requests without a source, or of none"
    elif max(map(len, (summary.beats, summary.found, summary.told))) > MOST_ROWS:
        wrong = "too many rows"
    elif any(len(each.servers) > MOST_SERVERS for each in summary.found):
        wrong = "too many servers of a name"
    elif any(
        min(each.server, each.first, each.total, each.skipped) < 0 or each.server > HIGHEST_PORT
        for each in summary.told
    ):
        wrong = "numbers that cannot be, in what an application told"
    elif not {"requests", "datagrams"} <= summary.totals.keys():
        wrong = "totals are missing"
    if wrong:
        raise Malformed(f"summary: {wrong}", "summaries_malformed")
