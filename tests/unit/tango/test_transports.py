"""By which way streams travel, and what does not fit together."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from socs.errors import Malformed
from socs.tango.endpoints import Endpoints, endpoints_of
from socs.tango.limits import MAX_LISTED
from socs.tango.multicast.configuration import Configuration
from socs.tango.transports import Transports, way_of
from socs.testing import wait_until

STREAM = "tango://127.0.0.1:10000/lab/pub/1/val.change"
OTHER = "tango://127.0.0.1:10000/lab/pub/1/other.change"
MULTICAST = Configuration.of({"MulticastEvent": ["239.1.1.1", "5000", "lab/pub/1/val.change"]})
UNICAST = Configuration.of({})
TCP = Endpoints("tcp://127.0.0.1:4000", "tcp://127.0.0.1:4001", multicast=False)
PGM = Endpoints("tcp://127.0.0.1:4000", "tcp://127.0.0.1:4001", multicast=True)


def test_texts_of_a_server_are_read() -> None:
    texts = ["Heartbeat: tcp://127.0.0.1:37545", "Event: tcp://127.0.0.1:35851"]
    assert endpoints_of(texts) == Endpoints(
        "tcp://127.0.0.1:37545", "tcp://127.0.0.1:35851", multicast=False
    )
    assert endpoints_of(["Heartbeat: tcp://a:1", "Event: "]) == Endpoints("tcp://a:1", "", False)
    told = [texts[0], f"{texts[1]}\nSome event(s) sent using multicast protocol"]
    assert endpoints_of(told) == Endpoints(
        "tcp://127.0.0.1:37545", "tcp://127.0.0.1:35851", multicast=True
    )
    assert endpoints_of([]) == Endpoints("", "", multicast=False)


def test_unicast_has_the_endpoint_of_its_publisher() -> None:
    way = way_of(STREAM, [STREAM], UNICAST, TCP)
    assert (way.transport, way.endpoint, way.doubt) == ("unicast", "tcp://127.0.0.1:4001", "")


def test_multicast_has_its_group() -> None:
    way = way_of(STREAM, [STREAM, OTHER], MULTICAST, PGM)
    assert (way.transport, way.doubt) == ("multicast to 239.1.1.1:5000", "")
    assert way_of(OTHER, [STREAM, OTHER], MULTICAST, PGM).transport == "unicast"
    assert way_of(OTHER, [STREAM, OTHER], MULTICAST, PGM).doubt == ""


def test_a_server_that_sends_nothing_by_multicast_though_it_should_is_in_doubt() -> None:
    assert "sends nothing by multicast" in way_of(STREAM, [STREAM], MULTICAST, TCP).doubt


def test_a_server_that_sends_by_multicast_though_nothing_should_is_in_doubt() -> None:
    assert "none does" in way_of(STREAM, [STREAM], UNICAST, PGM).doubt


def test_a_server_that_does_not_tell_leaves_no_doubt() -> None:
    assert way_of(STREAM, [STREAM], MULTICAST, None).doubt == ""


def test_what_is_no_event_has_no_way() -> None:
    with pytest.raises(Malformed):
        way_of("nonsense", [], UNICAST, TCP)


def test_looks_go_on_after_one_for_which_there_was_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replies: list[Any] = [BlockingIOError(11, "Resource temporarily unavailable")]

    def run(command: list[str], **settings: Any) -> subprocess.CompletedProcess[bytes]:
        if replies:
            raise replies.pop()
        text = b'{"properties": {}}' if "property" in command[-1] else b""
        return subprocess.CompletedProcess(command, 0, text, b"")

    monkeypatch.setattr(subprocess, "run", run)
    transports = Transports("h:1", lambda: {})
    transports.start()
    try:
        wait_until(lambda: "cannot be asked" in transports.status()["problem"], 10)
        transports.look_now()
        wait_until(lambda: transports.status()["problem"] == "", 10)
    finally:
        transports.stop()


def test_doubts_are_listed_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    elements = ["239.1.1.1", "5000"]
    streams = [f"tango://db:1/lab/pub/1/v{n}x.change" for n in range(MAX_LISTED + 7)]
    elements += [stream.removeprefix("tango://db:1/") for stream in streams]
    endpoints = {"server": "dserver/pub/1", "texts": ["Heartbeat: tcp://h:1", "Event: tcp://h:2"]}

    def run(command: list[str], **settings: Any) -> subprocess.CompletedProcess[bytes]:
        is_property = "property" in command[-1]
        reply = {"properties": {"MulticastEvent": elements}} if is_property else endpoints
        return subprocess.CompletedProcess(command, 0, json.dumps(reply).encode(), b"")

    monkeypatch.setattr(subprocess, "run", run)
    transports = Transports("h:1", lambda: {"dserver/pub/1": streams})
    transports.start()
    try:
        wait_until(lambda: transports.status()["doubts"], 10)
    finally:
        transports.stop()
    told = transports.status()
    assert len(told["doubts"]) == MAX_LISTED
    assert len(told["findings"]) <= MAX_LISTED
    assert told["left_out"]["doubts"] == 7


def test_each_database_has_properties_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    elements = ["239.1.1.1", "5000", "lab/pub/1/val.change"]
    asked: list[str] = []

    def run(
        command: list[str], *, env: dict[str, str], **settings: Any
    ) -> subprocess.CompletedProcess[bytes]:
        asked.append(env["TANGO_HOST"])
        reply = b"" if "property" not in command[-1] else b'{"properties": {}}'
        if env["TANGO_HOST"] == "b:1" and reply:
            reply = json.dumps({"properties": {"MulticastEvent": elements}}).encode()
        elif env["TANGO_HOST"] == "gone:1":
            reply = b'{"error": "nobody is there"}'
        return subprocess.CompletedProcess(command, 0, reply, b"")

    monkeypatch.setattr(subprocess, "run", run)
    streams = {
        f"tango://{host}/dserver/pub/1": [f"tango://{host}/lab/pub/1/val.change"]
        for host in ("a:1", "other-a:1", "b:1", "gone:1")
    }
    transports = Transports("a:1,other-a:1", lambda: streams)
    transports._look()
    ways = {
        host: transports.way(stream)
        for host, (stream,) in zip("aAbg", streams.values(), strict=True)
    }
    assert ways["g"] is None
    assert [ways[host].transport for host in "aAb"] == [
        "unicast",
        "unicast",
        "multicast to 239.1.1.1:5000",
    ]
    assert "gone:1: nobody is there" in transports.status()["problem"]
    assert asked.count("a:1,other-a:1") == 2  # properties, and the sockets of all servers
    findings = transports.status()["findings"]
    assert findings
    assert all(each["text"].startswith("b:1: ") for each in findings if each["severity"] != "info")


def test_a_defect_is_told_and_does_not_end_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[Any] = [{}, ValueError("unforeseen")]

    def streams() -> dict[str, list[str]]:
        result = results.pop()
        if isinstance(result, Exception):
            raise result
        return result

    reply = subprocess.CompletedProcess([], 0, b'{"properties": {}}', b"")
    monkeypatch.setattr(subprocess, "run", lambda *words, **settings: reply)
    transports = Transports("h:1", streams)
    transports.start()
    try:
        wait_until(lambda: "unforeseen" in transports.status()["problem"], 10)
        transports.look_now()
        wait_until(lambda: transports.status()["problem"] == "", 10)
    finally:
        transports.stop()
