"""Replies of real servers, of patched ones, of the future, and garbage."""

import json
from pathlib import Path

import pytest

from socs.errors import Malformed, PeerError, TooLarge
from socs.tango import limits
from socs.tango.decode import CAUSES, decode
from socs.tango.names import parse_event, parse_server
from socs.tango.snapshot import Callback, Push

DATA = Path(__file__).parents[2] / "data" / "tango"
VAL = parse_event("tango://127.0.0.1:10377/lab/pub/1/val.change")


def read(name: str):
    return decode((DATA / name).read_bytes())


def reply(**changes) -> str:
    return json.dumps({"version": 1, "server": None, "client": None} | changes)


def client(**changes) -> dict:
    """The part of a subscriber with one entry, with ``changes`` of that."""
    entry = {
        "channel_name": "tango://h:1/dserver/p/i",
        "callback_count": 1,
        "server_counter": 7,
        "event_count": 6,
        "missed_event_count": 1,
        "discarded_event_count": 2,
        "last_resubscribed": None,
    }
    return {"event_callbacks": {"tango://h:1/a/b/c/d.idl5_change": entry | changes}}


# -- recorded replies -----------------------------------------------------------------------------


def test_publisher() -> None:
    snapshot = read("publisher.json")
    assert snapshot.dialect == "1"
    assert snapshot.published[VAL] == 11
    assert len(snapshot.published) == 8
    assert snapshot.pushes is not None
    assert snapshot.pushes[:2] == (Push(None, 58), Push(73, 1))
    assert (snapshot.subscriptions, snapshot.callbacks) == ({}, None)


def test_subscriber() -> None:
    snapshot = read("subscriber.json")
    assert len(snapshot.subscriptions) == 8
    entry = snapshot.subscriptions[VAL]
    assert (entry.number, entry.received, entry.gaps, entry.discarded) == (10, 10, 0, 2)
    assert entry.publisher == parse_server("tango://127.0.0.1:10377/dserver/benchdev/pub1")
    assert entry.confirmed is None
    assert snapshot.channels == {str(entry.publisher): "tcp://127.0.0.1:37051"}
    assert snapshot.callbacks is not None
    assert snapshot.callbacks[0] == Callback("val", None, 84672, 26, 246, 738, 1, False)
    assert snapshot.callbacks[1] == Callback("", 254, 6, 1, 1, None, 0, True)


def test_every_stream_of_the_publisher_is_one_of_the_subscriber() -> None:
    assert read("publisher.json").published.keys() == read("subscriber.json").subscriptions.keys()


def test_not_connected() -> None:
    (lacking,) = read("not_connected.json").not_connected
    assert str(lacking.stream) == "tango://127.0.0.1:10377/lab/nowhere/1/val.change"
    assert lacking.tried == 1795275356.0


def test_nobody_subscribed() -> None:
    snapshot = read("idle.json")
    assert (snapshot.published, snapshot.subscriptions, snapshot.pushes) == ({}, {}, None)


@pytest.mark.parametrize("name", ["idle", "publisher", "subscriber", "not_connected"])
def test_nothing_of_a_recorded_reply_is_left_over(name) -> None:
    snapshot = read(f"{name}.json")
    assert (snapshot.extra, snapshot.unreadable, snapshot.repeated, snapshot.mended) == (
        {},
        0,
        0,
        0,
    )


# -- patched servers ------------------------------------------------------------------------------


def patched(sample: dict | None = None) -> str:
    side = client(last_resubscribed="1970-01-01T00:00:00")
    del side["event_callbacks"]["tango://h:1/a/b/c/d.idl5_change"]["discarded_event_count"]
    return json.dumps({"client": side | {"perf_stats": [sample] if sample else []}})


PATCHED_SAMPLE = {
    "att_name": "d",
    "event_type": "ATT_VALUE",
    "micros_since_last_event": -1,
    "sleep_micros": 5,
    "process_micros": 9,
    "first_callback_lactency_micros": -(2**63),
    "callback_count": 1,
    "wake_count": 1,
}


def test_patched_subscriber() -> None:
    snapshot = decode(patched(PATCHED_SAMPLE))
    (entry,) = snapshot.subscriptions.values()
    assert snapshot.dialect == "ska-9.5"
    assert (entry.discarded, entry.confirmed) == (None, None)
    expected = Callback("d", None, 5, 1, 9, None, 1, None, {"event_type": "ATT_VALUE"})
    assert snapshot.callbacks == (expected,)
    assert snapshot.pushes is None


def test_patched_publisher() -> None:
    push = {"micros_since_last_event": -1, "push_event_micros": 4}
    server = {"event_counters": {"tango://h:1/a/b/c/d.change": 3}, "perf_stats": [push]}
    snapshot = decode(json.dumps({"server": server}))
    assert snapshot.pushes == (Push(None, 4),)
    assert decode("{}").dialect == "ska-9.5"


@pytest.mark.parametrize("garbage", ['a"b', "\x01\x02", 'x\\"', "\\", '"', '","y'])
def test_names_from_memory_that_was_not_cleared(garbage) -> None:
    text = patched(PATCHED_SAMPLE).replace('"att_name": "d"', f'"att_name": "{garbage}"')
    snapshot = decode(text)
    assert snapshot.callbacks is not None
    assert snapshot.callbacks[0].attribute == ""
    assert snapshot.callbacks[0].process == 9


def test_bytes_that_are_no_utf8() -> None:
    text = patched(PATCHED_SAMPLE).encode().replace(b'"d"', b'"\xff\xfe"')
    snapshot = decode(text)
    assert snapshot.callbacks is not None
    assert snapshot.callbacks[0].attribute == ""
    assert snapshot.mended == 1


# -- the future -----------------------------------------------------------------------------------


def test_unknown_keys_are_kept() -> None:
    side = client(colour="red")
    text = reply(client=side | {"mood": 1}, server={"event_counters": {}, "new": [2]}, era="x")
    snapshot = decode(text)
    assert snapshot.extra == {"era": "x", "client.mood": 1, "server.new": [2]}
    (entry,) = snapshot.subscriptions.values()
    assert entry.extra == {"colour": "red"}


@pytest.mark.parametrize("version", [2, 0, "1", 1.5, None, True, [1]])
def test_unknown_versions_are_refused(version) -> None:
    with pytest.raises(Malformed, match="is not known here, only 1") as caught:
        decode(reply(version=version))
    assert caught.value.cause == "version_unknown"


# -- what is refused, and what is left out --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "1", '"x"', "{", b"\xff", "\ud800", '{"version": 1, "server": []}'),
        '{"other": 1}',
        reply(client=client(server_counter="7")),
        reply(client=client(last_resubscribed="soon")),
        reply(server={"event_counters": {"tango://h:1/a/b/c/d.change": 1.5}}),
        reply(server={"event_counters": {}, "perf": [{"push_event_micros": None}]}),
    ],
)
def test_malformed(text) -> None:
    with pytest.raises(PeerError) as caught:
        decode(text)
    assert caught.value.cause == "reply_malformed"


@pytest.mark.parametrize(
    "text",
    [
        " " * (limits.MAX_REPLY + 1),
        "[" * 100_000,
        f'{{"version": 1, "x": {"9" * (limits.MAX_DIGITS + 1)}}}',
        reply(server={"perf": [{}] * (limits.MAX_SAMPLES + 1)}),
        reply(
            server={"event_counters": {f"a/b/c/{n}.e": 1 for n in range(limits.MAX_ENTRIES + 1)}}
        ),
    ],
    ids=["size", "depth", "digits", "samples", "entries"],
)
def test_too_large(text) -> None:
    with pytest.raises(TooLarge) as caught:
        decode(text)
    assert caught.value.cause == "reply_too_large"


def test_names_that_make_no_sense_are_counted() -> None:
    counters = {"x": 1, "tango://h:1/a/b/c/d.change": 2, "tango://h:1/A/b/c/d.idl5_change": 3}
    snapshot = decode(reply(server={"event_counters": counters}))
    assert list(snapshot.published.values()) == [3]
    assert (snapshot.unreadable, snapshot.repeated) == (1, 1)


def test_numbers_are_32_bits_wide() -> None:
    snapshot = decode(reply(client=client(server_counter=-1)))
    assert [entry.number for entry in snapshot.subscriptions.values()] == [2**32 - 1]


def test_causes_are_those_that_are_counted() -> None:
    assert CAUSES == ("reply_malformed", "reply_too_large", "version_unknown")
