"""Any bytes are a line of a file, or are refused: nothing else happens to a report."""

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from socs.cli.output import moment
from socs.errors import PeerError
from socs.tango.lines import poll_line, read_line, ska_line
from socs.tango.report import Report
from tests.tango_session import polls

UTC = 1_800_000_000.0
LINES = [
    make(samples)
    for _, samples in list(polls())[1:4]
    for make in (
        lambda samples: ska_line(samples, UTC),
        lambda samples: ska_line(samples, UTC)[:-2],
        lambda samples: poll_line(samples, UTC, UTC, {"samples_ok": 3}),
    )
]
WORDS = [b'"', b"\\", b"{", b"}", b":", b"0", b"null", b"1e999", b"-1", b'"error":"x"', b"\xff"]


def is_read_or_refused(line) -> None:
    with suppress(PeerError):
        read_line(line)
    report = Report(course=True)
    report.feed(line)
    assert report.polls + report.other_lines + report.unreadable >= 1
    for time in (report.first or 0.0, *(event.time for event in report.events)):
        moment(time)


@given(st.binary())
@example(b'{"time":"0001-01-01T00:00:00+23:59"}')
@example(b'{"time":"9999-12-31T23:59:59-23:59"}')
@example(b'{"time":"2026-11-21T16:00:00","replies":{"dserver/a/b":{"error":"hung","begun":1e99}}}')
def test_anything(line) -> None:
    is_read_or_refused(line)


@given(
    st.sampled_from(LINES),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(WORDS)), max_size=3),
)
def test_damaged_lines(line, damages) -> None:
    for place, length, new in damages:
        at = int(place * len(line))
        line = line[:at] + new + line[at + length :]
    is_read_or_refused(line)
