"""Lines of files: what is written reads back as what was sampled; the peer's are mended."""

import json

import msgspec
import pytest

from socs.errors import Malformed
from socs.tango.decode import decode
from socs.tango.events import event
from socs.tango.lines import event_line, poll_line, read_line, ska_line
from socs.tango.names import parse_event
from socs.tango.report import Report, told_by_count
from socs.tango.server import Sample
from socs.tango.track import EventTracker
from tests.tango_session import followed, polls

UTC = 1_800_000_000.0
EMPTY = b'{"version":1,"server":null,"client":null}'


def written(make) -> list[bytes]:
    return [make(asked, UTC + asked[0].begun) for _, asked in polls()]


def ours(asked, utc):
    return poll_line(asked, utc, UTC, {"samples_ok": 1})


def as_peer(line: bytes) -> bytes:
    """What ska-tango-event-monitor would have written."""
    row = json.loads(line)
    parts = []
    for name, reply in row["replies"].items():
        value = (
            f'{{"data":{json.dumps(reply["data"])}}}'
            if "data" in reply
            else f'{{"error":"{reply["error"]}"}}'
        )
        parts.append(f'"{name}":{value}')
    return f'{{"time":"{row["time"][:-6]}", "replies":{{{",".join(parts)}'.encode()


def report_of(lines) -> Report:
    report = Report(course=True)
    report.feed_all(lines)
    return report


@pytest.fixture(scope="module")
def tracker():
    """Has followed the run itself."""
    made = EventTracker()
    for _, asked in polls():
        followed(made, asked)
    return made


def losses(tracker):
    rows = tracker.reconciliation(100)
    columns = "stream", "subscriber", "published", "received", "lost", "missed"
    return sorted(tuple(row[name] for name in columns) for row in rows)


@pytest.mark.parametrize(
    "lines",
    [written(ours), written(ska_line), [as_peer(line) for line in written(ska_line)]],
    ids=["ours", "theirs", "their broken ones"],
)
def test_a_report_tells_what_the_run_was(lines, tracker):
    report = report_of(lines)
    head = report.head()
    assert (head["polls"], head["unreadable"], head["out_of_order"]) == (len(lines), 0, 0)
    assert losses(report.tracker) == losses(tracker)
    counts = {row["event"]: row["count"] for row in told_by_count(report.events)}
    assert (counts["restarted"], counts["dead"]) == (2, 2)


def test_only_broken_lines_count_as_mended():
    good = written(ska_line)
    assert report_of(good).mended == 0
    broken = [as_peer(line) for line in good]
    assert all(not _is_json(line) for line in broken)
    assert report_of(broken).mended == len(broken)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_ours_read_back_exactly():
    for _, asked in polls():
        found = read_line(ours(asked, UTC + asked[0].begun))
        assert found is not None
        assert found.time == pytest.approx(UTC + asked[0].begun, abs=1e-6)
        samples = sorted(found.samples, key=lambda sample: sample.ended)
        for sample, each in zip(samples, asked, strict=True):
            assert sample.snapshot == each.snapshot
            for name in ("server", "outcome", "reason", "identity"):
                assert getattr(sample, name) == getattr(each, name)
            assert sample.ended - UTC == pytest.approx(each.ended, abs=1e-5)


def test_statistics_of_times_are_those_of_the_run(tracker):
    """A server that was asked twice in a poll told some samples in the first answer."""
    report = report_of(written(ours))
    assert report.tracker.performance(10) == tracker.performance(10)


def test_the_other_format_is_that_of_the_peer():
    sample = Sample("tango://h:1/dserver/a/b", "ok", 1.0, 1.1, decode(EMPTY))
    failed = Sample("dserver/a/c", "hung", 1.0, 2.0, reason="no answer")
    row = json.loads(ska_line([sample, failed], UTC))
    assert row == {
        "time": "2027-01-15T08:00:00.000000+00:00",
        "replies": {
            "dserver/a/b": {"data": json.loads(EMPTY)},
            "dserver/a/c": {"error": "hung: no answer"},
        },
    }


def test_servers_of_two_databases_are_told_apart():
    one, other = (Sample(f"tango://{host}:1/dserver/a/b", "ok", 1.0, 1.1) for host in "hi")
    third = Sample("tango://h:1/dserver/a/c", "ok", 1.0, 1.1)
    row = json.loads(ska_line([one, other, third], UTC))
    assert list(row["replies"]) == [one.server, other.server, "dserver/a/c"]
    found = read_line(poll_line([one, other, third], UTC, UTC, {}))
    assert [sample.server for sample in found.samples] == [one.server, other.server, "dserver/a/c"]


def test_garbage_in_a_reply_does_not_spoil_the_line():
    reply = (
        b'{"client":{"event_callbacks":{},"perf_stats":[{"att_name":"\xff"\x01","process_micros":1}'
        b']},"server":{"event_counters":{"tango://h:1/a/b/c/d.change":5}}}'
    )
    sample = Sample("dserver/a/b", "ok", 1.0, 1.1, decode(reply))
    line = ska_line([sample], UTC)
    json.loads(line)
    (found,) = read_line(line).samples
    assert found.outcome == "ok"
    assert [str(name) for name in found.snapshot.published] == ["tango://h:1/a/b/c/d.change"]
    # The peer writes it as it comes.
    peer = b'{"time":"2027-01-15T08:00:00", "replies":{"dserver/a/b":{"data":' + reply + b"}"
    (found,) = read_line(peer).samples
    assert [str(name) for name in found.snapshot.published] == ["tango://h:1/a/b/c/d.change"]


def test_an_event_has_a_line_with_its_kind():
    told = event(
        "lost",
        "once",
        5.0,
        subscriber="dserver/a/b",
        stream=parse_event("a/b/c/d.change"),
        count=12,
    )
    row = json.loads(event_line(told, UTC))
    assert row["kind"] == "event"
    assert row["event"] == "lost"
    assert row["count"] == 12
    assert row["time"] == "2027-01-15T08:00:05.000000+00:00"
    assert read_line(event_line(told, UTC)) is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("(DevError(reason = 'API_CommandNotFound'),)", "no_command"),
        ("(DevError(desc = 'Timedout', reason = 'API_DeviceTimedOut'),)", "hung"),
        ("(DevError(desc = 'TRANSIENT', reason = 'API_CantConnectToDevice'),)", "refused"),
        ("(DevError(reason = 'API_DeviceNotExported'),)", "not_exported"),
        ("of some other kind", "unknown"),
    ],
)
def test_errors_of_the_peer_are_told_apart(error, outcome):
    line = msgspec.json.encode(
        {"time": "2027-01-15T08:00:00", "replies": {"a/b": {"error": error}}}
    )
    (sample,) = read_line(line).samples
    assert (sample.outcome, sample.reason) == (outcome, error)


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b'{"time":"then"}', b"\xff", b'{"replies":{}}', b"9" * 5000, b'{"time":1}'],
)
def test_what_is_no_line_is_counted(line):
    with pytest.raises(Malformed):
        read_line(line)
    report = report_of([line, *written(ours)[:1]])
    assert (report.unreadable, report.polls) == (1, 1)
    assert report.problem.startswith("line 1: ")


def test_polls_out_of_order_and_other_lines_are_counted():
    lines = written(ours)
    report = report_of([lines[3], lines[1], b"\n", lines[4], lines[4]])
    assert (report.polls, report.out_of_order, report.other_lines) == (2, 2, 1)


def test_names_that_are_none_are_counted():
    line = msgspec.json.encode({"time": "2027-01-15T08:00:00", "replies": {"?": {"error": "x"}}})
    assert report_of([line]).unreadable == 1


def test_the_course_has_rates_and_losses():
    course = report_of(written(ours)).course
    assert len(course.times) == len(list(polls()))
    (name,) = [name for name in course.rates if name.endswith("val.change")]
    assert max(value for _, value in course.rates[name]) > 1000
    assert {name: values[-1][1] for name, values in course.lost.items()}.keys() == {
        "dserver/benchdev/sub1",
        "dserver/benchdev/sub2",
    }
    assert any(values[-1][1] > 0 for values in course.lost.values())
