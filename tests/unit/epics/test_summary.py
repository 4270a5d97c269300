"""Messages of gateways: what is encoded comes back, and nothing else is taken."""

import json

import cbor2
import numpy as np
import pytest

from socs.epics import summary as s
from socs.errors import Malformed


def full():
    requests = np.array([(5, 1, 2), (6, 0, 65_535)], s.REQUESTS)
    sources = np.array([(1, 2, 3, 65_535), (4, 5, 6, 2)], s.SOURCES)
    answers = np.zeros(1, s.ANSWERS)
    answers["protocol"], answers["guid"] = 1, b"123456789012"
    return s.Summary(
        "gw1", "b00t", 3, 1, 10.0, 10.5, ("10.1.0.0/16",), True, 5, (b"A:B", b"C\xff\0D"),
        requests, sources, answers,
        np.array([(10.2, 1, 2, 3, 4, 5)], s.CA_BEACONS),
        np.array([(10.2, 1, 2, 3, 4, 5, b"123456789012")], s.PVA_BEACONS),
        (s.Beat("json", 10.1, 1, 2, b"{}"),),
        (s.Found(1, b"A:B", ((1, 2, 3, b""),), 2, 9.0, 10.0), s.Found(2, b"X", (), 3, 9.0, 10.0)),
        (s.AnswerPart("names", 1, 2, ("A", "B"), 10.0, 5064, "cut", 7, 9, 1),),
        {"requests": 65_537, "datagrams": 9},
        {"received": 9},
    )  # fmt: skip


def same(one, other):
    for each in vars(one):
        mine, theirs = getattr(one, each), getattr(other, each)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert mine.tobytes() == theirs.tobytes()
        else:
            assert mine == theirs, each


@pytest.mark.parametrize("summary", [full(), s.Summary("g", "b", 0, 0, 1.0, 1.0)])
def test_all_comes_back_as_a_router_hands_it_on(summary):
    same(s.decode(cbor2.loads(cbor2.dumps(s.encode(summary)))), summary)
    same(s.decode(json.loads(json.dumps(s.encode(summary)))), summary)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"more": 1},
        {"number": -1},
        {"networks": ["10.1.0.0/16", "elsewhere"]},
        {"networks": ["10.1.0.1/16"]},
        {"networks": ["10.1.0.0/16"] * (s.MOST_NETWORKS + 1)},
        {"ended": 1.0},
        {"ended": float("inf")},
        {"ended": 2.0**70},
        {"ended": 1e11},
        {"began": float("-inf")},
        {"beats": [["json", float("nan"), 2, 3, b""]]},
        {"beats": [["json", 1.0, 1 << 32, 3, b""]]},
        {"beats": [["json", 1.0, -1, 3, b""]]},
        {"beats": [["json", 1.0, 2, 1 << 16, b""]]},
        {"ca_beacons": np.array([(np.nan, 1, 2, 3, 4, 5)], s.CA_BEACONS).tobytes()},
        {"found": [[1, b"A", [[1, 2, 1 << 70, b""]], 1, 1.0, 1.0]]},
        {"found": [[1, b"A", [[1, -2, 3, b""]], 1, 1.0, 1.0]]},
        {"found": [[1, b"A", [], 1, float("nan"), 1.0]]},
        {"found": [[0, b"A", [], 1, 1.0, 1.0]]},
        {"found": [[3, b"A", [], 1, 1.0, 1.0]]},
        {"answers": np.zeros(1, s.ANSWERS).tobytes()},
        {"told": [["names", 1 << 32, 2, ["A"], 10.0, 5064]]},
        {"told": [["names", 1, 2, ["A"], -1e300, 5064]]},
        {"requests": b"1"},
        {"sources": b""},
        {"told": [["names", 1, 2, ["A"], 10.0, 65_536]]},
        {"told": [["names", 1, 2, ["A"], 10.0, 5064, "", -1]]},
        {"told": [["words", 1, 2, ["A"], 10.0]]},
        {"requests": np.array([(5, 1, 0)], s.REQUESTS).tobytes()},
        {"names": b"A:B"},
        {"lengths": np.array([600], "<u2").tobytes(), "names": bytes(600)},
        {"names": bytes(9000), "lengths": np.ones(9000, "<u2").tobytes()},
        {"requests": bytes(8 * (s.MOST_REQUESTS + 1))},
        {"beats": [["json", 1.0, 2, 3]]},
        {"found": [[1, b"A", [[1, 2, 3, b""]] * 17, 1, 1.0, 1.0]]},
        {"totals": {}},
        {"totals": {"requests": -1, "datagrams": 1}},
        {"left_out": ["smells"]},
        {"gateway": 3},
        {"boot": None},
    ],
)
def test_anything_else_is_malformed(change):
    with pytest.raises(Malformed) as caught:
        s.decode({**s.encode(full()), **change})
    assert caught.value.cause == "summaries_malformed"


@pytest.mark.parametrize("message", [None, [], {}, {"version": 1}, b"", "text", 7])
def test_other_things_are_malformed(message):
    with pytest.raises(Malformed):
        s.decode(message)
