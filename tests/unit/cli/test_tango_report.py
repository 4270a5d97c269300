"""``socs tango report`` of the recorded run."""

import json

import pytest

from socs.cli.main import main
from socs.tango.lines import event_line, poll_line, ska_line
from socs.tango.track import EventTracker
from tests.tango_session import followed, polls

UTC = 1_800_000_000.0
SUB2 = "dserver/benchdev/sub2"


@pytest.fixture
def ours(tmp_path):
    """What the agent would have written of the run."""
    tracker, path = EventTracker(), tmp_path / "ours.jsonl"
    with path.open("wb") as file:
        for _, samples in polls():
            told = followed(tracker, samples)
            utc = UTC + samples[0].begun
            file.write(poll_line(samples, utc, UTC, tracker.totals()) + b"\n")
            file.writelines(event_line(event, UTC) + b"\n" for event in told)
    return path


@pytest.fixture
def theirs(tmp_path):
    """What ska-tango-event-monitor would have: the braces at the end are missing."""
    path = tmp_path / "output.json"
    lines = [ska_line(samples, UTC + samples[0].begun)[:-2] for _, samples in polls()]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def run(capsys, *words):
    status = main(["tango", "report", *map(str, words)])
    return (status, *capsys.readouterr())


@pytest.mark.parametrize("kind", ["ours", "theirs"])
def test_who_lost_what(request, kind, capsys):
    path = request.getfixturevalue(kind)
    status, out, err = run(capsys, path)
    assert (status, err) == (0, "")
    rows = [line.strip("\t").split("\t") for line in out.splitlines()]
    columns = rows[rows.index(["received"]) + 1]
    assert columns[:4] == ["subscriber", "stream", "received", "lost"]
    (lost,) = [int(row[3]) for row in rows if row[:2] == [SUB2, "lab/pub/1/val.change"]]
    assert lost >= 50013 - 29718
    assert ("22 lines mended" in out) == (kind == "theirs")
    assert f"subscriber {SUB2} lost" in run(capsys, path, "--events", 999)[1]


def test_files_are_taken_in_the_order_of_their_polls(theirs, tmp_path, capsys):
    lines = theirs.read_bytes().splitlines(keepends=True)
    parts = [tmp_path / name for name in ("b", "a")]
    for path, part in zip(parts, (lines[:9], lines[9:]), strict=True):
        path.write_bytes(b"".join(part))
    whole = json.loads(run(capsys, theirs, "--json")[1])
    for order in (parts, parts[::-1]):
        assert json.loads(run(capsys, *order, "--json")[1]) == whole
    assert whole["polls"] == len(lines)
    assert whole["out_of_order"] == 0


def test_json_has_everything(ours, capsys):
    told = json.loads(run(capsys, ours, "--json")[1])
    assert {row["subscriber"] for row in told["subscribers"]} == {"dserver/benchdev/sub1", SUB2}
    assert told["counters"]["server_restarts"] == 2
    assert told["events_told"] == len(told["events"]) > 10
    assert any(row["process"]["count"] for row in told["times"])


def test_a_torn_line_is_told_and_left_out(ours, capsys):
    ours.write_bytes(ours.read_bytes() + b'{"kind":"poll","time":"20')
    status, out, _ = run(capsys, ours)
    assert (status, "1 unreadable" in out.splitlines()[0]) == (0, True)


def test_a_picture(ours, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    picture = tmp_path / "picture.png"
    assert run(capsys, ours, "--plot", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_shows_what_happened(ours):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    from socs.cli.tango_report_picture import draw  # noqa: PLC0415
    from socs.tango.report import Report  # noqa: PLC0415

    report = Report(course=True)
    report.feed_all(ours.read_bytes().splitlines())
    rates, losses = draw(report.course).axes
    lost = {line.get_label(): line.get_ydata()[-1] for line in losses.get_lines()}
    assert lost == {row["server"]: row["lost"] for row in report.tracker.servers() if row["lost"]}
    (fastest, *_) = rates.get_lines()
    assert fastest.get_label() == "lab/pub/1/val.change"
    assert len(fastest.get_xdata()) > 10


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "no polls in 0 lines"), ("Dear Sir,\n", "no polls in 1 lines: line 1: no line of a")],
)
def test_what_is_no_such_file(tmp_path, content, message, capsys):
    path = tmp_path / "letter"
    path.write_text(content)
    status, _, err = run(capsys, path)
    assert (status, message in err) == (1, True)
    status, _, err = run(capsys, tmp_path / "missing")
    assert (status, "cannot read" in err) == (1, True)


def test_a_picture_has_an_ending_that_is_known(ours, capsys):
    with pytest.raises(SystemExit):
        run(capsys, ours, "--plot", "picture.doc")
    assert "does not end with one of .png" in capsys.readouterr().err
