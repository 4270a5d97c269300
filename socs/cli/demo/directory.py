"""The directory of a demo: ours alone, begun anew at each run."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType

from socs.errors import ConfigError

MARKER = ".socs-demo"
NOTE = "`socs demo` made this directory. At its start it deletes in it: {}\n"


class DemoDirectory:
    """Makes and owns the directory; a context manager that one demo at a time can enter.

    Attributes:
        site: site config, router config, logs (``OCS_CONFIG_DIR``).
        data: files table and spool (``SOCS_DATA_DIR``).
        files: what the source writes and announces.
        camera: what the slow-signal builder writes.
        tango: what the Tango event monitor writes.
        epics: what the PV monitor writes.
        archive: where the archiver copies all of that to.
        scripts: what the controller runs.
        truth: what the source says that it did.

    Raises:
        ConfigError: it is not empty and not of a demo, cannot be written, or another demo runs.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.site = self.path / "site"
        self.data = self.path / "data"
        self.files = self.path / "files"
        self.camera = self.path / "camera"
        self.tango = self.path / "tango"
        self.epics = self.path / "epics"
        self.archive = self.path / "archive"
        self.scripts = self.path / "scripts"
        self.truth = self.data / "truth.json"
        self._lock = -1

    def __enter__(self) -> DemoDirectory:
        written = (self.files, self.camera, self.tango, self.epics)
        own = (self.site, self.data, *written, self.archive, self.scripts)
        try:
            self._claim(NOTE.format(", ".join(directory.name for directory in own)))
            for directory in own:
                if directory.is_symlink():
                    directory.unlink()
                elif directory.exists():
                    shutil.rmtree(directory)
                directory.mkdir()
        except OSError as error:
            self.__exit__(None, None, None)
            raise ConfigError(
                f"{error.filename or self.path}: {error.strerror}; "
                "give a directory that can be written with --dir"
            ) from error
        return self

    def _claim(self, note: str) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        marker = self.path / MARKER
        if not marker.exists() and any(self.path.iterdir()):
            raise ConfigError(
                f"{self.path} is not empty and no demo made it; give another directory with --dir"
            )
        self._lock = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.__exit__(None, None, None)
            raise ConfigError(
                f"another demo runs in {self.path}; stop it, or give another directory with --dir"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, note.encode(), 0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remove_files(self) -> None:
        """Delete what was written to be archived; the copies in the archive stay."""
        for directory in (self.files, self.camera, self.tango, self.epics):
            shutil.rmtree(directory, ignore_errors=True)
