"""However hostile a row of the table is, its file has a place below the archive's directory."""

from __future__ import annotations

import os
import re
from datetime import datetime

from hypothesis import example, given
from hypothesis import strategies as st

from socs.archive.paths import LONGEST_NAME, File, place_of

EVIL = [
    *(
        "",
        "/",
        ".",
        "..",
        "...",
        "../../etc",
        "/etc/passwd",
        "\0",
        "\n",
        "a\0b",
        "\ud800",
        "\udcff",
    ),
    *("suprsync", ".suprsync-x", "SUPRSYNC", "plots", "None", "None_None", "15684", "timestreams"),
    *("x" * 5000, "😀" * 5000, "é" * 128, "." * 300, "/" * 300, "~", "-rf", "C:\\x", " ", "a b'\""),
    *("\u202e", "\x7f", "1568880000_x", "0000000000_x", "9999999999.x", "1568880000\n"),
]
PARTS = st.sampled_from(EVIL) | st.text(st.characters(), max_size=300)  # with lone surrogates
TEXTS = st.lists(PARTS, max_size=4).map("/".join) | PARTS
SECONDS = st.sampled_from(
    [None, 0, -1, 1, 10**9 - 1, 10**9, 10**10 - 1, 10**10, -(2**63), 2**63, 10**400]
) | st.integers(-(10**12), 10**12)
MOMENTS = st.datetimes() | st.sampled_from(
    [None, datetime.min, datetime.max, datetime(1970, 1, 1), datetime(2300, 1, 1)]
)
FILES = st.builds(
    File,
    id=st.integers(),
    path=TEXTS,
    action=st.sampled_from([None, "timestreams", *EVIL]) | TEXTS,
    timestamp=MOMENTS,
    action_timestamp=SECONDS,
    plot=st.booleans(),
    pub_id=st.none() | TEXTS,
    instance_id=st.none() | TEXTS,
    md5sum=st.just(bytes(16)),
)
NUMBERS = st.sampled_from([0, 1, 999]) | st.integers(0, 999)


def row(**values: object) -> File:
    names = ("action", "timestamp", "action_timestamp", "pub_id", "instance_id")
    nothing = dict.fromkeys(names)
    return File(**{"id": 1, "path": "", "plot": False, "md5sum": b""} | nothing | values)


@given(FILES, NUMBERS)
@example(row(), 0)
@example(row(action="timestreams", path="/15684/suprsync/.."), 1)
@example(row(action="timestreams", path="/15684/../.."), 0)
@example(row(action="timestreams", path="/15684//"), 0)
@example(row(pub_id="../../etc", action="../..", path="/.."), 2)
def test_the_place_is_below_the_archive(file: File, number: int) -> None:
    place = place_of(file)
    path = place.path(number)
    parts = path.split("/")
    assert len(parts) == (3 if place.archive_name == "timestreams" else 5)
    for part in parts:
        assert part not in {"", ".", ".."}
        assert "\0" not in part
        assert (
            len(part.encode()) <= LONGEST_NAME
        )  # and it can be encoded, so a file can be named so
    assert re.fullmatch("[0-9]{5}", parts[0])
    assert not parts[1].startswith(".")
    assert parts[1] != "suprsync"
    joined = os.path.join("/archive/data", path)
    assert os.path.normpath(joined) == joined
    assert joined.startswith("/archive/data/")


@given(FILES)
def test_readers_find_a_time_in_front_of_the_group(file: File) -> None:
    parts = place_of(file).path().split("/")
    if len(parts) == 5:
        assert 10**9 <= int(parts[2].split("_")[0]) < 10**10
        assert parts[2] != "None_None"
        assert parts[3] in {"plots", "outputs"}


@given(FILES, FILES)
def test_files_of_one_action_stay_together(one: File, other: File) -> None:
    values = {name: getattr(other, name) for name in File.__struct_fields__}
    same = ("action", "pub_id", "instance_id", "plot", "timestamp")
    values |= {name: getattr(one, name) for name in same}
    started = {"action_timestamp": 1_568_700_001}
    places = [
        place_of(File(**{name: getattr(one, name) for name in File.__struct_fields__} | started)),
        place_of(File(**values | started)),
    ]
    if one.action != "timestreams":
        assert places[0].directory == places[1].directory


@given(FILES, st.integers(0, 999), st.integers(0, 999))
def test_each_number_is_another_name(file: File, one: int, other: int) -> None:
    place = place_of(file)
    assert (place.path(one) == place.path(other)) == (one == other)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1))
def test_names_that_fit_are_kept(name: str) -> None:
    if name not in {".", ".."} and len(name.encode()) <= LONGEST_NAME:
        assert place_of(row(path=f"/data/{name}")).name == name
