"""Directives that render reference pages from the code, so that the two cannot differ.

========================  ==================================================================
``counters:: TABLE``      a table of :mod:`socs.counters`: name, unit, meaning, action
``conservation:: TABLE``  equations of :mod:`socs.counters` that hold between counters
``limits::``              :mod:`socs.pysmurf.limits`
``message-types::``       the types of :mod:`socs.pysmurf.decode` and how they are counted
``sequence-places::``     what an arriving sequence number can be
``files-table::``         columns of the files table, as MariaDB stores them
``copies-table::``        columns of the table of copies
``files-ddl::``           the SQL that creates the tables
``spool-states::``        states of an entry of the spool, as a diagram and a table
``copy-states::``         states of a copy, as a table
``epics-life::``          states of servers and applications, as a diagram and tables
``epics-pv-states::``     states of process variables, the same
``epics-hosts::``         statuses of hosts
``epics-settings::``      thresholds of the trackers
========================  ==================================================================
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sqlalchemy.dialects import mysql
from state_diagram import Transitions, draw, draw_ring

from socs import counters
from socs.db import batches, copies, pysmurf_files_manager, spool
from socs.epics.track import hosts, life, pvs
from socs.epics.track.settings import TrackSettings
from socs.pysmurf import decode, limits, sequence


def list_table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> list[str]:
    """A ``list-table`` in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [head, *rows]:
        for n, cell in enumerate(row):
            lines.append(f"   {'*' if n == 0 else ' '} - {cell}")
    return [*lines, ""]


def code(text: object) -> str:
    """``text`` as an inline literal."""
    return f"``{text}``"


def literals(text: str) -> str:
    """``text`` of the code, whose literals are in single backquotes, as reStructuredText."""
    return re.sub(r"`([^`]+)`", r"``\1``", text)


def counters_rst(name: str) -> list[str]:
    """The table ``name`` of :mod:`socs.counters`."""
    table: Sequence[counters.Counter] = getattr(counters, name)
    rows = [(code(c.name), c.unit, literals(c.meaning), literals(c.action) or "\\-") for c in table]
    return list_table(("Name", "Unit", "Meaning", "When it moves"), rows, "22 10 38 30")


def conservation_rst(name: str = "CONSERVATION") -> list[str]:
    """One list entry per equation of the table ``name``."""
    equations: Sequence[counters.Conservation] = getattr(counters, name)
    lines: list[str] = []
    for equation in equations:
        whole = " + ".join(map(code, equation.whole))
        parts = " + ".join(map(code, equation.parts))
        lines += [f"* {whole} = {parts}"]
    return [*lines, ""]


_LIMIT = re.compile(r"([A-Z_]+) = (.+?)  # (.+)")
_GROUP = re.compile(r"# -- (.+?) -+")


def limit_groups() -> dict[str, list[tuple[str, Any, str]]]:
    """``{group: [(name, value, comment)]}`` as in the source of :mod:`socs.pysmurf.limits`."""
    groups: dict[str, list[tuple[str, Any, str]]] = {}
    for line in inspect.getsource(limits).splitlines():
        if group := _GROUP.fullmatch(line):
            groups[group[1]] = []
        elif limit := _LIMIT.fullmatch(line):
            value = getattr(limits, limit[1])
            [*groups.values()][-1].append((limit[1], value, limit[3]))
    return groups


def number(value: float) -> str:
    """A number with thousands set apart."""
    return f"{int(value):,}".replace(",", "\N{NO-BREAK SPACE}")


def limits_rst() -> list[str]:
    """A table per group of limits."""
    lines: list[str] = []
    for group, entries in limit_groups().items():
        rows = [(code(name), number(value), comment) for name, value, comment in entries]
        title = group[0].upper() + group[1:]
        lines += [f".. rubric:: {title}", ""]
        lines += list_table(("Limit", "Value", "Of what, and why"), rows, "25 20 55")
    return lines


def message_types_rst() -> list[str]:
    """Types of messages, and the counter of each."""
    rows = [(code(t), code(f"messages_{kind}")) for t, kind in decode.KINDS.items()]
    rows.append(("any other", code("messages_unknown_type")))
    return list_table(("Type", "Counted as"), rows, "30 70")


def sequence_places_rst() -> list[str]:
    """What a number that arrives can be."""
    rows = [
        (place, counted, "yes" if handled else "no")
        for place, (counted, handled) in sequence.PLACES.items()
    ]
    return list_table(("Number is", "Counted as", "Message handled"), rows, "20 60 20")


def files_table_rst() -> list[str]:
    """Columns and indexes of the files table."""
    return table_rst(pysmurf_files_manager.table, "Primary key, in the order of registration")


def copies_table_rst() -> list[str]:
    """Columns and indexes of the table of copies."""
    return table_rst(copies.table, "Primary key: the ``id`` of the file in the files table")


def table_rst(table: sa.Table, key: str) -> list[str]:
    """Columns and indexes of ``table``, whose primary key means ``key``."""
    dialect = mysql.dialect()
    rows = [
        (
            code(column.name) + ("" if column.nullable else " (required)"),
            column.type.compile(dialect),
            literals(column.comment) if column.comment else key,
        )
        for column in table.columns
    ]
    lines = list_table(("Column", "Type", "Meaning"), rows, "25 20 55")
    indexes = [f"({', '.join(c.name for c in i.columns)})" for i in table.indexes]
    return [*lines, "Indexes: " + ", ".join(map(code, sorted(indexes))) + ".", ""]


def create_statements() -> list[str]:
    """The statements that make all tables on MariaDB."""
    dialect = mysql.dialect()
    statements = []
    for table in (pysmurf_files_manager.table, batches.table, copies.table):
        statements.append(str(sa.schema.CreateTable(table).compile(dialect=dialect)))
        statements += [
            str(sa.schema.CreateIndex(index).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        ]
    return [re.sub(r"[ \t]+$", "", text.strip(), flags=re.MULTILINE) for text in statements]


def spool_states_rst() -> list[str]:
    """Who moves an entry on, and into which states."""
    rows = [
        (code(state), who or "\\-", ", ".join(map(code, into)) or "\\- (deleted from the spool)")
        for state, (who, into) in spool.STATES.items()
    ]
    return list_table(("State", "Moved on by", "Into"), rows, "20 25 55")


def copy_states_rst() -> list[str]:
    """What each state means, who moves a copy on, and into which states."""
    rows = [
        (code(state), literals(meaning), who, ", ".join(map(code, into)) or "\\-")
        for state, (meaning, who, into) in copies.STATES.items()
    ]
    return list_table(("State", "Meaning", "Moved on by", "Into"), rows, "14 38 16 32")


def transitions_rst(table: Transitions, causes: Mapping[str, str]) -> list[str]:
    """A row for each entry of a state machine, and what each event means."""
    rows = [
        (code(state), noticed, code(into), code(event) if event else "\\-")
        for (state, noticed), (into, event) in table.items()
    ]
    lines = list_table(("State", "Noticed", "New state", "Event"), rows, "25 25 25 25")
    meanings = [(code(event), cause) for event, cause in causes.items()]
    return lines + list_table(("Event", "Meaning"), meanings, "25 75")


def epics_life_rst() -> list[str]:
    """States of servers and applications."""
    noticed = [(word, meaning) for word, meaning in life.NOTICED.items()]
    lines = list_table(("Noticed", "Meaning"), noticed, "25 75")
    return lines + transitions_rst(life.LIFE, life.EVENTS)


def epics_pv_states_rst() -> list[str]:
    """States of process variables."""
    return transitions_rst(pvs.TRANSITIONS, pvs.CAUSES)


def epics_hosts_rst() -> list[str]:
    """Statuses of hosts, in the order in which they are looked at."""
    rows = [(code(status), meaning) for status, meaning in hosts.STATUS.items()]
    return list_table(("Status", "When"), rows, "25 75")


def epics_settings_rst() -> list[str]:
    """Thresholds of the trackers, their defaults and meanings."""
    text = inspect.getdoc(TrackSettings) or ""
    attributes = text.partition("Attributes:")[2].partition("Raises:")[0]
    rows = []
    for entry in re.findall(r"(?m)^    (\w[\w, ]*): ((?:.*\n?)(?:^        .*\n?)*)", attributes):
        default = getattr(TrackSettings, entry[0], None)
        value = "\\-" if default is None else f"{default:g}"
        rows.append((code(entry[0]), value, literals(" ".join(entry[1].split()))))
    return list_table(("Setting", "Default", "Meaning"), rows, "28 12 60")


class Rendered(SphinxDirective):
    """A directive whose content is written by a function."""

    write: Any = None

    def run(self) -> list[nodes.Node]:
        lines = self.write(*self.arguments)
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, source="the code"), 0, container)
        return list(container.children)


class FilesDdl(SphinxDirective):
    """The SQL of the tables, as a literal block."""

    def run(self) -> list[nodes.Node]:
        text = ";\n\n".join(create_statements()) + ";"
        return [nodes.literal_block(text, text, language="sql")]


class SpoolStates(SphinxDirective):
    """The diagram of :data:`socs.db.spool.STATES`."""

    def run(self) -> list[nodes.Node]:
        lines = spool_states_rst()
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, source="the code"), 0, container)
        picture = nodes.raw("", draw(spool.STATES), format="html")
        return [picture, *container.children]


class RingStates(Rendered):
    """A diagram of a state machine, and its tables."""

    table: Any = None

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", draw_ring(self.table), format="html"), *super().run()]


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    writers = {
        "counters": (counters_rst, 1),
        "conservation": (conservation_rst, 1),
        "limits": (limits_rst, 0),
        "message-types": (message_types_rst, 0),
        "sequence-places": (sequence_places_rst, 0),
        "files-table": (files_table_rst, 0),
        "copies-table": (copies_table_rst, 0),
        "copy-states": (copy_states_rst, 0),
        "epics-hosts": (epics_hosts_rst, 0),
        "epics-settings": (epics_settings_rst, 0),
    }
    for name, (writer, arguments) in writers.items():
        attributes = {"write": staticmethod(writer), "required_arguments": arguments}
        app.add_directive(name, type(name, (Rendered,), attributes))
    for name, writer, table in (
        ("epics-life", epics_life_rst, life.LIFE),
        ("epics-pv-states", epics_pv_states_rst, pvs.TRANSITIONS),
    ):
        attributes = {"write": staticmethod(writer), "table": table}
        app.add_directive(name, type(name, (RingStates,), attributes))
    app.add_directive("files-ddl", FilesDdl)
    app.add_directive("spool-states", SpoolStates)
    return {"parallel_read_safe": True}
