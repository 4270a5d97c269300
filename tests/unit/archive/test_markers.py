"""When a timecode is complete, and what its marker is called."""

import re

import pytest

from socs.archive import markers
from socs.archive.markers import LATE, Marker, is_complete
from socs.archive.timecodes import TIMECODE

END = 17001 * TIMECODE  # of timecode 17000


@pytest.mark.parametrize(
    ("now", "newer", "complete"),
    [
        (END - 1, False, False),
        (END - 1, True, False),  # a file from the future
        (END + 600, True, False),  # streamers fill a file for ten minutes
        (END + LATE - 1, True, False),
        (END + LATE, True, True),
        (END + LATE, False, False),
        (END + TIMECODE - 1, False, False),
        (END + TIMECODE, False, True),
        (END + 1e9, False, True),
    ],
)
def test_a_timecode_is_complete_when_the_next_has_files_or_is_over(now, newer, complete):
    assert is_complete(17000, now, newer=newer) is complete


@pytest.mark.parametrize("now", [END + hours * 3600.5 for hours in range(1, 60)])
@pytest.mark.parametrize("newer", [False, True])
def test_suprsync_would_think_the_same(now, newer):
    assert is_complete(17000, now, newer=newer) == (newer or (now // 1e5 - 17000) > 1)


def test_the_name_is_that_of_suprsync_and_is_recognised():
    marker = Marker(123, 1, ["a"], 1_700_200_000.9, 1.0, "smurf", "archiver", 0)
    assert marker.name == "1700200000_smurf_00123_finalized.yaml"
    assert re.fullmatch(markers._MARKER, marker.name).groups() == ("1700200000", "smurf", "00123")
