"""The slow signal of a camera of TARGET modules: received, assembled, published, stored, read.

The classes that programs use are here, each loaded when it is first asked for, as some need
libraries of the extra ``slow-signal``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "SSReadout": "socs.slow_signal.readout",
    "SSDataReader": "socs.slow_signal.store",
    "SSDataWriter": "socs.slow_signal.store",
    "SSFileWriter": "socs.slow_signal.store",
    "open_dataset": "socs.slow_signal.store",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
