"""What is told of findings, and what the tree of the archive tells."""

import json
from datetime import datetime

import pytest

from socs.archive.audited import Audited
from socs.archive.findings import EXAMPLES, KINDS, Finding, Findings, as_written
from socs.archive.tree import described, utc
from socs.archive.verify import Verified


@pytest.mark.parametrize("result", [Audited, Verified])
@pytest.mark.parametrize("path", ["/a", "/" + "ü" * 1023, "/" + "\x01" * 1023])
def test_results_are_fit_for_session_data(result, path: str) -> None:
    handed: list[Finding] = []
    findings = Findings(handed.append)
    for number in range(100):
        for kind in KINDS:
            findings.add(Finding(kind, path, file_id=number, size=2**40, detail="d" * 200))
    told = result(findings=findings).as_dict()
    assert len(json.dumps(told, ensure_ascii=False).encode()) < 30_000
    assert told["counts"] == dict.fromkeys(KINDS, 100)
    assert len(handed) == len(findings) == 100 * len(KINDS)
    for kind in KINDS:
        shown = told["findings"][kind]
        assert [found["file_id"] for found in shown] == list(range(len(shown)))
        assert len(shown) <= EXAMPLES
        assert shown or len(path) > 1


def test_few_findings_are_all_shown() -> None:
    findings = Findings()
    for number in range(EXAMPLES):
        findings.add(Finding("dark", f"/archive/17000/p/1700000000_a/outputs/{number}"))
    assert len(Audited(findings=findings).as_dict()["findings"]["dark"]) == EXAMPLES
    assert findings.summary() == f"{EXAMPLES} dark"
    assert Findings().summary() == "nothing amiss"


def test_what_was_done_is_not_advised_again() -> None:
    findings = Findings()
    findings.add(Finding("lost", "/a", done="will be copied again"))
    findings.add(Finding("altered", "/b", done="not repaired: where it was written is unknown"))
    findings.add(Finding("altered", "/c"))
    lost, altered = findings.advice()
    assert lost == f"lost: {KINDS['lost'][0]} -> `done` tells of each what was done"
    assert altered == f"altered: {KINDS['altered'][0]} -> {KINDS['altered'][1]}"


def test_names_that_are_not_utf8_can_be_written() -> None:
    path = b"/a/caf\xe9".decode("utf-8", "surrogateescape")
    assert as_written(path) == "/a/caf\\udce9"
    assert as_written("/a/café") == "/a/café"


@pytest.mark.parametrize(
    ("relative", "told"),
    [
        (
            "17000/p/1700000000_take_iv/outputs/x",
            {"pub_id": "p", "action": "take_iv", "action_timestamp": 1700000000, "plot": False},
        ),
        (
            "17000/p/1700000000_a_b c/plots/x",
            {"pub_id": "p", "action": "a_b c", "action_timestamp": 1700000000, "plot": True},
        ),
        (
            "17000/unknown/1700000000_unknown/outputs/x",
            {"pub_id": None, "action": None, "action_timestamp": 1700000000, "plot": False},
        ),
        ("17000/p/a/outputs/x", {"pub_id": "p", "plot": False}),
        ("17000/p/99999999999999999999_a/plots/x", {"pub_id": "p", "plot": True}),
        ("17000/stream/1700000000_000.g3", {"action": "timestreams", "plot": False}),
        ("17000/x", {"plot": False}),
        ("17000/p/1_a/outputs/deeper/x", {"plot": False}),
    ],
)
def test_the_tree_tells_columns(relative: str, told: dict) -> None:
    assert described(relative) == told


def test_times_that_the_table_has_no_room_for() -> None:
    assert utc(1.5e9) == datetime(2017, 7, 14, 2, 40)
    assert utc(-1.0) is None
    assert utc(1e18) is None
    assert utc(float("nan")) is None
