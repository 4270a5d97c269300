"""Names of feeds and fields for register values, and one stable type for each field.

OCS drops a field whose type changes, and refuses a message whose fields are not always the same.
So each register path gets a block of its own, whose names and types are fixed by the first value.

The names are those that ``Feed.enforce_field_name_rules`` of OCS makes of the path: they are what
people and programs downstream know. Where two paths would get the same name, the later one gets a
suffix of digits derived from its path.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from typing import Any, NamedTuple

from socs.errors import PeerError
from socs.pysmurf.limits import (
    MAX_FIELD_NAME,
    MAX_FIELDS,
    MAX_LIST,
    MAX_STREAM_NAME,
    MAX_TEXT,
)

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_]")
_BEFORE_LETTER = re.compile(r"^(_*)[^A-Za-z]*")
_LIST_ROOM = len("_64_values")  # characters that the longest name of a block adds to a name
_SAFE_STREAM = re.compile(rf"[A-Za-z0-9_]{{1,{MAX_STREAM_NAME}}}")


class Sample(NamedTuple):
    """A value as a recorded OCS feed takes it: the block's name, and field name to value."""

    block_name: str
    data: dict[str, float | str]


class _Block(NamedTuple):
    name: str
    fields: list[str]
    shape: str  # "a number", "a text" or "a list of n numbers"


def feed_name(pub_id: str) -> str:
    """Feed for the registers of a publisher: ``<stream_id>_meta`` for ``STREAMER:<stream_id>``.

    A stream id with characters that an OCS address cannot hold, or with more than
    :data:`~socs.pysmurf.limits.MAX_STREAM_NAME`, gets a suffix of digits that keeps it distinct.
    """
    stream_id = pub_id.split(":")[1] if ":" in pub_id else pub_id
    if _SAFE_STREAM.fullmatch(stream_id):
        return f"{stream_id}_meta"
    readable = _NOT_ALLOWED.sub("", stream_id)[:MAX_STREAM_NAME] or "stream"
    return f"{readable}_{_digits(stream_id)}_meta"


class FieldTable:
    """The blocks and fields of one feed.

    Args:
        limit_fields: fields beyond which new registers are refused.
    """

    def __init__(self, limit_fields: int = MAX_FIELDS) -> None:
        self._limit_fields = limit_fields
        self._blocks: dict[str, _Block] = {}  # by register path
        self._taken: set[str] = set()  # names of fields and blocks
        self._fields = 0

    def __len__(self) -> int:
        """Fields in use."""
        return self._fields

    def __contains__(self, path: str) -> bool:
        """Does register ``path`` have its fields already?"""
        return path in self._blocks

    def sample(self, path: str, value: Any) -> Sample:
        """The sample for ``value`` of register ``path``.

        Numbers and booleans become floats, text stays text, a list of 1 to
        :data:`~socs.pysmurf.limits.MAX_LIST` numbers becomes the fields ``name_0``, ``name_1``, ...

        Raises:
            PeerError: with ``cause`` one of ``metadata_unsupported``, ``metadata_type_changed``
                (also a list of another length) and ``metadata_refused``.
        """
        shape, values = _shaped(value)
        block = self._blocks.get(path)
        if block is None:
            block = self._new_block(path, shape, None if type(value) is not list else len(value))
        elif block.shape != shape:
            text = f"{block.name} was {block.shape} and is {shape} now"
            raise PeerError(text, "metadata_type_changed")
        return Sample(block.name, dict(zip(block.fields, values, strict=True)))

    def _new_block(self, path: str, shape: str, length: int | None) -> _Block:
        if self._fields + (length or 1) > self._limit_fields:
            raise PeerError(f"more than {self._limit_fields} fields", "metadata_refused")
        room = MAX_FIELD_NAME - (0 if length is None else _LIST_ROOM)
        name, attempt = _name(path, room), 0
        while True:
            block = _named(name, shape, length)
            if self._taken.isdisjoint((block.name, *block.fields)):
                break
            suffix = "_" + _digits(f"{path}{attempt or ''}")
            name = _name(path, room - len(suffix)) + suffix
            attempt += 1
        self._blocks[path] = block
        self._taken.update((block.name, *block.fields))
        self._fields += len(block.fields)
        return block


def _name(path: str, room: int) -> str:
    """The name that OCS gives to ``path``, or one of our own if OCS would leave no letter."""
    name = _BEFORE_LETTER.sub(r"\1", _NOT_ALLOWED.sub("", path.replace(" ", "_")))[:room]
    if not name.strip("_"):
        return f"invalid_field_{_digits(path)}" if path else "invalid_field"
    return name


def _named(name: str, shape: str, length: int | None) -> _Block:
    if length is None:
        return _Block(name, [name], shape)
    return _Block(f"{name}_{length}_values", [f"{name}_{i}" for i in range(length)], shape)


def _digits(text: str) -> str:
    """Ten digits derived from ``text``: no letters, as readers strip those of ``_meta`` off."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return f"{int.from_bytes(digest, 'big') % 10**10:010d}"


def _shaped(value: Any) -> tuple[str, list[float] | list[str]]:
    """What ``value`` is, in words, and the values of its fields."""
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return "a text", [value]
    if isinstance(value, list) and 1 <= len(value) <= MAX_LIST:
        return f"a list of {len(value)} numbers", [_number(item) for item in value]
    return "a number", [_number(value)]


def _number(value: Any) -> float:
    if isinstance(value, int | float):
        with contextlib.suppress(OverflowError):
            number = float(value)
            if math.isfinite(number):
                return number
    raise PeerError(
        f"{type(value).__name__}: not a finite number, a text or a short list of numbers",
        "metadata_unsupported",
    )
