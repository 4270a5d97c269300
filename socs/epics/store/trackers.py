"""The state of the trackers as bytes, and back.

Process variables are not in it: they are columns of the inventory
(:mod:`socs.epics.accounts.snapshot`). Nor is what people say (:mod:`socs.epics.store.hosts`), nor
what is wrong just now: that is noticed again.
"""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

import msgspec
import numpy as np

from socs.epics.accounts.sources import Sources
from socs.epics.decode.alive import Alive
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.track.applications import Application, Applications, Beat
from socs.epics.track.beacons import Beacons, Server
from socs.epics.track.hosts import Hosts, Standing
from socs.epics.track.life import State
from socs.errors import Malformed

VERSION = 1


class _Known(msgspec.Struct, frozen=True):
    """An application. Exactly one of ``heartbeat`` and ``alive`` is there."""

    beat: Beat
    heartbeat: Heartbeat | None
    alive: Alive | None
    sender: int
    first: float
    heard: float
    state: State
    restarts: int
    missing: int
    lost: float


class _Source(msgspec.Struct, frozen=True, array_like=True):
    key: int
    first: float
    last: float
    datagrams: int
    requests: int
    invalid: int


class _State(msgspec.Struct, frozen=True):
    version: int
    servers: list[Server]
    applications: list[_Known]
    told: dict[int, Standing]
    sources: list[_Source]


class Trackers(NamedTuple):
    """What is stored beside the inventory."""

    beacons: Beacons
    applications: Applications
    hosts: Hosts
    sources: Sources


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_State).decode
_COUNTED = ("keys", "first", "last", "datagrams", "requests", "invalid")


def packed(trackers: Trackers) -> bytes:
    """All that `unpack` needs to go on from here."""
    sources = trackers.sources
    columns = [getattr(sources, name)[1 : sources.end].tolist() for name in _COUNTED]
    return _encode(
        _State(
            VERSION,
            list(trackers.beacons.servers.values()),
            [_known(application) for application in trackers.applications.known.values()],
            trackers.hosts.told,
            [_Source(*row) for row in zip(*columns, strict=True)],
        )
    )


def unpack(trackers: Trackers, stored: bytes) -> None:
    """Take up what `packed` gave, into trackers that have nothing yet. No event comes of it.

    Raises:
        Malformed: this is not it, or it is of another version. Nothing was taken then.
    """
    try:
        state = _decode(stored)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed(f"trackers: {error}", "snapshot_malformed") from error
    if state.version != VERSION:
        raise Malformed(f"trackers: version {state.version} is not known", "snapshot_malformed")
    trackers.beacons.servers.update((server.key, server) for server in state.servers)
    applications = [_application(known) for known in state.applications]
    trackers.applications.known.update((each.key, each) for each in applications)
    trackers.hosts.told.update(state.told)
    _take_sources(trackers.sources, state.sources)


def _known(application: Application) -> _Known:
    values = {field.name: getattr(application, field.name) for field in fields(application)}
    told = values.pop("told")
    heartbeat = told if isinstance(told, Heartbeat) else None
    return _Known(heartbeat=heartbeat, alive=None if heartbeat else told, **values)


def _application(known: _Known) -> Application:
    told = known.heartbeat or known.alive
    if told is None:
        raise Malformed("trackers: an application without a heartbeat", "snapshot_malformed")
    values = {field.name: getattr(known, field.name) for field in fields(Application)
              if field.name != "told"}  # fmt: skip
    return Application(told=told, **values)


def _take_sources(sources: Sources, stored: list[_Source]) -> None:
    """The first ones, if there is no room for all."""
    if not stored:
        return
    keys = np.array([row.key for row in stored], np.uint64)
    numbers = sources.numbers(keys, stored[0].first)
    kept = numbers > 0
    for name in _COUNTED[1:]:
        column = getattr(sources, name)
        values = np.array([getattr(row, name) for row in stored], column.dtype)
        column[numbers[kept]] = values[kept]
