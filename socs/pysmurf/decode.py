"""Datagrams of the pysmurf publisher, as typed messages.

A datagram is one JSON object: the keys ``host id script time seq_no type payload``, as written by
``Publisher.publish`` in pysmurf (``client/util/pub.py`` and ``core/utilities/_SmurfPublisher.py``).
The invariant: any bytes either decode or raise :class:`~socs.errors.PeerError`.

Where real senders differ, both are taken:

- ``id`` and ``script`` may be numbers (options read from YAML); they become text.
- ``action_ts`` is text with digits in pysmurf (``get_timestamp``), a number or null elsewhere; it
  becomes an integer. ``timestamp`` is treated alike. One that is no time becomes None and is
  counted, because the file is worth more than its time.
- ``action``, ``action_ts``, ``format``, ``pysmurf_version``, ``plot``, ``type`` and ``timestamp``
  may be missing: the publisher on the server knows no actions, the streamer sends only
  ``path`` and ``archive_name``.
- ``seq_no`` may be missing; such messages are not checked for gaps.
- NaN, Infinity and -Infinity are what Python's ``json`` writes though JSON has no such values. They
  become None and are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from socs.errors import Malformed, TooLarge
from socs.pysmurf.limits import (
    MAX_CONTAINERS,
    MAX_DATAGRAM,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_FORMAT,
    MAX_NAME,
    MAX_PATH,
    MAX_REGISTER,
    MAX_SEQUENCE,
    MAX_TIME,
)

Kind = Literal["file", "session", "metadata", "lifecycle", "backend_error", "unknown_type"]
T = TypeVar("T")

# type of a message: its kind; a message of kind K is counted as ``messages_K``
KINDS: dict[str, Kind] = {
    "data_file": "file",
    "g3_file": "file",
    "session_data": "session",
    "session_log": "session",
    "metadata": "metadata",
    "start": "lifecycle",
    "stop": "lifecycle",
    "log": "lifecycle",
    "general": "lifecycle",
    "backend_error": "backend_error",
}
UNNUMBERED = -1  # seq_no of a message that carries none


class FileAnnouncement(msgspec.Struct, frozen=True):
    """Payload of ``data_file`` and ``g3_file``.

    ``path`` is absolute and holds no NUL byte; whether it leads below a data root is not checked
    here. ``timestamp`` and ``action_ts`` are UNIX times [s].
    """

    path: str
    type: str = ""
    format: str = ""
    timestamp: float | None = None
    action: str | None = None
    action_ts: int | None = None
    plot: bool = False
    pysmurf_version: str | None = None
    archive_name: str | None = None


class Metadata(msgspec.Struct, frozen=True):
    """Payload of ``metadata``: a register's path, its value and the Python type it had."""

    path: str
    value: Any
    type: str = ""


class Message(msgspec.Struct, frozen=True):
    """One message. ``time`` is the publisher's UNIX time [s].

    ``payload`` is a :class:`FileAnnouncement` for the kind ``file``, a :class:`Metadata` for the
    kind ``metadata``, and what JSON held for all others. ``nonfinite`` counts the values that were
    NaN, infinite or no time, and are None now.
    """

    host: str
    id: str
    script: str
    time: float | None
    seq_no: int
    type: str
    payload: Any
    nonfinite: int = 0

    @property
    def kind(self) -> Kind:
        """Which way the message goes; counted as ``messages_<kind>``."""
        return KINDS.get(self.type, "unknown_type")


# Times are taken as raw text: what a number costs is then paid once, also if its key is repeated.
_NULL = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    type: str
    host: str
    id: str | int
    script: str | int
    time: msgspec.Raw
    payload: msgspec.Raw = _NULL
    seq_no: int | msgspec.UnsetType = msgspec.UNSET


class _File(msgspec.Struct, frozen=True, gc=False):
    path: str
    type: str | None = ""
    format: str | None = ""
    timestamp: msgspec.Raw = _NULL
    action: str | None = None
    action_ts: msgspec.Raw = _NULL
    plot: bool | int | None = False
    pysmurf_version: str | None = None
    archive_name: str | None = None


class _Metadata(msgspec.Struct, frozen=True):
    path: str
    value: Any
    type: str | None = ""


def _float(text: str) -> float:
    value = float(text)
    if value in (math.inf, -math.inf):
        raise msgspec.ValidationError("Number out of range")
    return value


_envelope = msgspec.json.Decoder(_Envelope).decode
_file = msgspec.json.Decoder(_File).decode
_metadata = msgspec.json.Decoder(_Metadata).decode
_anything = msgspec.json.Decoder().decode
# msgspec takes up to 8 us for a number with an exponent, Python's float() 0.9 us at most.
_metadata_exponents = msgspec.json.Decoder(_Metadata, float_hook=_float).decode
_anything_exponents = msgspec.json.Decoder(float_hook=_float).decode


def decode(datagram: bytes) -> Message:
    """The message in ``datagram``.

    Raises:
        PeerError: with ``cause`` one of ``malformed_json``, ``malformed_message``, ``too_large``,
            ``too_deep`` and ``bad_path``.
    """
    if len(datagram) > MAX_DATAGRAM:
        raise TooLarge(f"a datagram of {len(datagram)} bytes")
    nonfinite = 0
    try:
        envelope = _read(_envelope, datagram)
    except Malformed as error:
        if error.cause != "malformed_json":
            raise
        standard, nonfinite = _without_nonfinite(datagram)
        if not nonfinite:
            raise
        envelope = _read(_envelope, standard)
    id, script, seq_no = envelope.id, envelope.script, envelope.seq_no
    if type(id) is not str:
        id = str(id)
    if type(script) is not str:
        script = str(script)
    if len(id) > MAX_NAME or len(script) > MAX_NAME or len(envelope.host) > MAX_NAME:
        raise TooLarge(f"host, id or script of more than {MAX_NAME} characters")
    if len(envelope.type) > MAX_NAME:
        raise TooLarge(f"a type of more than {MAX_NAME} characters")
    if seq_no is msgspec.UNSET:
        seq_no = UNNUMBERED
    elif not 0 <= seq_no <= MAX_SEQUENCE:
        raise Malformed("seq_no is not between 0 and 2**63 - 1", "malformed_message")
    time, is_no_time = _unix_time(envelope.time)
    payload, unusable = _payload(envelope)
    nonfinite += is_no_time + unusable
    return Message(envelope.host, id, script, time, seq_no, envelope.type, payload, nonfinite)


def envelope(message: Message) -> dict[str, Any]:
    """The message with exactly the publisher's keys, of values that JSON and WAMP can carry.

    ``seq_no`` is None where the publisher sent none.
    """
    return {
        "host": message.host,
        "id": message.id,
        "script": message.script,
        "time": message.time,
        "seq_no": None if message.seq_no == UNNUMBERED else message.seq_no,
        "type": message.type,
        "payload": msgspec.to_builtins(message.payload),
    }


def _read(decoder: Callable[[bytes | msgspec.Raw], T], data: bytes | msgspec.Raw) -> T:
    """The one border where JSON errors become ours."""
    try:
        return decoder(data)
    except msgspec.ValidationError as error:
        raise Malformed(str(error), "malformed_message") from None
    except RecursionError:
        raise TooLarge("nested too deep", "too_deep") from None
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise Malformed(str(error), "malformed_json") from None


# -- payloads -------------------------------------------------------------------------------------


def _payload(envelope: _Envelope) -> tuple[Any, int]:
    """The payload, and how many of its values are no times though they should be."""
    kind = KINDS.get(envelope.type)
    if kind == "file":
        return _file_payload(_read(_file, envelope.payload))
    raw = bytes(envelope.payload)
    wide, exponents = _check_size(raw)
    if kind == "metadata":
        register = _read(_metadata_exponents if exponents else _metadata, raw)
        if len(register.path) > MAX_REGISTER or len(register.type or "") > MAX_NAME:
            raise TooLarge(f"a register path of more than {MAX_REGISTER} characters, or its type")
        value = _narrow(register.value) if wide else register.value
        return Metadata(register.path, value, register.type or ""), 0
    value = _read(_anything_exponents if exponents else _anything, raw)
    return (_narrow(value) if wide else value), 0


def _file_payload(file: _File) -> tuple[FileAnnouncement, int]:
    path, format = file.path, file.format or ""
    if not path.startswith("/") or "\0" in path:
        raise Malformed("a file path that is not absolute, or contains NUL", "bad_path")
    if len(path) > MAX_PATH:
        raise Malformed(f"a file path of more than {MAX_PATH} characters", "bad_path")
    if len(format) > MAX_FORMAT:
        raise TooLarge(f"a file format of more than {MAX_FORMAT} characters")
    for text in (file.type, file.action, file.pysmurf_version, file.archive_name):
        if text is not None and len(text) > MAX_NAME:
            raise TooLarge(f"type, action, version or archive of more than {MAX_NAME} characters")
    timestamp, bad_timestamp = _unix_time(file.timestamp, text=True)
    action_ts, bad_action_ts = _unix_time(file.action_ts, text=True)
    announcement = FileAnnouncement(
        path,
        file.type or "",
        format,
        timestamp,
        file.action,
        None if action_ts is None else int(action_ts),
        bool(file.plot),
        file.pysmurf_version,
        file.archive_name,
    )
    return announcement, bad_timestamp + bad_action_ts


def _unix_time(raw: msgspec.Raw, *, text: bool = False) -> tuple[float | None, int]:
    """UNIX time [s] from a JSON number, or from digits in a JSON string if ``text`` is allowed.

    A value that is no time becomes None; the second result is 1 then, else 0.

    Raises:
        Malformed: it is of another type.
    """
    value = bytes(raw)
    if value == b"null":
        return None, 0
    if value[0] == _QUOTE and text:
        value = value[1:-1]
    elif value[0] not in _NUMBER_BEGINS:
        raise Malformed("a time that is not a number", "malformed_message")
    if len(value) > MAX_DIGITS:
        return None, 1
    try:
        time = float(value)
    except ValueError:
        return None, 1
    return (time, 0) if 0 <= time < MAX_TIME else (None, 1)


def _narrow(value: Any) -> Any:
    """Integers beyond 64 bits as floats, because WAMP serialisers refuse them.

    Recursive; :data:`MAX_DEPTH` and :data:`MAX_DIGITS` were checked.
    """
    if type(value) is int:
        return value if -MAX_SEQUENCE <= value <= MAX_SEQUENCE else float(value)
    if type(value) is list:
        return [_narrow(item) for item in value]
    if type(value) is dict:
        return {key: _narrow(item) for key, item in value.items()}
    return value


# -- what JSON text may cost ----------------------------------------------------------------------
# Each of these reads the text a fixed number of times, whatever it holds.

_QUOTE = ord('"')
_NUMBER_BEGINS = b"-0123456789"
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789E", b"0" * 9 + b"e")
_OPENERS_AS_ONE = np.zeros(256, np.int8)
_OPENERS_AS_ONE[[ord("["), ord("{")]] = 1
_OPENERS_AS_ONE[[ord("]"), ord("}")]] = -1
_SHORTEST_WIDE = b"0" * 19  # digits of 2**63
_HIDE = bytes.maketrans(b"NI", b"\x01\x02")
_SHOW = bytes.maketrans(b"\x01\x02", b"NI")


def _check_size(text: bytes) -> tuple[bool, bool]:
    """Whether ``text`` may hold integers beyond 64 bits, and numbers with an exponent.

    Raises:
        TooLarge: nested deeper than :data:`MAX_DEPTH`, more than :data:`MAX_CONTAINERS` lists and
            objects, or a number longer than :data:`MAX_DIGITS`.
    """
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        steps = _OPENERS_AS_ONE[_outside_strings(text)]
        if np.cumsum(steps, dtype=np.int32).max() > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}", "too_deep")
        if np.count_nonzero(steps == 1) > MAX_CONTAINERS:
            raise TooLarge(f"more than {MAX_CONTAINERS} lists and objects")
    zeroed = text.translate(_DIGITS_AS_ZERO)
    wide = _SHORTEST_WIDE in zeroed
    if wide and len(text) > MAX_DIGITS:
        digits = _outside_strings(text).tobytes().translate(_DIGITS_AS_ZERO)
        if b"0" * (MAX_DIGITS + 1) in digits:
            raise TooLarge(f"a number of more than {MAX_DIGITS} digits")
    return wide, b"0e" in zeroed


def _inside_strings(text: bytes) -> NDArray[np.bool_]:
    """For each byte of JSON ``text``, whether it is in a string (its opening quote is)."""
    unescaped = text.replace(rb"\\", b"  ").replace(rb"\"", b"  ")
    quotes = np.frombuffer(unescaped, np.uint8) == ord('"')
    odd: NDArray[np.bool_] = (np.cumsum(quotes, dtype=np.uint8) & 1).view(np.bool_)
    return odd


def _outside_strings(text: bytes) -> NDArray[np.uint8]:
    """The bytes of ``text``, those in strings replaced by blanks."""
    return np.where(_inside_strings(text), np.uint8(ord(" ")), np.frombuffer(text, np.uint8))


def _without_nonfinite(text: bytes) -> tuple[bytes, int]:
    """``text`` with null for each NaN and Infinity outside strings, and how many there were."""
    if b"NaN" not in text and b"Infinity" not in text:
        return text, 0
    if b"\x01" in text or b"\x02" in text:  # never legal in JSON, and needed as marks here
        return text, 0
    hidden = np.frombuffer(text.translate(_HIDE), np.uint8)
    marked = np.where(_inside_strings(text), hidden, np.frombuffer(text, np.uint8)).tobytes()
    count = marked.count(b"NaN") + marked.count(b"Infinity")
    for token in (b"-Infinity", b"Infinity", b"NaN"):
        marked = marked.replace(token, b"null")
    return marked.translate(_SHOW), count
