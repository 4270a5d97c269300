"""Directives that render what is said of Tango from the code.

=========================  =====================================================
``multicast-defaults::``   :data:`socs.tango.multicast.DEFAULTS`
``multicast-findings::``   :data:`socs.tango.multicast.KINDS`
=========================  =====================================================
"""

from __future__ import annotations

from typing import Any

from socs_reference import Rendered, code, list_table, literals

from socs.tango.multicast import DEFAULTS, KINDS


def defaults_rst() -> list[str]:
    """The properties that hold one number for all events."""
    rows = [(code(d.name), f"{d.value} {d.unit}", d.meaning) for d in DEFAULTS]
    return list_table(("Property", "If it does not exist", "What it is"), rows, "24 24 52")


def findings_rst() -> list[str]:
    """All findings, errors first."""
    rows = [
        (kind.severity, code(name), literals(kind.meaning), literals(kind.remedy))
        for name, kind in KINDS.items()
    ]
    rows.sort(key=lambda row: ("error", "warning", "note").index(row[0]))
    return list_table(("Severity", "Code", "What it means", "What to do"), rows, "10 24 38 28")


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    for name, write in (
        ("multicast-defaults", defaults_rst),
        ("multicast-findings", findings_rst),
    ):
        attributes = {"write": staticmethod(write), "required_arguments": 0}
        app.add_directive(name, type(name, (Rendered,), attributes))
    return {"parallel_read_safe": True}
