"""An inventory as arrays, to be stored and taken up again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.inventory import COLUMNS, Inventory
from socs.epics.accounts.texts import packed
from socs.errors import Malformed

Columns = dict[str, NDArray[np.generic]]

# parts of an inventory with columns of their own, and which
_PARTS = {
    "requesters": ("keys", "counts", "last", "displaced"),
    "servers": ("keys", "first", "last"),
}
_AT_ONCE = 1 << 16  # names
_NAMES, _LENGTHS, _CLASSES = "names", "name_lengths", "classes"


def columns(inventory: Inventory) -> Columns:
    """All process variables, without gaps: copies of each column of shape (n, ...).

    ``names`` is the bytes of all names one after the other, ``name_lengths`` tells how many are
    whose, and ``classes`` which classes of sources the columns of ``asked`` are.
    """
    known = np.flatnonzero(inventory.names.known[: inventory.end])
    names = inventory.names.names(known)
    found: Columns = {
        _NAMES: np.frombuffer(b"".join(names), np.uint8),
        _LENGTHS: np.array([len(name) for name in names], np.uint16),
        _CLASSES: np.array(inventory.sources.classes.names, np.str_),
    }
    found |= {name: getattr(inventory, name)[known] for name in COLUMNS}
    for part, attributes in _PARTS.items():
        whole = getattr(inventory, part)
        found |= {f"{part}_{name}": getattr(whole, name)[known] for name in attributes}
    return found


def restore(inventory: Inventory, stored: Mapping[str, NDArray[np.generic]]) -> int:
    """Take up what `columns` gave, into an empty inventory; how many process variables.

    If there is no room for all, the first ones are taken. Requests of classes that do not exist any
    more are left out; of requesters and servers the first ones are taken if fewer are kept now.

    Raises:
        Malformed: the columns do not fit together.
    """
    lengths = _column(stored, _LENGTHS).astype(np.int64)
    octets = _column(stored, _NAMES).astype(np.uint8)
    if octets.ndim != 1 or lengths.ndim != 1 or int(lengths.sum()) != len(octets):
        raise Malformed("names and their lengths do not fit together", "snapshot_malformed")
    numbers = _numbers(inventory, octets, lengths)
    taken = np.flatnonzero(numbers >= 0)
    to = numbers[taken]
    for name in COLUMNS:
        values = _column(stored, name, len(lengths))[taken]
        if name == "asked":
            values = _by_class(inventory, values, _column(stored, _CLASSES))
        _put(getattr(inventory, name), to, values)
    for part, attributes in _PARTS.items():
        whole = getattr(inventory, part)
        for name in attributes:
            _put(getattr(whole, name), to, _column(stored, f"{part}_{name}", len(lengths))[taken])
    return len(np.unique(to))


def _numbers(
    inventory: Inventory, octets: NDArray[np.uint8], lengths: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Take up the names, some at a time, as each needs much memory meanwhile; their numbers."""
    starts = np.cumsum(lengths) - lengths
    found = [np.zeros(0, np.int32)]
    for first in range(0, len(lengths), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        texts = packed(octets, starts[part], lengths[part])
        found.append(inventory.names.take(texts.words, texts.at, texts.counts))
    return np.concatenate(found)


def _column(
    stored: Mapping[str, NDArray[np.generic]], name: str, rows: int | None = None
) -> NDArray[np.generic]:
    column = stored.get(name)
    if column is None or (rows is not None and len(column) != rows):
        raise Malformed(f"{name}: no such column, or one of another length", "snapshot_malformed")
    return column


def _by_class(
    inventory: Inventory, values: NDArray[np.generic], classes: NDArray[np.generic]
) -> NDArray[np.uint64]:
    """Requests by the classes that exist now."""
    now = inventory.sources.classes.names
    asked = np.zeros((len(values), len(now)), np.uint64)
    for column, name in enumerate(classes.tolist()):
        if name in now:
            asked[:, now.index(name)] = values[:, column]
    return asked


def _put(
    column: NDArray[np.generic], numbers: NDArray[np.integer], values: NDArray[np.generic]
) -> None:
    """Set what fits of ``values``."""
    whole = column.dtype.kind in "biu"
    if column.ndim != values.ndim or values.dtype.kind not in ("biu" if whole else "biuf"):
        raise Malformed("a column of another shape or type", "snapshot_malformed")
    if column.ndim == 1:
        column[numbers] = values
    else:
        width = min(column.shape[1], values.shape[1])
        column[numbers, :width] = values[:, :width]
