"""Names and types of register values on feeds."""

import math

import pytest

from socs.counters import PYSMURF
from socs.errors import PeerError
from socs.pysmurf.fields import FieldTable, feed_name
from socs.pysmurf.limits import MAX_LIST, MAX_TEXT


def refused(table: FieldTable, path: str, value) -> str:
    with pytest.raises(PeerError) as caught:
        table.sample(path, value)
    assert caught.value.cause in {counter.name for counter in PYSMURF}
    return caught.value.cause


@pytest.mark.parametrize(
    ("pub_id", "name"),
    [
        ("STREAMER:ufm_mv1", "ufm_mv1_meta"),
        ("STREAMER:Ufm1:more", "Ufm1_meta"),
        ("unidentified", "unidentified_meta"),
    ],
)
def test_feed_of_a_stream_is_named_as_readers_expect(pub_id, name):
    assert feed_name(pub_id) == name


def test_feeds_of_unsafe_streams_are_safe_and_apart():
    ids = ["a.b", "ab", "a..b", "a b", "", ".", "é", "x" * 101, "x" * 102, "x" * 60_000, "\ud800"]
    names = [feed_name(f"STREAMER:{id}") for id in ids]
    assert len(set(names)) == len(ids)
    assert all(name.isascii() and name.replace("_", "").isalnum() for name in names)
    assert max(map(len, names)) < 130
    # Readers strip the characters _meta off the end; a suffix must survive that.
    assert feed_name("a.b").strip("_meta")[-10:].isdigit()


def test_numbers_become_floats():
    table = FieldTable()
    path = "AMCc.SmurfProcessor.SOStream.open_g3stream"
    name = "AMCcSmurfProcessorSOStreamopen_g3stream"
    for value in (True, 2, 2.5):
        sample = table.sample(path, value)
        assert sample == (name, {name: float(value)})
        assert type(sample.data[name]) is float


def test_text_stays_text():
    assert FieldTable().sample("Root.Name", "on") == ("RootName", {"RootName": "on"})


def test_a_list_is_a_block_of_fields():
    sample = FieldTable().sample("Root.List", [1, 2.5, True])
    assert sample.block_name == "RootList_3_values"
    assert sample.data == {"RootList_0": 1.0, "RootList_1": 2.5, "RootList_2": 1.0}


def test_paths_that_would_share_a_name():
    table = FieldTable()
    first, second = table.sample("a[11]", 1), table.sample("a[1]1", 2)
    assert first.block_name == "a11"
    assert second.block_name.startswith("a11_")
    assert second.block_name[4:].isdigit()
    assert table.sample("a[11]", 3).block_name == first.block_name
    assert table.sample("a[1]1", 4).block_name == second.block_name
    assert FieldTable().sample("a[1]1", 4).block_name == "a11"


@pytest.mark.parametrize("order", [1, -1])
def test_a_field_of_a_list_that_would_share_a_name(order):
    table = FieldTable()
    samples = [table.sample(*case) for case in [("a_1", 1), ("a", [1, 2])][::order]]
    fields = [field for sample in samples for field in sample.data]
    assert len(set(fields)) == 3


def test_paths_of_which_ocs_leaves_no_letter():
    table = FieldTable()
    names = [table.sample(path, 1).block_name for path in ("", "123", "___", "_1", "é")]
    assert names[0] == "invalid_field"
    assert len(set(names)) == 5


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, "text"), ("text", 1), (1, [1]), ([1], 1), ([1, 2], [1, 2, 3]), ("text", [1])],
)
def test_a_value_of_another_type(before, after):
    table = FieldTable()
    kept = table.sample("path", before)
    assert refused(table, "path", after) == "metadata_type_changed"
    assert table.sample("path", before) == kept


@pytest.mark.parametrize(
    "value",
    [
        None,
        math.nan,
        math.inf,
        10**400,
        {},
        {"a": 1},
        [],
        [[1]],
        [1, None],
        [1, math.nan],
        ["text"],
        [1, "text"],
        [0] * (MAX_LIST + 1),
        "x" * (MAX_TEXT + 1),
    ],
)
def test_values_that_no_feed_can_take(value):
    table = FieldTable()
    assert refused(table, "path", value) == "metadata_unsupported"
    assert len(table) == 0
    assert table.sample("path", [0] * MAX_LIST)
    assert refused(table, "path", value) == "metadata_unsupported"


def test_fields_beyond_the_limit():
    table = FieldTable(limit_fields=3)
    table.sample("a", [1, 2])
    assert refused(table, "b", [1, 2]) == "metadata_refused"
    table.sample("c", 1)
    assert refused(table, "d", 1) == "metadata_refused"
    assert len(table) == 3
    assert table.sample("a", [3, 4])
