"""Each complete file goes to the spool of the files table once, whatever crashes meanwhile.

A file that was handed over may come again after a crash, as long as its journal is there. So the
spool notes the file together with its entry, in one transaction, until the journal is gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from socs.db.spool import FileEntry, Spool
from socs.slow_signal.store.growing import Completed
from socs.slow_signal.store.naming import journal_of

ACTION = "slow_signal"
FORMAT = "hdf5"


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
        self._spool, self._pub_id, self._clock = spool, pub_id, clock

    def finished(self, completed: Completed) -> bool:
        """Put ``completed`` into the spool, unless that was done before; True if it was put.

        Raises:
            StorageUnavailable: the spool refuses; call again.
        """
        key = f"{ACTION}/{completed.id}"
        if key in self._spool.streams():
            return False
        entry = FileEntry(
            path=completed.path,
            action=ACTION,
            timestamp=completed.first_time,
            action_timestamp=int(completed.first_time),
            format=FORMAT,
            pub_id=self._pub_id,
        )
        note = os.fsencode(completed.path)
        self._spool.append([entry], now=self._clock(), streams={key: note})
        return True

    def settled(self, completed: Completed) -> None:
        """The journal of ``completed`` is gone: forget it, and all others of which that is so.

        Raises:
            StorageUnavailable: the spool refuses; it is done with the next file.
        """
        gone = {
            key: b""
            for key, path in self._spool.streams().items()
            if key.startswith(f"{ACTION}/") and not journal_of(Path(os.fsdecode(path))).exists()
        }
        self._spool.append([], now=self._clock(), streams=gone)
