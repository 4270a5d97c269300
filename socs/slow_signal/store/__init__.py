"""Readouts in HDF5 files: writing, reading, recovering them, and analysing many.

==========================  ======================================================================
:class:`SSFileWriter`       the camera's readouts into files, in a thread of its own
:class:`SSDataWriter`       one file, from a program
:class:`SSDataReader`       one file of any layout, also while it is being written
:func:`open_dataset`        many files as one lazily loaded data set
:func:`recover`             completes the files of writers that were killed
:class:`Registration`       puts complete files into the spool of the files table
==========================  ======================================================================
"""

from socs.slow_signal.store.dataset import open_dataset
from socs.slow_signal.store.file_writer import SSFileWriter
from socs.slow_signal.store.formats import LAYOUTS
from socs.slow_signal.store.growing import Completed
from socs.slow_signal.store.reader import SSDataReader
from socs.slow_signal.store.recovery import recover
from socs.slow_signal.store.registration import Registration
from socs.slow_signal.store.writer import SSDataWriter

__all__ = [
    "LAYOUTS",
    "Completed",
    "Registration",
    "SSDataReader",
    "SSDataWriter",
    "SSFileWriter",
    "open_dataset",
    "recover",
]
