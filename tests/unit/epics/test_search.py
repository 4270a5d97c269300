"""Searches by simulated time: what is sent, what is matched, what comes of it."""

import numpy as np
import pytest

from socs.epics.decode import ca, pva
from socs.epics.networks import Networks
from socs.epics.search.messages import CA_BYTES, PVA_BYTES, CaFormat, PvaFormat
from socs.epics.search.searcher import (
    MOST_SERVERS,
    Outcome,
    Priority,
    Searcher,
    SearchSettings,
    Server,
)
from socs.errors import ConfigError
from tests import epics_packets, epics_pva
from tests.epics_packets import SERVER, address, batch

ON = SearchSettings(enabled=True, datagrams_per_second=10, burst=5, timeout=1.0, attempts=2)
HERE = address(SERVER)


def searcher(settings=ON, form=None, **given):
    return Searcher(settings, form or CaFormat(), **given)


def names_in(datagram):
    """(number of the channel, name) of all requests; the datagram has nothing else wrong."""
    found = ca.decode(batch([datagram]))
    assert found.tally.examples == {}
    return [(int(row["cid"]), found.name(row)) for row in found.requests]


def answer(cid, host=SERVER, port=5064):
    return ca.decode(batch([(host, 5064, epics_packets.response(cid, port=port))]))


def pva_names_in(datagram):
    found = pva.decode(batch([datagram]))
    assert found.tally.examples == {}
    assert len(found.searches) == 1
    assert not found.searches["reply"][0]
    assert found.searches["port"][0] == 4711
    return [(int(row["id"]), found.name(row)) for row in found.requests]


# -- what is written ------------------------------------------------------------------------------


def test_ca_requests_are_as_libca_writes_them():
    datagram = CaFormat.datagram(7, 0, [(1, b"AB"), (2, b"12345678")])
    assert datagram == (
        epics_packets.version(7)
        + epics_packets.request(b"AB", 1)
        + epics_packets.request(b"12345678", 2)
    )
    for name in (b"a", b"1234567", b"12345678", b"x" * 500):
        assert len(CaFormat.datagram(1, 0, [(1, name)])) == 16 + CaFormat.size(name)


def test_pva_requests_are_as_pvxs_reads_them():
    datagram = PvaFormat.datagram(7, 4711, [(1, b"AB"), (2, b"x" * 300)])
    assert datagram == epics_pva.search([(1, b"AB"), (2, b"x" * 300)], 7, port=4711)
    for name in (b"a", b"x" * 253, b"x" * 254, b"x" * 500):
        size = len(PvaFormat.datagram(1, 1, [(1, name)]))
        assert size == PVA_BYTES - PvaFormat.room + PvaFormat.size(name)


# -- the way of a name ----------------------------------------------------------------------------


def test_a_name_is_found():
    core = searcher()
    assert core.ask([b"A", b"B"], Priority.POLL) == 2
    (datagram,) = core.due(10.0)
    (one, two) = names_in(datagram)
    assert (one[1], two[1]) == (b"A", b"B")
    core.feed_ca(answer(one[0]))
    assert core.tick(10.9) == []  # there may be another server
    core.feed_ca(answer(one[0], "10.0.0.3", 5000))
    core.feed_ca(answer(one[0]))
    servers = (Server(HERE, 5064), Server(address("10.0.0.3"), 5000))
    assert core.tick(11.0) == [Outcome(b"A", servers, 1, Priority.POLL)]
    assert len(core) == 1
    ((_, name),) = names_in(core.due(11.0)[0])
    assert name == b"B"
    assert core.tick(11.9) == []
    assert core.tick(12.0) == [Outcome(b"B", (), 2, Priority.POLL)]
    assert len(core) == 0
    assert core.due(20.0) == []
    assert core.wait(20.0) == float("inf")
    assert core.tally.counts == {
        "search_asked": 2,
        "search_requests": 3,
        "search_datagrams": 2,
        "search_answers": 3,
        "search_found": 1,
        "search_not_found": 1,
    }


def test_a_name_of_pv_access_is_found_by_its_guid():
    core = searcher(form=PvaFormat(), port=4711)
    core.ask([b"A", b"B"], Priority.PAGE)
    (one, two) = pva_names_in(core.due(0.0)[0])
    core.feed_pva(
        pva.decode(
            batch(
                [
                    (SERVER, 5076, epics_pva.response([one[0]], guid=b"1" * 12)),
                    (SERVER, 5076, epics_pva.response([one[0]], guid=b"2" * 12)),
                    (SERVER, 5076, epics_pva.response([two[0]], found=False)),
                ]
            )
        )
    )
    servers = tuple(Server(HERE, 5075, guid * 12) for guid in (b"1", b"2"))
    assert core.tick(1.0) == [Outcome(b"A", servers, 1, Priority.PAGE)]
    assert core.tally.counts["search_denied"] == 1


def test_what_was_not_asked_came_too_late_or_from_elsewhere_is_not_believed():
    core = searcher(admit=Networks(["10.0.0.2"]), first=2**32 - 1)
    core.ask([b"A", b"B"], Priority.POLL)
    one, two = (cid for cid, _ in names_in(core.due(0.0)[0]))
    assert (one, two) == (2**32 - 1, 0)
    core.feed_ca(answer(one, "10.0.0.3"))
    core.feed_ca(answer(5))
    core.feed_ca(answer(two))
    assert core.tick(1.0) == [Outcome(b"B", (Server(HERE, 5064),), 1, Priority.POLL)]
    core.feed_ca(answer(one))
    core.feed_ca(answer(two))
    assert core.tally.counts["search_foreign"] == 1
    assert core.tally.counts["search_stray"] == 3


def test_forged_servers_of_a_name_are_bounded():
    core = searcher()
    core.ask([b"A"], Priority.POLL)
    ((cid, _),) = names_in(core.due(0.0)[0])
    for port in range(1, 100):
        core.feed_ca(answer(cid, port=port))
    assert len(core.tick(1.0)[0].servers) == MOST_SERVERS


def test_what_is_looked_at_goes_first_and_each_name_once():
    core = searcher(SearchSettings(enabled=True, datagrams_per_second=1, burst=1))
    polled = [b"POLL:%03d" % n for n in range(100)]
    assert core.ask(polled, Priority.POLL) == 100
    assert core.ask([b"BEACON", polled[99]], Priority.BEACON) == 1
    assert core.ask([b"PAGE", b"PAGE", polled[98]], Priority.PAGE) == 1
    assert core.ask([polled[99]], Priority.POLL) == 0  # it does not move down
    sent = []
    for second in range(10):
        sent += [name for datagram in core.due(second) for _, name in names_in(datagram)]
    assert sent[:4] == [b"PAGE", polled[98], b"BEACON", polled[99]]
    assert sent[4:] == polled[:98]
    assert core.tally.counts["search_merged"] == 4


def test_datagrams_are_filled_but_not_beyond_their_limit():
    for form, limit, read in (
        (CaFormat(), CA_BYTES, names_in),
        (PvaFormat(), PVA_BYTES, pva_names_in),
    ):
        core = searcher(SearchSettings(True, 100, 100), form, port=4711)
        names = [(b"%d:" % n).ljust(n % 61 + 4, b"x") for n in range(150)]
        core.ask(names, Priority.POLL)
        datagrams = core.due(0.0)
        assert [name for each in datagrams for _, name in read(each)] == names
        assert max(map(len, datagrams)) <= limit
        assert min(map(len, datagrams[:-1])) > limit - 90


def test_off_is_the_default_and_nothing_is_sent():
    core = searcher(SearchSettings())
    assert core.ask([b"A"], Priority.PAGE) == 0
    assert core.due(0.0) == []
    assert core.tally.counts == {"search_refused_off": 1}


def test_what_can_be_no_name_or_is_too_much_is_refused():
    core = searcher(SearchSettings(enabled=True, most_waiting=2))
    assert core.ask([b"", b"x" * 501, b"a\0b", b"A", b"B", b"C"], Priority.POLL) == 2
    assert core.tally.counts == {
        "search_refused_name": 3,
        "search_refused_full": 1,
        "search_asked": 2,
    }


def test_it_says_when_there_is_something_to_do():
    core = searcher(SearchSettings(enabled=True, datagrams_per_second=2, burst=1, timeout=5.0))
    core.ask([b"x" * 490 + b"%d" % n for n in range(2)], Priority.POLL)
    assert core.wait(0.0) == 0.0
    assert len(core.due(0.0)) == 1
    assert core.wait(0.1) == pytest.approx(0.4)
    assert core.due(0.4) == []
    assert len(core.due(0.5)) == 1
    assert core.wait(0.5) == pytest.approx(4.5)
    core.tick(5.0)
    assert core.wait(5.0) == 0.0


def test_what_could_not_be_sent_was_no_attempt():
    core = searcher()  # two attempts
    core.ask([b"A"], Priority.POLL)
    outcomes, now = [], 0.0
    for sent in (False, True, False, False, True):
        (datagram,) = core.due(now)
        if not sent:
            core.unsent(datagram)
        assert outcomes == []
        now += 1.0
        outcomes = core.tick(now)
    assert outcomes == [Outcome(b"A", (), 2, Priority.POLL)]
    core.unsent(b"something else")


def test_each_destination_costs():
    core = searcher(SearchSettings(enabled=True, datagrams_per_second=2, burst=4), destinations=2)
    core.ask([b"x" * 490 + b"%d" % n for n in range(20)], Priority.POLL)
    assert len(core.due(0.0)) == 2
    assert len(core.due(1.0)) == 1
    assert core.tally.counts["search_datagrams"] == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"datagrams_per_second": 101}, "datagrams_per_second: 101 is not above 0 and at most 100"),
        ({"datagrams_per_second": 0}, "datagrams_per_second"),
        ({"datagrams_per_second": float("nan")}, "datagrams_per_second"),
        ({"burst": 0}, "burst: 0 is not from 1 to 100"),
        ({"burst": 101}, "burst"),
        ({"timeout": 0.0}, "timeout: 0.0 is not above 0"),
        ({"attempts": 0}, "attempts"),
    ],
)
def test_settings_that_are_not_possible(given, message):
    with pytest.raises(ConfigError, match=message):
        SearchSettings(**given)


def test_more_destinations_than_can_be_reached_at_once():
    with pytest.raises(ConfigError, match="burst: 5 does not reach 6 destinations"):
        searcher(destinations=6)
    with pytest.raises(ConfigError, match="0 destinations"):
        searcher(destinations=0)


def test_answers_of_many_are_matched():
    core = searcher(SearchSettings(enabled=True, datagrams_per_second=100, burst=100))
    names = [b"NAME:%05d" % n for n in range(2000)]
    core.ask(names, Priority.POLL)
    cids = [pair for datagram in core.due(0.0) for pair in names_in(datagram)]
    assert [name for _, name in cids] == names
    packets = [(SERVER, 5064, epics_packets.response(cid, port=5000 + cid % 7)) for cid, _ in cids]
    np.random.default_rng(1).shuffle(order := np.arange(len(packets)))
    core.feed_ca(ca.decode(batch([packets[n] for n in order])))
    found = {outcome.name: outcome.servers for outcome in core.tick(1.0)}
    assert found == {name: (Server(HERE, 5000 + cid % 7),) for cid, name in cids}
