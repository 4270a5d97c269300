"""Snapshots as the replies that they were decoded from, in the same dialect.

``decode(encode(snapshot))`` is ``snapshot`` again, but for its counts of what was left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

from socs.tango.decode import PATCHED
from socs.tango.names import EventName
from socs.tango.snapshot import Callback, NotConnected, Push, Snapshot, Subscription

_NEVER = "1970-01-01T00:00:00"
_IDL = "idl5_"
_WITH_IDL = frozenset({"change", "periodic", "archive", "user_event", "attr_conf"})


def encode(snapshot: Snapshot) -> bytes:
    """``snapshot`` as JSON, on one line."""
    return msgspec.json.encode(tree_of(snapshot))


def tree_of(snapshot: Snapshot) -> dict[str, Any]:
    """``snapshot`` as what JSON has."""
    patched = snapshot.dialect == PATCHED
    extra = snapshot.extra
    server = _server(snapshot, patched) | _of_part(extra, "server.")
    client = _client(snapshot, patched) | _of_part(extra, "client.")
    sides = {"server": server or None, "client": client or None}
    if patched:
        sides = {name: side for name, side in sides.items() if side}
    own = {key: value for key, value in extra.items() if "." not in key}
    return ({} if patched else {"version": 1}) | sides | own


def _of_part(extra: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        key.removeprefix(prefix): value for key, value in extra.items() if key.startswith(prefix)
    }


def _server(snapshot: Snapshot, patched: bool) -> dict[str, Any]:
    if not snapshot.published and snapshot.pushes is None:
        return {}
    samples = None if snapshot.pushes is None else [_push(each) for each in snapshot.pushes]
    return {
        "event_counters": {str(name): number for name, number in snapshot.published.items()},
        "perf_stats" if patched else "perf": samples,
    }


def _client(snapshot: Snapshot, patched: bool) -> dict[str, Any]:
    told = snapshot.subscriptions, snapshot.not_connected, snapshot.channels
    if not any(told) and snapshot.callbacks is None:
        return {}
    samples = None
    if snapshot.callbacks is not None:
        samples = [_callback(each, patched) for each in snapshot.callbacks]
    entries = {
        _subscribed(name): _subscription(entry, patched)
        for name, entry in snapshot.subscriptions.items()
    }
    lacking = [_lacking(each) for each in snapshot.not_connected]
    return {
        "event_callbacks": entries,
        **({} if patched and not lacking else {"not_connected": lacking}),
        "event_channels": {
            admin: {"endpoint": endpoint} for admin, endpoint in snapshot.channels.items()
        },
        "perf_stats" if patched else "perf": samples,
    }


def _subscribed(name: EventName) -> str:
    """As subscribers have it."""
    named, _, event = str(name).rpartition(".")
    return f"{named}.{_IDL if event in _WITH_IDL else ''}{event}"


def _subscription(entry: Subscription, patched: bool) -> dict[str, Any]:
    confirmed = _NEVER if patched else None
    if entry.confirmed is not None:
        confirmed = _utc(entry.confirmed)
    row = {
        "channel_name": str(entry.publisher) if entry.publisher else "",
        "callback_count": entry.callbacks,
        "server_counter": entry.number,
        "event_count": entry.received,
        "missed_event_count": entry.gaps,
        "last_resubscribed": confirmed,
    }
    if entry.discarded is not None:
        row["discarded_event_count"] = entry.discarded
    return row | entry.extra


def _lacking(lacking: NotConnected) -> dict[str, Any]:
    name = lacking.stream
    return {
        "device": name.device,
        "attribute": name.attribute,
        "event_type": name.event,
        "last_heartbeat": None if lacking.tried is None else _utc(lacking.tried),
        "tango_host": f"tango://{name.authority}/" if name.authority else None,
    } | lacking.extra


def _push(sample: Push) -> dict[str, Any]:
    return {
        "micros_since_last_event": sample.since_last,
        "push_event_micros": sample.push,
    } | sample.extra


def _callback(sample: Callback, patched: bool) -> dict[str, Any]:
    row = {
        "att_name" if patched else "attr_name": sample.attribute,
        "micros_since_last_event": sample.since_last,
        "sleep_micros": sample.sleep,
        "process_micros": sample.process,
        f"first_callback_{'lactency' if patched else 'latency'}_micros": sample.latency,
        "callback_count": sample.callbacks,
        "wake_count": sample.wakes,
    }
    if sample.discarded is not None:
        row["discarded"] = sample.discarded
    return row | sample.extra


def _utc(time: float) -> str:
    found = datetime.fromtimestamp(time, timezone.utc)
    return found.replace(tzinfo=None).isoformat(timespec="seconds")
