"""Whatever registers are called and hold, OCS takes the samples."""

import re
from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st
from ocs.ocs_feed import Block, Feed

from socs.errors import PeerError
from socs.pysmurf.fields import FieldTable, feed_name

paths = st.one_of(
    st.text(),
    st.text(alphabet="ab1_.[] "),
    st.text(alphabet="ab_1", min_size=240, max_size=260),
    st.integers(240, 260).map(lambda length: "_" * length + "a"),
    st.integers(240, 260).map(lambda length: "a" * length),
)
numbers = st.booleans() | st.integers() | st.floats()
values = st.one_of(numbers, st.text(), st.none(), st.lists(numbers, max_size=66))


@given(st.lists(st.tuples(paths, values)))
def test_ocs_takes_every_sample(registers):
    table = FieldTable()
    blocks: dict[str, Block] = {}
    owner: dict[str, str] = {}  # register path by field and by block
    for path, value in registers:
        try:
            block_name, data = table.sample(path, value)
        except PeerError as error:
            if error.cause not in ("metadata_unsupported", "metadata_type_changed"):
                raise
            continue
        assert owner.setdefault(f"block {block_name}", path) == path
        for field, item in data.items():
            assert Feed.verify_data_field_string(field)
            Feed.verify_message_data_type(item)
            assert owner.setdefault(field, path) == path
        block = blocks.setdefault(block_name, Block(block_name, data.keys()))
        block.append({"timestamp": 1.0, "data": data})
        assert len(block_name) <= 255
    for block in blocks.values():
        assert all(len({type(item) for item in items}) == 1 for items in block.data.values())
    assert len(table) == sum(len(block.data) for block in blocks.values())


@given(paths)
def test_the_first_of_a_name_is_called_what_ocs_calls_it(path):
    name = Feed.enforce_field_name_rules(path)
    block_name = FieldTable().sample(path, 1).block_name
    assert block_name == name or not name.strip("_")


@given(st.text(), st.text())
def test_feeds_are_safe_and_apart(one, other):
    names = [feed_name(f"STREAMER:{id.replace(':', '')}") for id in (one, other)]
    assert (names[0] == names[1]) == (one.replace(":", "") == other.replace(":", ""))
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_]{1,120}_meta", name)
    agent = Mock(agent_address="observatory.monitor")
    assert Feed(agent, names[0]).address.count(".") == 3
