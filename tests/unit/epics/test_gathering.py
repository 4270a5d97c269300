"""What a gateway tells of the traffic, case by case."""

import numpy as np
import pytest

from socs.epics import summary as s
from socs.epics.accounts.sources import keys_of
from socs.epics.gateway.gathering import Gathering
from socs.epics.gateway.gathering_settings import GatheringSettings
from socs.epics.track.events import CA, PVA
from socs.errors import ConfigError
from socs.wire.captured import CapturedBatch
from tests import epics_pva
from tests.epics_packets import (
    CLIENT,
    SERVER,
    address,
    batch,
    beacon,
    request,
    response,
    version,
)

NOW = 1_700_000_000.0
BEAT = (
    b'{"seq":"7","sp":"5064","up":"1","cur":"1","pid":"1","cwd":"","ver":"2.0","img":"","stcmd":""}'
)


def gathering(**settings):
    return Gathering(
        GatheringSettings(**settings),
        gateway="g",
        boot="b",
        began=NOW,
        secret=1,
        networks=("10.0.0.0/8",),
    )


def captured(*datagrams, times=None):
    """Datagrams as (from, port, to, port, contents)."""
    plain = batch([(host, port, contents) for host, port, _, _, contents in datagrams], NOW)
    return CapturedBatch(
        plain.data,
        plain.sizes,
        plain.hosts,
        plain.ports,
        plain.received,
        None,
        np.array([address(to) for _, _, to, _, _ in datagrams], np.uint32),
        np.array([port for _, _, _, port, _ in datagrams], np.uint16),
        None if times is None else np.array(times),
    )


def over_the_feed(summaries):
    return [s.decode(s.encode(each)) for each in summaries]


def only(summaries):
    (summary,) = over_the_feed(summaries)
    return summary


def test_names_go_once_and_numbers_from_then_on():
    heard = gathering()
    heard.ca(batch([version() + request(b"A") + request(b"B.VAL") + request(b"A")], NOW))
    first = only(heard.take(NOW + 1, {"x": 3}))
    assert (first.names, first.first_name) == ((b"A", b"B"), 0)
    assert first.requests.tolist() == [(0, 0, 2), (1, 0, 1)]
    assert first.sources.tolist() == [(address(CLIENT), 40000, 1, 3)]
    assert (first.began, first.ended, first.number, first.epoch) == (NOW, NOW + 1, 0, 0)
    assert (first.gateway, first.boot, first.networks) == ("g", "b", ("10.0.0.0/8",))
    assert first.counters == {"x": 3}
    heard.ca(batch([request(b"C") + request(b"A")], NOW + 1))
    second = only(heard.take(NOW + 2, last=True))
    assert (second.names, second.first_name, second.number) == ((b"C",), 2, 1)
    assert second.requests.tolist() == [(0, 0, 1), (2, 0, 1)]
    assert second.totals == {"requests": 5, "datagrams": 2}
    assert second.last
    assert second.began == first.ended


def test_a_summary_of_nothing_is_told_all_the_same():
    summary = only(gathering().take(NOW + 1))
    assert (summary.number, summary.began, summary.ended) == (0, NOW, NOW + 1)
    assert not len(summary.sources)


def test_a_clock_that_is_set_back_makes_no_summary_that_monitors_refuse():
    heard = gathering()
    heard.take(NOW + 100)
    back = only(heard.take(NOW + 50))
    assert (back.began, back.ended) == (NOW + 50, NOW + 50)
    assert only(heard.take(NOW + 51)).began == NOW + 50


@pytest.mark.parametrize("wanted", [s.MOST_REQUESTS + 1, 2 * s.MOST_NAMES + 1])
def test_what_is_too_much_for_one_message_is_several(wanted):
    heard = gathering()
    names = [f"N{number}".encode() for number in range(wanted)]
    datagrams = [
        (f"10.0.0.{1 + start % 3}", 4000, b"".join(map(request, names[start : start + 50])))
        for start in range(0, len(names), 50)
    ]
    heard.ca(batch([*datagrams, beacon(5)], NOW))
    summaries = over_the_feed(heard.take(NOW + 1))
    assert len(summaries) == -(-wanted // s.MOST_NAMES) + wanted // s.MOST_REQUESTS
    assert sorted(name for each in summaries for name in each.names) == sorted(names)
    assert [each.number for each in summaries] == list(range(len(summaries)))
    assert {(each.began, each.ended) for each in summaries[:-1]} == {(NOW, NOW)}
    assert (summaries[-1].began, summaries[-1].ended) == (NOW, NOW + 1)
    assert [len(each.ca_beacons) for each in summaries[:-1]] == [0] * (len(summaries) - 1)
    assert len(summaries[-1].ca_beacons) == 1
    told, before = 0, 0
    for each in summaries:
        told += len(each.names)
        assert (
            int(each.requests["name"].astype(int).max(initial=-1)) < told
        )  # known when it is used
        requests = int(each.sources["requests"].sum())
        assert each.totals["requests"] - before == requests == int(each.requests["count"].sum())
        before = each.totals["requests"]
    assert before == wanted
    assert summaries[-1].totals["datagrams"] == len(datagrams)


def test_a_count_beyond_16_bits_is_several_rows():
    heard = gathering()
    lot = batch([request(b"A") * 50] * 1400, NOW)
    heard.ca(lot)
    assert only(heard.take(NOW)).requests["count"].tolist() == [0xFFFF, 70_000 - 0xFFFF]
    for _ in range(16):
        heard.ca(lot)  # added up in between, as there are so many
    rows = only(heard.take(NOW)).requests
    assert rows["count"].sum() == 16 * 70_000


def test_a_full_epoch_and_a_wish_begin_another():
    heard = gathering(names=10)
    heard.ca(batch([b"".join(request(b"N%d" % number) for number in range(12))], NOW))
    full = only(heard.take(NOW))
    assert (full.epoch, len(full.names)) == (0, 10)
    assert int(full.sources["requests"].sum()) == 12
    assert heard.tally.counts["requests_nameless_full"] == 2
    heard.ca(batch([request(b"N11")], NOW))
    fresh = only(heard.take(NOW))
    assert (fresh.epoch, fresh.first_name, fresh.names) == (1, 0, (b"N11",))
    heard.begin_epoch()
    heard.ca(batch([request(b"N11")], NOW))
    still = only(heard.take(NOW))  # what was heard before is told by the old numbers
    assert (still.epoch, still.names, still.requests.tolist()) == (1, (), [(0, 0, 1)])
    heard.ca(batch([request(b"N11")], NOW))
    assert (only(summary := heard.take(NOW)).epoch, summary[0].names) == (2, (b"N11",))
    assert heard.tally.counts["epochs_begun"] == 2


def test_long_names_fill_an_epoch_before_there_are_many():
    heard = gathering(names=100)
    names = [b"%d" % number + b"N" * 480 for number in range(40)]
    heard.ca(batch([request(name) for name in names], NOW))
    before = only(heard.take(NOW))
    assert 0 < len(before.names) < 40
    assert heard.tally.counts["requests_nameless_full"] == 40 - len(before.names)
    heard.ca(batch([request(names[-1])], NOW))
    assert only(heard.take(NOW)).epoch == 1


def test_too_many_new_names_in_a_second_count_for_their_source():
    heard = gathering(new_names=3)
    names = b"".join(request(b"N%d" % number) for number in range(5))
    heard.ca(batch([names], NOW))
    heard.ca(batch([names], NOW + 0.5))
    assert len(only(heard.take(NOW + 0.5)).names) == 3
    assert heard.tally.counts["requests_nameless_fast"] == 4
    heard.ca(batch([names], NOW + 1))
    summary = only(heard.take(NOW + 1))
    assert summary.names == (b"N3", b"N4")
    assert summary.epoch == 0  # the table was not full


def test_answers_of_channel_access_are_told_with_their_names():
    heard = gathering()
    asked = (CLIENT, 4000, "10.0.0.255", 5064, version() + request(b"A", 7) + request(b"B", 8))
    heard.ca(captured(asked))
    answer = (SERVER, 5064, CLIENT, 4000, version() + response(8, port=6000))
    foreign = (SERVER, 5064, CLIENT, 4001, response(8))
    heard.ca(captured(answer, answer, foreign, times=[NOW, NOW + 1, NOW + 1]))
    summary = only(heard.take(NOW + 2))
    (row,) = summary.answers
    assert summary.names[row["name"]] == b"B"
    assert (row["protocol"], row["host"], row["port"]) == (CA, address(SERVER), 6000)
    assert (row["sender"], row["time"]) == (address(SERVER), NOW + 1)
    counts = heard.tally.counts
    assert (counts["answers_heard"], counts["answers_matched"]) == (3, 2)
    assert counts["answers_unmatched"] == 1
    heard.begin_epoch()
    heard.take(NOW + 3)
    heard.ca(captured(answer))  # its request was in another epoch
    assert not len(only(heard.take(NOW + 4)).answers)


def test_answers_of_pv_access_go_where_the_search_says():
    heard = gathering()
    search = epics_pva.search([(7, b"A"), (8, b"B")], port=4100)
    heard.pva(captured((CLIENT, 4000, "10.0.0.255", 5076, search)))
    good = epics_pva.response([8], port=5075)
    none = epics_pva.response([7], found=False)
    to = (CLIENT, 4100)
    heard.pva(captured((SERVER, 5076, *to, good), (SERVER, 5076, *to, none)))
    summary = only(heard.take(NOW))
    (row,) = summary.answers
    assert summary.names[row["name"]] == b"B"
    assert (row["protocol"], row["guid"].tobytes()) == (PVA, b"g" * 12)
    assert summary.sources.tolist() == [(address(CLIENT), 4100, 1, 2)]
    assert heard.tally.counts["answers_denied"] == 1


def test_what_came_just_before_the_last_summary_is_as_old_as_that():
    heard = gathering()
    heard.beacons(captured((SERVER, 5064, "10.0.0.255", 5065, beacon(3)), times=[NOW - 1]))
    heard.heartbeats(batch([BEAT], NOW - 1))
    summary = only(heard.take(NOW + 1))
    assert summary.ca_beacons["time"].tolist() == [NOW]
    assert [beat.time for beat in summary.beats] == [NOW]


def test_beacons_and_heartbeats_are_told_one_by_one_while_there_is_room():
    heard = gathering(rows=2)
    heard.beacons(
        captured((SERVER, 5064, "10.0.0.255", 5065, beacon(3, port=0)), times=[NOW + 0.2])
    )
    heard.beacons(batch([beacon(4), beacon(5)], NOW))
    heard.pva(batch([epics_pva.beacon(1, 2)], NOW))
    heard.heartbeats(batch([BEAT, b"x", BEAT, BEAT, BEAT], NOW))
    summary = only(heard.take(NOW))
    assert summary.ca_beacons[["time", "sender", "id", "port"]].tolist() == [
        (NOW + 0.2, address(SERVER), 3, 5064),
        (NOW, address(CLIENT), 4, 5064),
    ]
    (row,) = summary.pva_beacons
    assert (row["sequence"], row["changes"], row["host"]) == (1, 2, 0)
    assert [each.datagram for each in summary.beats] == [BEAT, BEAT]
    counts = heard.tally.counts
    assert (counts["beacons_gathered"], counts["beacons_not_told"]) == (3, 1)
    assert (counts["heartbeat_not_json"], counts["heartbeats_not_told"]) == (1, 2)
    assert heard.faults["heartbeat_not_json"] == f"{CLIENT}:40000: 78"


def test_heartbeats_have_a_limit_in_bytes():
    heard = gathering(heartbeat_bytes=len(BEAT))
    heard.heartbeats(batch([BEAT, BEAT], NOW))
    assert len(only(heard.take(NOW)).beats) == 1
    heard.heartbeats(batch([BEAT], NOW))
    assert len(only(heard.take(NOW)).beats) == 1


def test_own_searches_are_left_out():
    heard = gathering()
    heard.own = keys_of(np.array([address(CLIENT)], np.uint32), np.array([40000], np.uint16))
    other = ("10.0.0.9", 40000, request(b"B"))
    heard.ca(batch([request(b"A"), other, request(b"A")], NOW))
    heard.ca(batch([request(b"A")], NOW))
    summary = only(heard.take(NOW))
    assert summary.names == (b"B",)
    assert summary.totals == {"requests": 1, "datagrams": 1}
    assert heard.tally.counts["requests_own"] == 3


def test_what_a_repeater_passes_on_was_heard_before():
    heard = gathering()
    sent = (SERVER, 5064, "10.0.0.255", 5065, beacon(3))
    relayed = ("127.0.0.1", 5065, "127.0.0.1", 40000, beacon(3, host=address(SERVER)))
    heard.beacons(captured(sent, relayed))
    (row,) = only(heard.take(NOW)).ca_beacons
    assert row["sender"] == address(SERVER)
    assert heard.tally.counts["beacons_relayed"] == 1
    heard.beacons(batch([beacon(4)], NOW))  # a socket tells no destination
    assert len(only(heard.take(NOW)).ca_beacons) == 1


def test_what_a_server_of_pv_access_passes_on_was_captured_before():
    search = epics_pva.search([(7, b"A")], port=4000)
    again = epics_pva.origin(SERVER) + epics_pva.search([(7, b"A")], host=CLIENT, port=4000)
    heard = gathering()
    heard.pva(
        captured((CLIENT, 4000, SERVER, 5076, search), (SERVER, 5076, "224.0.0.128", 5076, again))
    )
    summary = only(heard.take(NOW))
    assert summary.sources.tolist() == [(address(CLIENT), 4000, 1, 1)]
    assert heard.tally.counts["requests_relayed"] == 1
    heard.pva(batch([(SERVER, 5076, again)], NOW))  # by a socket, which may not get the first one
    assert only(heard.take(NOW)).sources.tolist() == [(address(CLIENT), 4000, 1, 1)]


def test_findings_wait_for_room_up_to_a_limit():
    heard = gathering(findings=s.MOST_ROWS + 1)
    found = s.Found(CA, b"A", (), 3, NOW, NOW)
    heard.found([found] * (s.MOST_ROWS + 3))
    heard.told([s.AnswerPart("names", 1, 2, ("A",), NOW)])
    assert len(only(heard.take(NOW)).found) == s.MOST_ROWS
    assert heard.tally.counts["findings_not_told"] == 2
    later = only(heard.take(NOW))
    assert (len(later.found), len(later.told)) == (1, 0)


def test_what_applications_told_waits_if_it_would_make_a_message_too_large():
    heard = gathering()
    told = s.AnswerPart("names", 1, 2, ("A" * s.MOST_TEXT,), NOW)
    heard.told([told, told, told])
    assert [len(only(heard.take(NOW)).told) for _ in range(4)] == [1, 1, 1, 0]


@pytest.mark.parametrize("name", ["names", "new_names", "sources", "pairs", "rows", "findings"])
def test_limits_must_be_possible(name):
    with pytest.raises(ConfigError, match=name):
        GatheringSettings(**{name: 0})
    with pytest.raises(ConfigError, match=name):
        GatheringSettings(**{name: 1 << 40})
