"""Whatever is asked and answered: no flood, each conversation ends once, and nothing grows."""

import json
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from socs.counters import EPICS_ASKING, EPICS_ASKING_CONSERVATION, imbalances
from socs.epics.applications.asking import Asking, AskingSettings
from socs.epics.applications.conversations import ENDINGS
from socs.epics.decode.heartbeat import LAST_LINE
from socs.epics.search.limiter import MOST_PER_SECOND
from socs.sim.heartbeat_app import REQUEST
from tests.epics_mutation import mutated

NAMES = {each.name for each in EPICS_ASKING}
texts = st.text(max_size=8) | st.sampled_from(["A", LAST_LINE, "build: 1", "x" * 600])
values = st.none() | st.booleans() | st.integers(-5, 1 << 70) | texts | st.lists(texts, max_size=12)
answers = st.dictionaries(st.sampled_from(("pvs", "total", "offset", "l", "b", "o")), values)
acts = st.lists(
    st.tuples(
        st.sampled_from(
            ("names", "lines", "due", "due", "answer", "answer", "junk", "tick", "heard")
        ),
        st.floats(0.0, 4.0) | st.just(100.0),
        st.integers(1, 4),
        answers,
        st.binary(max_size=20),
    ),
    max_size=60,
)


@given(acts, st.floats(0.1, MOST_PER_SECOND), st.integers(1, 10), st.integers(1, 3), st.booleans())
@settings(deadline=None)
def test_any_use_of_it_keeps_the_limits_and_each_conversation_ends_once(
    what_happens, rate, burst, at_once, enabled
):
    kept = {"most_names": 7, "most_lines": 5}
    chosen = AskingSettings(enabled, rate, burst, at_once, attempts=2, longest=20.0, **kept)
    rnd = random.Random(1)
    core = Asking(chosen, lambda: rnd.getrandbits(32))
    now, sent, under_way, begun, ended = 0.0, [], {}, Counter(), Counter()
    totals = Counter()
    for act, step, number, answer, junk in what_happens:
        now += step
        if act == "names":
            begun["names", number] += core.ask_names(number, number, 1)
        elif act == "lines":
            begun["lines", number] += core.ask_netstat(number, number, 1, now)
        elif act == "due":
            for request in core.due(now):
                sent.append(now)
                under_way[request.host, request.what] = REQUEST.unpack(request.datagram)[3]
            assert len(core._running) <= at_once
        elif act == "answer" and under_way:
            (host, kind), handle = rnd.choice(sorted(under_way.items()))
            key = "handle" if kind == "names" else "h"
            core.feed(json.dumps(answer | {key: handle}).encode(), host, host)
        elif act == "junk":
            core.feed(junk, number, number)
        elif act == "heard":
            core.heard(number, number, int(step))
        else:
            for told in core.tick(now):
                ended[told.what, told.host] += 1
                assert told.ending in ENDINGS
                assert len(told.texts) <= (7 if told.what == "names" else 5)
        assert core.wait(now) >= 0.0
        totals.update(core.tally.counts)
        core.tally.counts.clear()
        assert all(ended[each] <= begun[each] for each in ended)
        assert len(core) + sum(ended.values()) + len(core._told) == sum(begun.values())
        assert set(core._ready) <= set(core._running.values()) <= set(core._open.values())
    assert set(totals) <= NAMES
    values = dict.fromkeys(NAMES, 0) | totals
    missing = imbalances(values, EPICS_ASKING_CONSERVATION)
    assert missing == ({"asking_asked": len(core)} if len(core) else {})
    for first, time in enumerate(sent):
        within = [each for each in sent[first:] if each < time + 1.0]
        assert len(within) <= burst + rate + 1e-6
    assert enabled or not sent


def test_spoilt_answers_of_real_shape_are_taken_or_counted():
    rnd = random.Random(2)
    handles = iter(range(1 << 30))
    chosen = AskingSettings(True, 100, 100, timeout=1.0, first_line_timeout=1.0, lines_every=0.0)
    core = Asking(chosen, lambda: next(handles))
    now, told, fed = 0.0, 0, 0
    for _ in range(3000):
        now += 0.5
        core.ask_names(1, 1, 1)
        core.ask_netstat(1, 1, 1, now)
        for request in core.due(now):
            handle = REQUEST.unpack(request.datagram)[3]
            names = {"handle": str(handle), "offset": "0", "pvs": ["A", "B"], "total": "30"}
            line = {"h": str(handle), "o": "0", "b": "1", "l": rnd.choice(["x", LAST_LINE])}
            good = json.dumps(names if request.what == "names" else line).encode()
            core.feed(good if rnd.random() < 0.5 else mutated(rnd, [good]), 1, 1)
            fed += 1
        told += len(core.tick(now))
    counts = core.tally.counts
    assert told > 20
    assert counts["asking_datagrams"] == fed
    assert min(counts[f"asking_{each}"] for each in ("answers", "unreadable", "cut")) > 20
