"""Directives that render the layouts of the slow signal from the code.

==========================  =================================================================
``readout-on-the-wire::``   :data:`socs.slow_signal.layout.WIRE`
``readout-message:: NAME``  one of :data:`socs.slow_signal.readout.MESSAGES`
``readout-file:: NAME``     one of :data:`socs.slow_signal.store.formats.LAYOUTS`
``camera-face::``           :data:`socs.slow_signal.face.MODULE_PLACES`
``pixel-orders::``          :data:`socs.slow_signal.pixels.ORDERS`
==========================  =================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from docutils import nodes
from socs_reference import Rendered, code, list_table, number
from sphinx.util.docutils import SphinxDirective

from socs.slow_signal import face, layout, pixels, readout

# What a field is, whatever it is called. {column of ours: meaning}
MEANINGS = {
    "number": "Number of the readout, from 1",
    "tack": "TACK of the readout: that of the present module with the lowest number [ns]",
    "cpu_ns": "UTC [ns since 1970]",
    "cpu_s": "UTC, whole seconds since 1970",
    "cpu_rest": "UTC, the nanoseconds to be added to these",
    "cpu_t": "UTC [s since 1970]",
    "present": "Bit m is set if module m is there",
    "amplitudes": "Amplitudes of modules and pixels, as sent [mV]; NaN where a module is absent",
    "tacks": "Primary and second TACK of each module [ns]; 0 where it is absent",
    "counts": "Counts of modules and pixels, as differences; 0 where a module is absent",
}
WIRE_MEANINGS = {
    "tack": "Primary TACK [ns]: readouts are put together by it",
    "low": "Pixels 0 to 31: counts, with their highest bit inverted",
    "aux": "Second TACK [ns]: kept, and used for nothing",
    "high": "Pixels 32 to 63",
}
MESSAGE_FIELDS = {
    **{name: name for name in ("number", "tack", "tacks", "cpu_s")},
    **{"data": "amplitudes", "cpu_ns": "cpu_rest"},
}
TABLE_FIELDS = {
    **dict.fromkeys(("number", "readout_number", "iro"), "number"),
    **dict.fromkeys(("tack", "ro_time", "time"), "tack"),
    **{"data": "amplitudes", "time_stamps": "tacks", "cpu_ns": "cpu_ns", "present": "present"},
    **{"cpu_t": "cpu_t", "cpu_t_s": "cpu_s", "cpu_t_ns": "cpu_rest"},
}
TELESCOPE_MEANINGS = {
    "db_t": "UTC [s since 1970]",
    "db_t_ns": "its nanoseconds",
    "db_t_s": "its whole seconds",
    "dec": "Declination",
    "ra": "Right ascension",
}


def shape(dtype: np.dtype[Any]) -> str:
    """A field's type, such as ``32 x 64 f4``."""
    base, dimensions = dtype.base, " x ".join(map(str, dtype.shape))
    name = f"{base.kind}{base.itemsize}"
    return f"{dimensions} {name}" if dimensions else name


def fields(dtype: np.dtype[Any], meanings: dict[str, str]) -> list[str]:
    """A table of the fields of ``dtype``; each must have a meaning."""
    assert dtype.fields is not None
    rows = [
        (number(dtype.fields[name][1]), code(name), shape(dtype.fields[name][0]), meanings[name])
        for name in dtype.names or ()
    ]
    return list_table(("Byte", "Name", "Type", "What"), rows, "10 20 18 52")


def wire_rst() -> list[str]:
    """One readout of one module."""
    return fields(layout.WIRE, WIRE_MEANINGS)


def message_rst(name: str) -> list[str]:
    """A message to subscribers."""
    meanings = {ours: MEANINGS[column] for ours, column in MESSAGE_FIELDS.items()}
    return fields(readout.MESSAGES[name], meanings)


def file_rst(name: str) -> list[str]:
    """A layout of files: datasets, and the columns of their tables."""
    from socs.slow_signal.store import formats  # noqa: PLC0415  needs PyTables

    group = f"/{formats.GROUP}"
    table = f"{group}/{formats.READOUT_TABLE}"
    telescope = [
        f"``{group}/{formats.TELESCOPE_TABLE}``, a table with where the telescope pointed:",
        "",
        *fields(formats.TELESCOPE, TELESCOPE_MEANINGS),
    ]
    meanings = {theirs: MEANINGS[column] for theirs, column in TABLE_FIELDS.items()}
    if name != formats.NATIVE:
        known = formats.PEER_TABLES[name]
        lines = [
            f"``{table}``, a table with a row per readout, {number(known.row.itemsize)} bytes:"
        ]
        lines += ["", *fields(known.row, meanings)]
        attribute, version = known.version
        lines += [f"Its reader looks for the attribute ``{attribute}`` = {version}.", ""]
        return lines + (telescope if known.has_telescope else [])
    camera = f"(n, {layout.MODULES}, {layout.PIXELS})"
    arrays = [
        (code(f"{group}/counts"), code(f"{camera} u2"), MEANINGS["counts"]),
        (
            code(f"{group}/tacks"),
            code(f"(n, {layout.MODULES}, 2) u8"),
            MEANINGS["tacks"].replace(" [ns]", ", as differences [ns]"),
        ),
        (
            code(f"{group}/residues"),
            code(f"{camera} f4"),
            "What the counts cannot tell of the amplitudes [mV]; only in files of a program"
            " whose amplitudes are no whole counts",
        ),
    ]
    return [
        f"``{table}``, a table with a row per readout:",
        "",
        *fields(formats.NATIVE_ROW, meanings),
        *list_table(("Array", "Shape and type", "What"), arrays, "26 26 48"),
        *telescope,
    ]


def face_text() -> str:
    """The numbers of the modules where they are, seen as the camera's tables have it."""
    grid = [["  "] * face.MODULES_ACROSS for _ in range(face.MODULES_ACROSS)]
    for module, (row, column) in enumerate(face.MODULE_PLACES):
        grid[row][column] = f"{module:2}"
    return "\n".join("  ".join(row).rstrip() for row in grid)


def orders_rst() -> list[str]:
    """Which pixel, as sent, is where in each order."""
    rows = [
        (code(name), " ".join(map(str, order.tolist())))
        for name, order in pixels.ORDERS.items()
        if name != "raw"
    ]
    return list_table(("Order", "Pixel, as sent, of place 0, 1, ... 63"), rows, "20 80")


class CameraFace(SphinxDirective):
    """The camera, as a literal block."""

    def run(self) -> list[nodes.Node]:
        return [nodes.literal_block(face_text(), face_text(), language="none")]


def directives() -> Iterator[tuple[str, Any]]:
    """Each directive with its name."""
    for name, write, arguments in (
        ("readout-on-the-wire", wire_rst, 0),
        ("readout-message", message_rst, 1),
        ("readout-file", file_rst, 1),
        ("pixel-orders", orders_rst, 0),
    ):
        attributes = {"write": staticmethod(write), "required_arguments": arguments}
        yield name, type(name, (Rendered,), attributes)
    yield "camera-face", CameraFace


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    for name, directive in directives():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
