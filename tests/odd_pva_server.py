"""A real server of PV Access whose values are no plain ones: ``python -m tests.odd_pva_server``.

It takes a prefix, and prints the port on which it listens as :mod:`socs.sim.epics_server` does.
"""

import sys
import threading

import numpy as np
from p4p import Type, Value
from p4p.nt import NTNDArray, NTScalar, NTTable
from p4p.server import Server
from p4p.server.thread import SharedPV

from socs.sim.epics_server import tell


def values():
    """By the ends of names."""
    free = Type([("a", "i"), ("b", ("S", "inner", [("c", "ad"), ("d", "v")]))], id="my:type/X:1.0")
    union = Type([("value", ("U", None, [("x", "d"), ("y", "as")]))])
    parts = Type([("value", ("aS", None, [("x", "d")]))])
    odd_alarm = Type([("value", "d"), ("alarm", "s"), ("timeStamp", "l"), ("display", "v")])
    stamp = ("S", None, [("secondsPastEpoch", "s"), ("nanoseconds", "ad")])
    display = ("S", None, [("limitLow", "s"), ("limitHigh", "d"), ("precision", "s")])
    odd_time = Type([("value", "d"), ("timeStamp", stamp), ("display", display)])
    shown = {"limitLow": "low", "limitHigh": 3.0, "precision": "high"}
    yield "odd_time", Value(odd_time, {"timeStamp": {"secondsPastEpoch": "now"}, "display": shown})
    yield "table", NTTable([("n", "i"), ("name", "s")]).wrap([{"n": 1, "name": "one"}])
    yield "free", Value(free, {"a": 5, "b": {"c": [1.0, 2.0], "d": "any"}})
    yield "union", Value(union, {"value": ("y", ["one", "two"])})
    yield "parts", Value(parts, {"value": [{"x": 1.0}, {"x": float("nan")}]})
    yield "odd_alarm", Value(odd_alarm, {"value": 2.0, "alarm": "none", "timeStamp": 7})
    yield "image", NTNDArray().wrap(np.arange(12, dtype=np.uint8).reshape(3, 4))
    yield "strings", NTScalar("as").wrap(["one", "two\x1b", "three"])
    yield "boolean", NTScalar("?").wrap(True)
    yield "big", NTScalar("L").wrap(2**64 - 1)


def main() -> None:
    """Serve until killed."""
    pvs = {sys.argv[1] + end: SharedPV(initial=value) for end, value in values()}
    with Server(providers=[pvs]) as server:
        tell(pva=int(server.conf()["EPICS_PVAS_SERVER_PORT"]))
        threading.Event().wait()


if __name__ == "__main__":
    main()
