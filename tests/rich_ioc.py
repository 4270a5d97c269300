"""A real IOC whose records have all that can be told: ``python -m tests.rich_ioc PREFIX``.

It prints the ports on which it listens as :mod:`socs.sim.epics_server` does.
"""

import math
import re
import sys
import tempfile
import threading

import numpy as np
from epicscorelibs.ioc import iocshCmd
from softioc import asyncio_dispatcher, builder, softioc

from socs.sim.epics_server import _printed, tell

SECURITY = b"""
ASG(DEFAULT) { RULE(1, READ) RULE(1, WRITE) }
ASG(READONLY) { RULE(1, READ) }
ASG(SECRET)
"""
LONG = 150_000  # elements; more than are read at once


def records(prefix: str) -> None:
    """What the tests ask for."""
    builder.SetDeviceName(prefix.rstrip(":"))
    builder.aOut(
        "rich",
        initial_value=12.5,
        DESC="how far",
        EGU="mm",
        PREC=3,
        HOPR=20,
        LOPR=-20,
        DRVH=15,
        DRVL=-15,
        HIHI=10,
        HIGH=8,
        LOW=-8,
        LOLO=-10,
        HHSV="MAJOR",
        HSV="MINOR",
        LSV="MINOR",
    )
    builder.aIn("alarmed", initial_value=-9.5, EGU="K", PREC=1, LOLO=-8, LLSV="MAJOR")
    builder.longIn("readonly", initial_value=7, ASG="READONLY")
    builder.longIn("secret", initial_value=8, ASG="SECRET")
    builder.aIn("nan", initial_value=math.nan)
    builder.aIn("infinite", initial_value=-math.inf)
    builder.aIn("never")
    builder.stringIn("odd", initial_value="a\x1b[31mb")
    builder.longStringIn("text", initial_value="a long text " * 5)
    builder.WaveformIn("part", np.array([1, 2, 3], np.int16), length=8)
    builder.WaveformIn("empty", length=4, datatype=float)
    builder.WaveformIn("long", np.arange(LONG, dtype=np.int32))


def main() -> None:
    """Serve until killed."""
    dispatcher = asyncio_dispatcher.AsyncioDispatcher()
    records(sys.argv[1])
    builder.LoadDatabase()
    with tempfile.NamedTemporaryFile() as rules:
        rules.write(SECURITY)
        rules.flush()
        iocshCmd(f'asSetFilename("{rules.name}")'.encode())
        softioc.iocInit(dispatcher)
    with _printed() as printed:
        iocshCmd(b"casr 1")
        iocshCmd(b"pvxsr 2")
    report = printed()
    tell(
        ca=int(re.search(r"CAS-TCP server on [\d.]+:(\d+)", report)[1]),
        pva=int(re.search(r"TCP_Port: (\d+)", report)[1]),
    )
    threading.Event().wait()


if __name__ == "__main__":
    main()
