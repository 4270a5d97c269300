"""Each complete file goes to the spool of the files table once, whatever crashes meanwhile.

A file that was handed over may come again after a crash, as long as its journal is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from socs.db.finished_files import FileKind, FinishedFile, FinishedFiles
from socs.db.spool import Spool
from socs.slow_signal.store.growing import Completed
from socs.slow_signal.store.naming import journal_of

KIND = FileKind(action="slow_signal", format="hdf5", marker_of=journal_of)


def as_finished(completed: Completed) -> FinishedFile:
    """What the files table is told of ``completed``."""
    return FinishedFile(completed.path, completed.id, completed.first_time)


class Registration:
    """Puts complete files into ``spool``.

    Args:
        spool: from where files get into the table.
        pub_id: value of that column of the table.
        clock: gives the UNIX time [s].
    """

    def __init__(
        self, spool: Spool, *, pub_id: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._files = FinishedFiles(spool, KIND, pub_id=pub_id, clock=clock)

    def finished(self, completed: Completed) -> bool:
        """Put ``completed`` into the spool, unless that was done before; True if it was put.

        Raises:
            StorageUnavailable: the spool refuses; call again.
        """
        return self._files.finished(as_finished(completed))

    def settled(self, completed: Completed) -> None:
        """The journal of ``completed`` is gone: forget it, and all others of which that is so.

        Raises:
            StorageUnavailable: the spool refuses; it is done with the next file.
        """
        self._files.settled()
