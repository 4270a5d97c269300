"""Where files of the table belong, example by example."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from socs.archive.paths import LONGEST_NAME, File, Place, file_of, place_of

WRITTEN = 1568779322  # 2019-09-18 04:02:02 UTC
STARTED = 1568700001  # of the action: five other digits
NAMED = 1568880000


def utc(seconds: float) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=seconds)


def file(**values: object) -> File:
    return File(
        **{
            "id": 1,
            "path": f"/data/smurf_data/20190918/crate1slot2/outputs/{NAMED}_iv.npy",
            "action": "take_iv",
            "timestamp": utc(WRITTEN),
            "action_timestamp": STARTED,
            "plot": False,
            "pub_id": "crate1slot2",
            "instance_id": "pysmurf-monitor",
            "md5sum": bytes(16),
        }
        | values
    )


def path(**values: object) -> str:
    return place_of(file(**values)).path()


# -- the seed's rule ------------------------------------------------------------------------------


def test_outputs_of_an_action() -> None:
    assert path() == f"15687/crate1slot2/{STARTED}_take_iv/outputs/{NAMED}_iv.npy"


def test_plots_of_an_action() -> None:
    expected = f"15687/crate1slot2/{STARTED}_take_iv/plots/{NAMED}_iv.png"
    assert path(plot=True, path=f"/data/plots/{NAMED}_iv.png") == expected


def test_the_day_is_that_of_the_file_the_group_that_of_its_action() -> None:
    late = path(timestamp=utc(1568800000.25), action_timestamp=1568799999)
    assert late.startswith("15688/crate1slot2/1568799999_take_iv/outputs/")


@pytest.fixture
def far_west(monkeypatch) -> Iterator[None]:
    """This process thinks that it is in Hawaii."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "HST10")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_west")
def test_the_time_in_the_row_is_utc() -> None:
    assert path(timestamp=utc(1568800000)).startswith("15688/")
    assert path(timestamp=utc(1568799999)).startswith("15687/")


def test_timestreams_keep_the_last_three_parts() -> None:
    streamed = "/data/timestreams/15684/crate1slot2/1568432111_000.g3"
    place = place_of(file(path=streamed, action="timestreams"))
    assert place.path() == "15684/crate1slot2/1568432111_000.g3"
    assert place.archive_name == "timestreams"
    assert place_of(file()).archive_name == "smurf"


@pytest.mark.parametrize(
    "streamed",
    ["/data/timestreams/1568/x/1568432111_000.g3", "/15684x/x/1568432111_000.g3", "/x.g3"],
)
def test_timestreams_in_other_directories_go_where_all_others_do(streamed: str) -> None:
    name = streamed.rpartition("/")[2]
    expected = f"15687/crate1slot2/{STARTED}_timestreams/outputs/{name}"
    assert path(path=streamed, action="timestreams") == expected


# -- what old rows lack ---------------------------------------------------------------------------


@pytest.mark.parametrize("started", [None, 0, -5, 12, 10**12, 10**30])
def test_without_an_action_timestamp_the_number_in_the_name_counts(started: int | None) -> None:
    assert path(action_timestamp=started) == (
        f"15687/crate1slot2/{NAMED}_take_iv/outputs/{NAMED}_iv.npy"
    )


@pytest.mark.parametrize("name", ["iv.npy", "iv_1568880000.npy", "156888000_iv.npy", "15688800001"])
def test_without_a_number_in_front_of_the_name_the_files_time_counts(name: str) -> None:
    expected = f"15687/crate1slot2/{WRITTEN}_take_iv/outputs/{name}"
    assert path(action_timestamp=None, path=f"/data/{name}") == expected


@pytest.mark.parametrize("name", [f"{NAMED}", f"{NAMED}.dat", f"{NAMED}_x"])
def test_numbers_in_front_of_names(name: str) -> None:
    expected = f"15687/crate1slot2/{NAMED}_take_iv/outputs/{name}"
    assert path(action_timestamp=None, path=f"/data/{name}") == expected


@pytest.mark.parametrize(
    "written",
    [None, utc(0), utc(-1e9), datetime.min, datetime(2300, 1, 1)],
)
def test_without_a_plausible_time_of_the_file_the_name_tells_the_day(
    written: datetime | None,
) -> None:
    assert path(timestamp=written) == (
        f"15688/crate1slot2/{STARTED}_take_iv/outputs/{NAMED}_iv.npy"
    )
    assert path(timestamp=written, path="/data/iv") == (
        f"15687/crate1slot2/{STARTED}_take_iv/outputs/iv"
    )


def test_with_no_time_at_all_there_is_still_a_place() -> None:
    expected = "10000/crate1slot2/1000000000_take_iv/outputs/iv"
    assert path(timestamp=None, action_timestamp=None, path="/data/iv") == expected


@pytest.mark.parametrize("action", [None, ""])
def test_without_an_action(action: str | None) -> None:
    assert path(action=action) == f"15687/crate1slot2/{STARTED}_unknown/outputs/{NAMED}_iv.npy"


def test_without_a_publisher_the_agent_that_registered_the_file_stands_for_it() -> None:
    assert path(pub_id=None).split("/")[1] == "pysmurf-monitor"
    assert path(pub_id="").split("/")[1] == "pysmurf-monitor"
    assert path(pub_id=None, instance_id=None).split("/")[1] == "unknown"


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a b", "it's", 'say "x"', "line\nbreak", "tab\t", "ünï", "😀.npy", ".hidden", "-rf", "$(x)`;"],
)
def test_names_of_files_are_kept_as_they_are(name: str) -> None:
    assert path(path=f"/data/{name}").rpartition("/")[2] == name


@pytest.mark.parametrize("text", ["a b", "it's", "line\nbreak", "ünï", "x.y", "a.suprsync"])
def test_names_of_publishers_and_actions_are_kept_as_they_are(text: str) -> None:
    assert path(pub_id=text, action=text).split("/")[1:3] == [text, f"{STARTED}_{text}"]


@pytest.mark.parametrize(
    ("publisher", "component"),
    [
        ("../../etc", "_./.._etc".replace("/", "_")),
        ("..", "_."),
        (".", "_"),
        ("/", "_"),
        ("suprsync", "_suprsync"),
        (".suprsync-archiver", "_suprsync-archiver"),
        ("a\0b", "a_b"),
        ("a\ud800b", "a_b"),
    ],
)
def test_publishers_cannot_leave_their_place(publisher: str, component: str) -> None:
    assert path(pub_id=publisher).split("/")[1] == component


def test_actions_cannot_leave_their_place() -> None:
    assert path(action="../../../x").split("/")[2] == f"{STARTED}_.._.._.._x"


@pytest.mark.parametrize("end", ["/..", "/"])
def test_paths_that_name_no_file(end: str) -> None:
    assert path(path=end).rpartition("/")[2] == "unknown"


def test_streams_cannot_leave_their_place() -> None:
    for stream, component in [("..", "_."), ("suprsync", "_suprsync"), (".suprsync-a", None)]:
        found = path(path=f"/x/15684/{stream}/1568432111_000.g3", action="timestreams")
        expected = component or "_suprsync-a"
        assert found == f"15684/{expected}/1568432111_000.g3"


# -- names that are too long ----------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", "ü", "😀"])
def test_names_that_are_too_long_are_cut_and_told_apart(letter: str) -> None:
    long = letter * LONGEST_NAME
    one, other = (path(path=f"/data/{NAMED}_{long}{end}").rpartition("/")[2] for end in "12")
    assert one != other
    for name in (one, other):
        assert LONGEST_NAME - 3 <= len(name.encode()) <= LONGEST_NAME
        assert name.startswith(f"{NAMED}_{letter}")


def test_a_name_that_just_fits_is_kept() -> None:
    name = "x" * LONGEST_NAME
    assert path(path=f"/data/{name}").rpartition("/")[2] == name


def test_numbers_of_further_files_of_a_name() -> None:
    place = Place("15687", "a/b/outputs", "iv.npy")
    assert [place.path(number) for number in range(3)] == [
        "15687/a/b/outputs/iv.npy",
        "15687/a/b/outputs/iv.npy.1",
        "15687/a/b/outputs/iv.npy.2",
    ]


def test_numbers_of_further_files_of_a_name_that_just_fits() -> None:
    place = Place("15687", "a/b/outputs", "x" * LONGEST_NAME)
    names = {place.path(number).rpartition("/")[2] for number in range(1000)}
    assert len(names) == 1000
    assert max(len(name) for name in names) == LONGEST_NAME


# -- rows -----------------------------------------------------------------------------------------


ROW = {
    "id": 7,
    "path": "/data/x",
    "action": None,
    "timestamp": datetime(2020, 1, 1, tzinfo=timezone.utc),
    "action_timestamp": None,
    "plot": None,
    "pub_id": None,
    "instance_id": None,
    "md5sum": bytearray(16),
    "failed_copy_attempts": None,
    "copied": None,
}


def test_file_of_a_row() -> None:
    found = file_of(ROW)
    assert (found.id, found.plot, found.md5sum, found.attempts) == (7, False, bytes(16), 0)
    assert place_of(found).path() == "15778/unknown/1577836800_unknown/outputs/x"


def test_what_is_no_time_counts_as_none() -> None:
    """It must get as far as the process that copies, which takes nothing else for a time."""
    found = file_of(ROW | {"timestamp": "0000-00-00 00:00:00", "action_timestamp": "soon"})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=File) == found
    assert place_of(found).path() == "10000/unknown/1000000000_unknown/outputs/x"
