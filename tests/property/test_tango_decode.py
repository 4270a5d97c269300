"""Any text or bytes either decode or raise `PeerError`."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from socs.errors import PeerError
from socs.tango.decode import CAUSES, decode

DATA = Path(__file__).parents[1] / "data" / "tango"
REPLIES = [path.read_bytes() for path in sorted(DATA.glob("*.json"))]
TREES = [json.loads(reply) for reply in REPLIES]
WORDS = sorted({word for reply in REPLIES for word in reply.decode().split('"') if word.isascii()})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner),
)


def decodes_or_is_refused(text: str | bytes) -> None:
    try:
        snapshot = decode(text)
    except PeerError as error:
        snapshot, cause = None, error.cause
    if snapshot is None:
        assert cause in CAUSES
        return
    assert all(0 <= number < 2**32 for number in snapshot.published.values())
    for push in snapshot.pushes or ():
        assert push.push >= 0
        assert push.since_last is None or push.since_last >= 0
    for callback in snapshot.callbacks or ():
        assert callback.attribute.isascii()
        assert callback.attribute.isprintable()


@given(st.binary() | st.text())
def test_anything(text) -> None:
    decodes_or_is_refused(text)


@given(st.sampled_from(REPLIES), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8))))
def test_damaged_replies(reply, damages) -> None:
    for place, new in damages:
        at = int(place * len(reply))
        reply = reply[:at] + new + reply[at + len(new) :]
    decodes_or_is_refused(reply)


def changed(tree, data):
    """``tree`` with one thing in it replaced or added."""
    tree = json.loads(json.dumps(tree))
    node = tree
    for _ in range(data.draw(st.integers(0, 4))):
        inner = node.values() if isinstance(node, dict) else node
        inner = [each for each in inner if each and isinstance(each, dict | list)]
        if not inner:
            break
        node = data.draw(st.sampled_from(inner))
    value = data.draw(VALUES)
    if isinstance(node, dict):
        node[data.draw(st.sampled_from([*node, *WORDS]))] = value
    else:
        node[data.draw(st.integers(0, len(node) - 1))] = value
    return tree


@given(st.sampled_from(TREES), st.data())
def test_replies_with_something_else_in_them(tree, data) -> None:
    decodes_or_is_refused(json.dumps(changed(tree, data)))


@given(st.sampled_from(TREES), st.data())
def test_a_reply_is_read_alike_whether_in_one_go_or_key_by_key(tree, data) -> None:
    tree = changed(tree, data)
    results = []
    for more in ({}, {"key of a later version": 1}):  # is not read in one go
        try:
            snapshot = decode(json.dumps(tree | more))
        except PeerError as error:
            results.append(error.cause)
        else:
            results.append(replace(snapshot, extra=snapshot.extra | {"key of a later version": 1}))
    assert results[0] == results[1]
