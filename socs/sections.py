"""Tables with titles: how a report is handed to whoever prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Section(NamedTuple):
    """A table with a title. ``left_out``: rows for which there is no room."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    left_out: int = 0
