"""Whatever is asked, answered and configured: no flood, nothing forgotten, nothing twice."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from socs.epics.decode import ca
from socs.epics.search.limiter import MOST_PER_SECOND, WINDOW, Limiter
from socs.epics.search.messages import CA_BYTES, PVA_BYTES, CaFormat, PvaFormat
from socs.epics.search.searcher import Priority, Searcher, SearchSettings
from tests import epics_packets
from tests.epics_packets import SERVER, batch

rates = st.floats(0.01, MOST_PER_SECOND)
bursts = st.integers(1, MOST_PER_SECOND)
steps = st.floats(-100.0, 100.0) | st.floats(0.0, 0.1) | st.sampled_from((1e9, -1e9, 0.0, 1.0))


@given(rates, bursts, st.lists(st.tuples(steps, st.integers(1, 120)), max_size=100))
def test_no_second_has_more_datagrams_than_the_cap_and_no_time_more_than_its_rate(
    rate, burst, asked
):
    limiter = Limiter(rate, burst)
    now, latest, sent = 0.0, float("-inf"), []
    for step, count in asked:
        now += step
        latest = max(latest, now)  # time that goes backwards stands still
        while limiter.take(count, now):
            sent += [latest] * count
            assert len(sent) <= 100_000
    for first, time in enumerate(sent):
        within = [each for each in sent[first:] if each < time + WINDOW]
        assert len(within) <= MOST_PER_SECOND
        assert len(within) <= burst + rate * WINDOW + 1e-6


@given(
    rates,
    bursts,
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.sampled_from(("ask", "due", "tick", "answer", "junk")),
            st.floats(0.0, 3.0) | st.just(1e6),
            st.integers(0, 400),
            st.sampled_from(list(Priority)),
        ),
        max_size=60,
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_any_use_of_it_sends_no_more_than_the_cap_and_each_name_has_one_outcome(
    rate, burst, destinations, acts, enabled
):
    chosen = SearchSettings(enabled, rate, burst, timeout=1.0, attempts=2)
    destinations = min(destinations, burst)
    core = Searcher(chosen, CaFormat(), destinations)
    now, sent, open_names, outcomes, cids = 0.0, [], set(), Counter(), []
    for act, step, number, priority in acts:
        now += step
        if act == "ask":
            names = {b"N%d" % (number + n) for n in range(number % 50)}
            assert core.ask(names, priority) == len(names - open_names if enabled else ())
            open_names |= names if enabled else set()
        elif act == "due":
            for datagram in core.due(now):
                assert len(datagram) <= CA_BYTES
                sent += [now] * destinations
                cids += ca.decode(batch([datagram])).requests["cid"].tolist()
        elif act == "answer" and cids:
            packet = epics_packets.response(cids[number % len(cids)])
            core.feed_ca(ca.decode(batch([(SERVER, 5064, packet)])))
        elif act == "junk":
            core.feed_ca(ca.decode(batch([epics_packets.response(number)])))
        else:
            for outcome in core.tick(now):
                open_names.remove(outcome.name)  # only what is open, and each once
                outcomes[outcome.name] += 1
        assert len(core) == len(open_names)
        assert core.wait(now) >= 0
    for time in sent:
        assert sum(time - WINDOW < each <= time for each in sent) <= MOST_PER_SECOND
    assert enabled or not sent
    for _ in range(100_000):
        if not open_names:
            break
        now += max(core.wait(now), 1e-3)
        core.due(now)
        for outcome in core.tick(now):
            open_names.remove(outcome.name)
            outcomes[outcome.name] += 1
    assert not open_names
    counted = core.tally.counts
    assert counted.get("search_asked", 0) == outcomes.total()
    assert outcomes.total() == counted.get("search_found", 0) + counted.get("search_not_found", 0)


@given(st.lists(st.binary(min_size=1, max_size=500), max_size=40))
def test_any_names_fit_their_datagrams(names):
    chosen = SearchSettings(True, MOST_PER_SECOND, MOST_PER_SECOND)
    for form, limit in ((CaFormat(), CA_BYTES), (PvaFormat(), PVA_BYTES)):
        core = Searcher(chosen, form)
        core.ask(names, Priority.POLL)
        assert all(len(datagram) <= limit for datagram in core.due(0.0))
