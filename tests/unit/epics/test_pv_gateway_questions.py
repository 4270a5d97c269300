"""What a gateway asks itself: results as they are told, and whose they are."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from socs.counters import Counters
from socs.epics.accounts.sources import keys_of
from socs.epics.applications.asking import AskingSettings
from socs.epics.applications.conversations import Answered
from socs.epics.decode import ca
from socs.epics.gateway.gateway import TABLES
from socs.epics.gateway.questions import Questions, parts_of
from socs.epics.gateway.settings import GatewaySettings
from socs.epics.networks import Networks
from socs.epics.search.messages import CaFormat
from socs.epics.search.searcher import Priority, Searcher, SearchSettings, Server
from socs.epics.summary import MOST_TEXT, AnswerPart, Beat, Found
from socs.epics.track.events import CA, PVA
from socs.sim.iocs import free_ports
from socs.testing import wait_until
from tests.epics_packets import SERVER, address, batch, response

LOCAL = address("127.0.0.1")
BEAT = b'{"seq":"7","sp":"1","up":"1","cur":"1","pid":"1","cwd":"","ver":"2.0","img":"","stcmd":""}'
ELSEWHERE = "10.9.0.1"


def questions(found: list[Found] | None = None, **settings: Any) -> Questions:
    made = GatewaySettings("g", **{"ports": free_ports()} | settings)
    return Questions(
        made,
        [].extend if found is None else found.extend,
        [].extend,
        report=lambda text: None,
        counters=Counters(*TABLES),
    )


def test_results_of_both_protocols_are_told() -> None:
    found: list[Found] = []
    ports = free_ports()
    settings = SearchSettings(True, 50.0, 10, timeout=0.05, attempts=2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", ports.ca))
        server.settimeout(30)
        with questions(
            found, search=settings, search_addresses=["127.0.0.1"], ports=ports
        ) as asking:
            asking.start()
            assert asking.search(["PV:Ä", "PV:\udcff"], Priority.PAGE) == 2
            contents, sender = server.recvfrom(2000)
            rows = ca.decode(batch([contents])).requests
            for row in rows[:1]:
                server.sendto(response(int(row["cid"]), port=6000), sender)
            wait_until(lambda: len(found) == 4, 10)
            port = sender[1]
            assert (LOCAL << 16 | port) in asking.sources().tolist()
            assert port in asking.ports
            assert len(asking.ports) == 2
            assert asking.status()["searching"]["enabled"]
    by_key = {(each.protocol, each.name): each for each in found}
    assert {name for _, name in by_key} == {"PV:Ä".encode(), b"PV:?"}
    answered = by_key[CA, "PV:Ä".encode()]
    assert answered.servers == ((LOCAL, 6000, LOCAL, b""),)
    assert (answered.attempts, by_key[PVA, b"PV:?"].attempts) == (1, 2)
    assert by_key[PVA, b"PV:?"].servers == ()
    assert answered.asked < answered.ended


def test_who_asks_nothing_has_no_sources() -> None:
    with questions(search_addresses=["127.0.0.1"]) as asking:
        asking.start()
        assert asking.sources().tolist() == []
        assert asking.ports == []
        asking.heard([Beat("json", 1.0, 1, 2, BEAT)])


def test_an_asker_is_told_of_heartbeats_and_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with questions(ask=AskingSettings(True)) as asking:
        told: list[tuple[int, int, int]] = []
        monkeypatch.setattr(asking._asker, "heard", lambda *args: told.append(args))
        asking.heard(
            [
                Beat("json", 1.0, 1, 2, BEAT),
                Beat("json", 1.0, 1, 3, b"{"),
                Beat("alive", 1.0, 1, 4, BEAT),
            ]
        )
        assert told == [(1, 2, 7)]


@pytest.mark.parametrize(
    ("sender", "believed"), [(SERVER, True), (ELSEWHERE, False)], ids=["inside", "outside"]
)
def test_answers_are_believed_by_their_sender_too(sender: str, believed: bool) -> None:
    admit = Networks(["10.0.0.0/24"])
    core = Searcher(SearchSettings(True), CaFormat(), admit=admit)
    core.ask([b"A"], Priority.PAGE)
    (datagram,) = core.due(0.0)
    (row,) = ca.decode(batch([datagram])).requests
    answer = batch([(sender, 5064, response(int(row["cid"]), host=address(SERVER)))])
    core.feed_ca(ca.decode(answer), answer.hosts)
    assert core.tally.counts.get("search_foreign", 0) == (not believed)
    if believed:
        (outcome,) = core.tick(10.0)
        assert outcome.servers == (Server(address(SERVER), 5064, b"", address(SERVER)),)


def answered(texts: tuple[str, ...], ending: str) -> Answered:
    return Answered("names", LOCAL, 9, 5064, texts, ending, 700, 3, 70)


def test_what_an_application_answered_is_told_with_its_server_and_how_it_ended() -> None:
    (told,) = parts_of(answered(("A", "B"), "cut"), 1.0)
    expected = AnswerPart("names", LOCAL, 9, ("A", "B"), 1.0, 5064, "cut", total=700, skipped=3)
    assert told == expected
    (told,) = parts_of(answered((), "silent"), 1.0)
    assert (told.texts, told.ending) == ((), "silent")


def test_a_long_answer_is_told_in_parts() -> None:
    texts = tuple(f"{number:07}" * 100 for number in range(700))
    parts = [*parts_of(answered(texts, "complete"), 1.0)]
    assert tuple(text for part in parts for text in part.texts) == texts
    assert [part.first for part in parts] == [0, 356, 712][: len(parts)]
    assert [part.ending for part in parts] == [""] * (len(parts) - 1) + ["complete"]
    assert all(sum(map(len, part.texts)) <= MOST_TEXT for part in parts)
    assert len(parts) == 2
    longest = ("A" * (MOST_TEXT + 1), "B")
    assert [part.texts for part in parts_of(answered(longest, "full"), 1.0)] == [
        *((text,) for text in longest)
    ]


def test_sources_are_keys_of_hosts_and_ports() -> None:
    with questions(search=SearchSettings(True), search_addresses=["127.255.255.255"]) as asking:
        asking.start()
        sent = batch([("127.0.0.1", port, b"") for port in sorted(asking.ports)])
        assert asking.sources().tolist() == keys_of(sent.hosts, sent.ports).tolist()
