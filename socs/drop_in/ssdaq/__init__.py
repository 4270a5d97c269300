"""The Python library of SSDAQ over :mod:`socs.slow_signal`, under the names that programs import.

It takes the place of SSDAQ: only one of the two can be in an environment.
"""

import logging

from socs._version import __version__
from socs.slow_signal.listen import SSReadoutListener
from socs.slow_signal.readout import SSReadout
from socs.slow_signal.ssdaq.assembler import SSReadoutAssembler, ZMQReadoutPublisher
from socs.slow_signal.store import SSDataReader, SSDataWriter

__all__ = [
    "SSDataReader",
    "SSDataWriter",
    "SSReadout",
    "SSReadoutAssembler",
    "SSReadoutListener",
    "ZMQReadoutPublisher",
    "__version__",
    "sslogger",
]

sslogger = logging.getLogger("ssdaq")
