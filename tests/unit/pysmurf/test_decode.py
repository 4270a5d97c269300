"""What real publishers send decodes; what nobody should send is refused under the right cause."""

import json
import math
import time
import timeit

import msgspec
import pytest

from socs.counters import CONSERVATION, PYSMURF
from socs.errors import PeerError
from socs.pysmurf.decode import (
    KINDS,
    FileAnnouncement,
    Message,
    Metadata,
    decode,
    envelope,
)
from socs.pysmurf.limits import MAX_CONTAINERS, MAX_DATAGRAM, MAX_DEPTH, MAX_DIGITS, MAX_PATH

# what pub.register_file of pysmurf sends, with an action set
DATA_FILE = {
    "path": "/data/smurf_data/20231111/crate1slot2/1699700000/outputs/1699700001_iv.npy",
    "type": "iv",
    "format": "npy",
    "timestamp": 1699700001.25,
    "action": "take_iv",
    "action_ts": "1699700000",
    "plot": False,
    "pysmurf_version": "7.3.0",
}
COUNTERS = {counter.name for counter in PYSMURF}


def message_bytes(payload, type="session_data", **changes) -> bytes:
    """As ``Publisher.publish`` writes it; bytes of a payload are taken as they are."""
    fields = {"host": "smurf", "id": "crate1slot2", "script": "s", "time": 1699700001.5}
    fields |= {"seq_no": 7, "type": type} | changes
    fields = {key: value for key, value in fields.items() if value is not ...}
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    return json.dumps(fields).encode()[:-1] + b', "payload": ' + payload + b"}"


def list_bytes(item: bytes, size: int = 60_000) -> bytes:
    return b"[" + b",".join([item] * (size // (len(item) + 1))) + b"]"


def refused(datagram: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        decode(datagram)
    assert len(str(caught.value)) < 200
    return caught.value.cause


# -- what real senders send -----------------------------------------------------------------------


def test_data_file():
    message = decode(message_bytes(DATA_FILE, "data_file"))
    announced = FileAnnouncement(**(DATA_FILE | {"action_ts": 1699700000}))
    assert message == Message(
        "smurf", "crate1slot2", "s", 1699700001.5, 7, "data_file", announced, 0
    )
    assert isinstance(message.payload, FileAnnouncement)
    assert message.kind == "file"


def test_data_file_of_the_server_knows_no_action():
    payload = {key: DATA_FILE[key] for key in ("path", "type", "format", "timestamp", "plot")}
    announced = decode(message_bytes(payload, "data_file")).payload
    assert (announced.action, announced.action_ts, announced.pysmurf_version) == (None, None, None)


def test_g3_file_holds_path_and_archive_only():
    payload = {"path": "/data/so/timestreams/16997/ufm1/1699700000_000.g3"}
    message = decode(message_bytes(payload | {"archive_name": "timestreams"}, "g3_file"))
    assert message.payload == FileAnnouncement(**payload, archive_name="timestreams")
    assert message.kind == "file"


@pytest.mark.parametrize(
    ("key", "sent", "decoded"),
    [
        ("plot", 1, True),
        ("plot", 0, False),
        ("plot", True, True),
        ("plot", None, False),
        ("format", None, ""),
        ("type", None, ""),
        ("action_ts", 1699700000.9, 1699700000),
        ("action_ts", 1699700000, 1699700000),
        ("action_ts", None, None),
        ("timestamp", 1699700000, 1699700000.0),
        ("timestamp", "1699700000", 1699700000.0),
        ("timestamp", None, None),
        ("path", "/data/new\nline/é/..", "/data/new\nline/é/.."),
    ],
)
def test_variants_of_a_file(key, sent, decoded):
    message = decode(message_bytes(DATA_FILE | {key: sent}, "data_file"))
    value = getattr(message.payload, key)
    assert value == decoded
    assert type(value) is type(decoded)
    assert message.nonfinite == 0


@pytest.mark.parametrize("key", ["timestamp", "action_ts"])
@pytest.mark.parametrize("sent", [math.nan, math.inf, -1, 1e300, "soon", "", "nan", "9" * 60_000])
def test_a_file_with_an_impossible_time_is_kept_without_it(key, sent):
    message = decode(message_bytes(DATA_FILE | {key: sent}, "data_file"))
    assert getattr(message.payload, key) is None
    assert message.payload.path == DATA_FILE["path"]
    assert message.nonfinite == 1


def test_metadata():
    message = decode(message_bytes({"path": "AMCc.X", "value": [1, 2], "type": "list"}, "metadata"))
    assert message.payload == Metadata("AMCc.X", [1, 2], "list")
    assert message.kind == "metadata"
    assert decode(message_bytes({"path": "a", "value": None}, "metadata")).payload.value is None


@pytest.mark.parametrize(
    ("type", "payload", "kind"),
    [
        ("session_data", {"datafile": "/a", "channels": [1, 2]}, "session"),
        ("session_data", [1], "session"),
        ("session_log", "text", "session"),
        ("session_log", None, "session"),
        ("start", {}, "lifecycle"),
        ("stop", {}, "lifecycle"),
        ("log", {"message": "text"}, "lifecycle"),
        ("general", 3.5, "lifecycle"),
        ("backend_error", {"message": "dropped"}, "backend_error"),
        ("of the future", {"any": [{"thing": None}]}, "unknown_type"),
    ],
)
def test_other_payloads_are_kept_as_they_are(type, payload, kind):
    message = decode(message_bytes(payload, type))
    assert message.payload == payload
    assert message.kind == kind


def test_every_kind_has_its_counter():
    assert {f"messages_{kind}" for kind in [*KINDS.values(), "unknown_type"]} <= COUNTERS


def test_numbers_as_names_become_text():
    message = decode(message_bytes({}, id=5, script=12))
    assert (message.id, message.script) == ("5", "12")


def test_a_message_without_number_is_marked():
    message = decode(message_bytes({"seq_no": 5}, seq_no=...))
    assert message.seq_no == -1
    assert envelope(message)["seq_no"] is None


@pytest.mark.parametrize("time", [math.nan, -1.0, 1e300])
def test_an_impossible_time_of_a_message(time):
    message = decode(message_bytes({}, time=time))
    assert (message.time, message.nonfinite) == (None, 1)


def test_nonfinite_values_become_none_and_strings_keep_their_words():
    sent = {
        "v": [math.nan, -math.inf, math.inf, 1.0],
        'NaN "\\': 'Infinity, -Infinity: [NaN] \\" NaN \\',
        "n": {"x": math.nan},
    }
    message = decode(message_bytes(sent))
    kept = {"v": [None, None, None, 1.0], 'NaN "\\': sent['NaN "\\'], "n": {"x": None}}
    assert message.payload == kept
    assert message.nonfinite == 4


def test_envelope_is_what_the_publisher_sent():
    sent = message_bytes({"a": [1, 2.5, "x", None, True]})
    assert envelope(decode(sent)) == json.loads(sent)
    sent = message_bytes(DATA_FILE, "data_file")
    assert envelope(decode(sent))["payload"]["path"] == DATA_FILE["path"]


def test_envelope_survives_msgpack_whatever_was_sent():
    sent = {"wide": [2**63, -(2**64), 10**200, 2**62], "nan": math.nan}
    carried = envelope(decode(message_bytes(sent)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(carried)) == carried
    assert carried["payload"] == {"wide": [2.0**63, -(2.0**64), 1e200, 2**62], "nan": None}


def test_duplicate_keys_the_last_counts():
    datagram = message_bytes({})[:-1] + b', "type": "log", "payload": {"a": 1, "a": 2}}'
    message = decode(datagram)
    assert (message.type, message.payload) == ("log", {"a": 2})


def test_the_largest_datagram():
    shortest = len(message_bytes(""))
    text = "x" * (MAX_DATAGRAM - shortest)
    assert decode(message_bytes(text)).payload == text
    assert refused(message_bytes(text + "x")) == "too_large"


def test_the_deepest_payload():
    assert decode(message_bytes(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)).payload
    assert decode(message_bytes("[" * 60_000)).payload == "[" * 60_000
    assert refused(message_bytes(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))) == "too_deep"


# -- what nobody should send ----------------------------------------------------------------------

GOOD = message_bytes({})
FILE = {"path": "/a"}
REFUSED = [
    ("malformed_json", b""),
    ("malformed_json", b"\x00"),
    ("malformed_json", b"{"),
    ("malformed_json", b"nonsense"),
    ("malformed_json", GOOD[:-1]),
    ("malformed_json", GOOD + b"x"),
    ("malformed_json", GOOD + GOOD),
    ("malformed_json", b"\xef\xbb\xbf" + GOOD),
    ("malformed_json", GOOD.decode().encode("utf-16")),
    ("malformed_json", GOOD.decode().encode("utf-32-le")),
    ("malformed_json", bytes(range(256)) * 255),
    ("malformed_json", message_bytes(b'"\xff"')),
    ("malformed_json", message_bytes(b'"\xed\xa0\x80"')),
    ("malformed_json", message_bytes(rb'"\ud800"')),
    ("malformed_json", message_bytes(rb'{"path": "/\udcff"}', "data_file")),
    ("malformed_json", message_bytes(b'"\x00"')),
    ("malformed_json", message_bytes(b'"a\nb"')),
    ("malformed_json", message_bytes(b"[1,]")),
    ("malformed_json", message_bytes(b"{1: 2}")),
    ("malformed_json", message_bytes(b"{NaN: 2}")),
    ("malformed_json", message_bytes(b"NaNNaN")),
    ("malformed_json", message_bytes(b"-NaN")),
    ("malformed_json", message_bytes(b"\x01NaN")),
    ("malformed_json", message_bytes(b'[NaN, "\x02"]')),
    ("malformed_json", message_bytes(b"'a'")),
    ("malformed_json", message_bytes(b"01")),
    ("malformed_json", message_bytes(b"")),
    ("malformed_json", message_bytes(b'"' * 60_000)),
    ("malformed_json", message_bytes(b"\\" * 60_000)),
    ("malformed_message", b"null"),
    ("malformed_message", b"[]"),
    ("malformed_message", b"{}"),
    ("malformed_message", b'"text"'),
    ("malformed_message", b"1e999"),
    *(
        ("malformed_message", message_bytes({}, **{key: wrong}))
        for key in ("host", "id", "script", "time", "seq_no", "type")
        for wrong in ([], {}, True)
    ),
    *(("malformed_message", message_bytes({}, **{key: None})) for key in ("host", "id", "type")),
    *(("malformed_message", message_bytes({}, **{key: ...})) for key in ("host", "script", "type")),
    ("malformed_message", message_bytes({}, time="1699700001")),
    ("malformed_message", message_bytes({}, seq_no=-1)),
    ("malformed_message", message_bytes({}, seq_no=2**63)),
    ("malformed_message", message_bytes({}, seq_no=10**4000)),
    ("malformed_message", message_bytes({}, seq_no=1.5)),
    ("malformed_message", message_bytes({}, seq_no=math.nan)),
    ("malformed_message", message_bytes({}, seq_no=None)),
    ("malformed_message", message_bytes([1e999 * 0, 10.0]).replace(b"NaN", b"1e999")),
    ("malformed_message", message_bytes(b"[1e-5, 1e999]")),
    *(
        ("malformed_message", message_bytes(payload, "data_file"))
        for payload in (None, [], "x", 1, {}, {"path": 1}, {"path": None}, {"path": ["/a"]})
    ),
    ("malformed_message", message_bytes(FILE | {"plot": "yes"}, "data_file")),
    ("malformed_message", message_bytes(FILE | {"action": 1}, "data_file")),
    ("malformed_message", message_bytes(FILE | {"action_ts": True}, "data_file")),
    ("malformed_message", message_bytes(FILE | {"timestamp": [1]}, "g3_file")),
    ("malformed_message", message_bytes({"value": 1}, "metadata")),
    ("malformed_message", message_bytes({"path": "a"}, "metadata")),
    ("malformed_message", message_bytes({"path": 1, "value": 1}, "metadata")),
    ("bad_path", message_bytes({"path": ""}, "data_file")),
    ("bad_path", message_bytes({"path": "data/x"}, "data_file")),
    ("bad_path", message_bytes({"path": "~/x"}, "data_file")),
    ("bad_path", message_bytes({"path": "/a\0b"}, "g3_file")),
    ("bad_path", message_bytes({"path": "/" * (MAX_PATH + 1)}, "data_file")),
    ("too_large", b" " * MAX_DATAGRAM + GOOD),
    *(("too_large", message_bytes({}, **{k: "x" * 256})) for k in ("host", "id", "script", "type")),
    ("too_large", message_bytes({}, id=10**300)),
    ("too_large", message_bytes(FILE | {"format": "x" * 33}, "data_file")),
    *(
        ("too_large", message_bytes(FILE | {key: "x" * 256}, "data_file"))
        for key in ("type", "action", "pysmurf_version", "archive_name")
    ),
    ("too_large", message_bytes({"path": "x" * 1025, "value": 1}, "metadata")),
    ("too_large", message_bytes({"path": "x", "value": 1, "type": "x" * 256}, "metadata")),
    ("too_large", message_bytes(b"9" * 60_000)),
    ("too_large", message_bytes(b"0." + b"9" * 60_000)),
    ("too_large", message_bytes(list_bytes(b"9" * (MAX_DIGITS + 1)))),
    ("too_large", message_bytes({"path": "x", "value": 10**4000}, "metadata")),
    ("too_large", message_bytes(b"[" + b",".join([b"{}"] * MAX_CONTAINERS) + b"]")),
    ("too_deep", message_bytes(b"[" * 60_000)),
    ("too_deep", message_bytes(b'{"a":' * 12_000)),
    ("too_deep", message_bytes(b'["",[[' * 10_000)),
    ("too_deep", message_bytes(b"[" * 500 + b"]" * 500)),
    ("too_deep", message_bytes(b'{"path": "x", "value": ' + b"[" * 30_000, "metadata")),
    ("too_deep", message_bytes(FILE, "data_file")[:-1] + b', "junk": ' + b"[" * 30_000),
]


@pytest.mark.parametrize(
    ("cause", "datagram"),
    [pytest.param(*case, id=f"{case[0]}-{i}") for i, case in enumerate(REFUSED)],
)
def test_refused(cause, datagram):
    assert refused(datagram) == cause
    assert decode(GOOD).payload == {}


def test_causes_are_those_that_balance():
    of_accepted = next(e.parts for e in CONSERVATION if "messages_decoded" in e.parts)
    assert {cause for cause, _ in REFUSED} == set(of_accepted) - {"messages_decoded"}


def test_every_truncation_is_refused():
    datagram = message_bytes(DATA_FILE | {"timestamp": math.nan}, "data_file")
    assert {refused(datagram[:end]) for end in range(len(datagram))} == {"malformed_json"}


# -- what it costs --------------------------------------------------------------------------------

COSTLY = {
    "nested": b"[" * 60_000,
    "digits": b"9" * 60_000,
    "long integers": list_bytes(b"9" * 300),
    "tiny numbers": list_bytes(b"5e-324"),
    "halves": list_bytes(b"9007199254740993.0"),
    "nan": list_bytes(b"NaN"),
    "nan in strings": list_bytes(b'"NaN",NaN'),
    "escapes": list_bytes(rb'"\\\""'),
    "quotes": b'"' * 60_000,
    "backslashes": b"\\" * 60_000,
    "lists": list_bytes(b"[]"),
    "lists of lists": list_bytes(b"[" * 60 + b"]" * 60),
    "objects": list_bytes(b'{"a":1}'),
    "keys": b"{" + b",".join(b'"%x":1' % i for i in range(6500)) + b"}",
}


@pytest.mark.parametrize("name", COSTLY)
def test_no_datagram_costs_more_than_milliseconds(name):
    datagram = message_bytes(COSTLY[name])

    def attempt():
        try:
            decode(datagram)
        except PeerError:
            return

    # CPU time, and the least of several, as other programs disturb; 6 times the worst measured.
    assert min(timeit.repeat(attempt, timer=time.process_time, number=1, repeat=5)) < 0.02
