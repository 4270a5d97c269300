"""Any bytes either decode or raise PeerError."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from socs.counters import CONSERVATION
from socs.errors import PeerError
from socs.pysmurf.decode import KINDS, FileAnnouncement, Message, decode, envelope
from socs.pysmurf.limits import MAX_NAME, MAX_PATH, MAX_SEQUENCE

CAUSES = set(next(e.parts for e in CONSERVATION if "messages_decoded" in e.parts))
TYPES = [*KINDS, "future", "", 7, None]

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**320), 10**320)
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["NaN", '"', "\\", "\ud800", "\0", "/a", "Infinity"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)
files = st.fixed_dictionaries(
    {"path": st.text().map(lambda text: "/" + text) | anything},
    optional=dict.fromkeys(
        ("type", "format", "timestamp", "action", "action_ts", "plot", "archive_name"), anything
    ),
)
likely = st.fixed_dictionaries(
    {
        "host": st.text(max_size=5) | anything,
        "id": st.text(max_size=5) | st.integers() | anything,
        "script": st.text(max_size=5) | anything,
        "time": st.floats() | st.integers(0, 2**33),
        "seq_no": st.integers(0, 2**64) | anything,
        "type": st.sampled_from(TYPES),
        "payload": files | anything,
    }
)


def decoded_or_refused(datagram: bytes) -> Message | None:
    try:
        message = decode(datagram)
    except PeerError as error:
        if error.cause not in CAUSES:
            raise
        return None
    assert -1 <= message.seq_no <= MAX_SEQUENCE
    assert max(map(len, (message.host, message.id, message.script, message.type))) <= MAX_NAME
    if message.kind == "file":
        assert isinstance(message.payload, FileAnnouncement)
        assert message.payload.path.startswith("/")
        assert len(message.payload.path) <= MAX_PATH
    carried = envelope(message)
    assert list(carried) == ["host", "id", "script", "time", "seq_no", "type", "payload"]
    json.dumps(carried, allow_nan=False)
    msgspec.msgpack.encode(carried)
    return message


@given(st.binary(max_size=2000))
def test_any_bytes(datagram):
    decoded_or_refused(datagram)


@given(anything)
def test_any_json(value):
    decoded_or_refused(json.dumps(value).encode())


@given(likely, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_any_json_that_looks_like_a_message(fields, encoding):
    decoded_or_refused(json.dumps(fields, ensure_ascii=True).encode(encoding))


@given(likely, st.data())
def test_a_message_with_bytes_changed(fields, data):
    datagram = bytearray(json.dumps(fields).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(datagram) - 1))
        datagram[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        datagram = datagram or bytearray(b" ")
    decoded_or_refused(bytes(datagram))


@given(st.dictionaries(st.text(), anything), st.integers(0, MAX_SEQUENCE), st.floats(0, 2e9))
def test_what_a_publisher_sends_arrives_unchanged(payload, number, time):
    """With None for values that JSON has not, and floats for integers beyond 64 bits."""
    sent = {"host": "h", "id": "i", "script": "s", "time": time, "seq_no": number}
    sent |= {"type": "session_data", "payload": payload}
    text = json.dumps(sent)
    message = decoded_or_refused(text.encode())
    if message is None:
        assert any(0xD800 <= ord(c) < 0xE000 for c in json.dumps(sent, ensure_ascii=False)) or any(
            len(run) > 300 for run in text.replace("-", " ").split() if run.strip("[]{},").isdigit()
        )
        return
    expected = json.loads(text, parse_constant=lambda _: None, parse_int=_integer)
    assert envelope(message) == expected


def _integer(digits: str) -> int | float:
    value = int(digits)
    return value if abs(value) <= MAX_SEQUENCE else float(value)
