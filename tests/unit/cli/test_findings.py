"""Printing findings."""

import io
import json

from socs.cli.findings import fail, failed, ok, print_findings, warn

FOUND = [ok("a", "well"), warn("b", "so so [red]\x1b[31m", "change b"), fail("c", "bad", "mend c")]


def test_text_has_level_subject_and_remedy_and_no_live_escapes():
    out = io.StringIO()
    print_findings(FOUND, as_json=False, out=out)
    assert out.getvalue().splitlines() == [
        "OK    a: well",
        r"WARN  b: so so [red]\x1b[31m",
        "      -> change b",
        "FAIL  c: bad",
        "      -> mend c",
        "1 OK, 1 WARN, 1 FAIL",
    ]


def test_json_is_one_object():
    out = io.StringIO()
    print_findings(FOUND, as_json=True, out=out)
    found = json.loads(out.getvalue())
    assert found["failed"] is True
    assert found["counts"] == {"OK": 1, "WARN": 1, "FAIL": 1}
    assert found["findings"][2] == {
        "level": "FAIL",
        "subject": "c",
        "text": "bad",
        "remedy": "mend c",
    }


def test_only_a_fail_fails():
    assert failed(FOUND)
    assert not failed(FOUND[:2])
