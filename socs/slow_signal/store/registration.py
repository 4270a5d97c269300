"""Each complete file goes to the spool of the files table once, whatever crashes meanwhile.

A file that was handed over may come again after a crash, until its journal is gone. With its entry
the spool therefore notes its id, in the same transaction, and forgets that when the file can come
no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from socs.db.spool import FileEntry, Spool
from socs.slow_signal.store.growing import Completed

ACTION = "slow_signal"
FORMAT = "hdf5"
_NOTED = b"1"


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

    def finished(self, completed: Completed) -> None:
        """Put ``completed`` into the spool, unless that was done before.

        Raises:
            StorageUnavailable: the spool refuses; call again.
        """
        key = self._key(completed)
        if key in self._spool.streams():
            return
        entry = FileEntry(
            path=completed.path,
            action=ACTION,
            timestamp=completed.first_time,
            action_timestamp=int(completed.first_time),
            format=FORMAT,
            pub_id=self._pub_id,
        )
        self._spool.append([entry], now=self._clock(), streams={key: _NOTED})

    def settled(self, completed: Completed) -> None:
        """The file will not come again.

        Raises:
            StorageUnavailable: the spool refuses; a note of a few bytes stays in it.
        """
        self._spool.append([], now=self._clock(), streams={self._key(completed): b""})

    @staticmethod
    def _key(completed: Completed) -> str:
        return f"{ACTION}/{completed.id}"
