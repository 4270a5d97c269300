"""Complete files of readouts on their way into the files table: spool and registrar.

Wired to a :class:`.SlowSignalStream` with ``on_finished=register.finished`` and
``on_settled=register.settled``. While the database is away the files wait in the spool, on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from socs.db import finished_files
from socs.db.engine import Database
from socs.db.finished_files import EQUATIONS
from socs.db.registrar import RowConstants
from socs.db.spool import DEFAULT_QUOTA
from socs.slow_signal.store import Completed
from socs.slow_signal.store.registration import KIND, as_finished

__all__ = ["EQUATIONS", "FileRegister"]


class FileRegister(finished_files.FileRegister):
    """Registers complete files of readouts, each once.

    The arguments are those of :class:`socs.db.finished_files.FileRegister`, but for the kind.
    """

    def __init__(
        self,
        spool_dir: Path,
        database: Database,
        roots: Sequence[str],
        constants: RowConstants,
        *,
        pub_id: str | None = None,
        spool_quota: int = DEFAULT_QUOTA,
        create_table: bool = True,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(
            KIND,
            spool_dir,
            database,
            roots,
            constants,
            pub_id=pub_id,
            spool_quota=spool_quota,
            create_table=create_table,
            report=report,
        )

    def finished(self, completed: Completed) -> None:
        """Take a complete file; the same one again does nothing.

        Raises:
            StorageUnavailable: the spool refuses; call again.
        """
        self.take(as_finished(completed))
