"""Names are found while others come in and go."""

from __future__ import annotations

import numpy as np

from socs.epics.accounts.find import NameFinder
from socs.epics.accounts.names import NameTable


def table_of(*names: str) -> NameTable:
    table = NameTable(1000, secret=1)
    for name in names:
        table.add(name.encode())
    return table


def found(finder: NameFinder, table: NameTable) -> list[str]:
    return [name.decode() for name in table.names(finder.page("*", most=100).numbers)]


def test_names_stay_as_they_were_whatever_becomes_of_the_table() -> None:
    table = table_of("B:LONG:NAME:OF:MANY:WORDS", "A", "C")
    still = table.still()
    table.forget(np.array([table.number(b"B:LONG:NAME:OF:MANY:WORDS")]))
    for number in range(50):
        table.add(b"NEW:%d" % number)
    numbers = np.flatnonzero(still.known)
    assert sorted(still.names(numbers)) == [b"A", b"B:LONG:NAME:OF:MANY:WORDS", b"C"]


def test_each_look_has_the_names_of_its_time_in_their_order() -> None:
    table = table_of("M", "C", "X")
    finder = NameFinder(table)
    still = table.still()
    table.add(b"A")
    finder.refresh(still)
    assert found(finder, table) == ["C", "M", "X"]
    table.forget(np.array([table.number(b"M")]))
    table.add(b"Z")  # has the number that M had
    table.add(b"D")
    finder.refresh()
    assert found(finder, table) == ["A", "C", "D", "X", "Z"]
    table.forget(np.arange(table.end))
    finder.refresh()
    assert found(finder, table) == []
