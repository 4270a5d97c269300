"""An archiver without OCS, as a program to be killed: ``archiver_process SETTINGS STATUS``.

SETTINGS is a JSON file with the fields of ``ArchiveSettings``; the environment names the database.
Its status is written to the file STATUS ten times a second, and for the last time when it has
stopped, on SIGTERM. Here are also the tests' means to run it and to kill it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from socs.archive import archiver
from socs.archive.service import ArchiveService
from socs.archive.settings import ArchiveSettings
from socs.db.engine import Database
from socs.testing import wait_until
from tests.archiving import Source, settings_of

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 60.0  # s for a process to begin or to end on a busy machine
PAUSE = 0.5  # s, for the archiver's pauses: that they are longer would only make tests longer


class ArchiverProcess:
    """The process that is killed; restarted with the same settings.

    Args:
        source: whose files it archives.
        environ: names the database.
        under: a command that becomes the command that follows it.
        settings: fields of :class:`ArchiveSettings`, see :func:`tests.archiving.settings_of`.
    """

    def __init__(
        self,
        source: Source,
        environ: Mapping[str, str],
        under: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.settings = settings_of(source, **settings)
        self.name = self.settings["instance_id"]
        self._settings_file = source.directory / f"{self.name}.json"
        self._status_file = source.directory / f"{self.name}-status.json"
        self._settings_file.write_text(json.dumps(self.settings))
        self._environ = {**os.environ, **environ, "PYTHONPATH": str(REPOSITORY)}
        self._under = under
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is at work."""
        self._status_file.unlink(missing_ok=True)
        program = [sys.executable, "-m", "tests.faults.archiver_process"]
        command = [*self._under, *program, str(self._settings_file), str(self._status_file)]
        self.process = subprocess.Popen(command, env=self._environ, start_new_session=True)
        wait_until(self._status_file.exists, PATIENCE, f"{self.name} to begin")

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        return json.loads(self._status_file.read_text())

    def group(self) -> list[psutil.Process]:
        """The processes of its group that are alive."""
        assert self.process is not None
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and os.getpgid(process.pid) == self.process.pid:
                    found.append(process)
            except (psutil.Error, ProcessLookupError):
                pass
        return found

    def copiers(self) -> list[psutil.Process]:
        """Its processes that copy."""
        assert self.process is not None
        return [process for process in self.group() if process.pid != self.process.pid]

    def kill(self, *, alone: bool = False) -> None:
        """``kill -9``; ``alone``: without the processes that copy, which then end by themselves."""
        assert self.process is not None
        if alone:
            self.process.kill()
        else:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not self.group(), PATIENCE, "its copiers to end")

    def stop(self) -> dict[str, Any]:
        """Stop it as a service manager does; its last status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> dict[str, Any]:
        """Wait for its end, which was ordered; its last status."""
        assert self.process is not None
        assert self.process.wait(PATIENCE) == 0
        wait_until(lambda: not self.group(), PATIENCE, "its copiers to end")
        return self.status()


@contextmanager
def at_the_end_killed(*victims: ArchiverProcess) -> Iterator[None]:
    """Leave nothing of them behind, whatever happens in the block."""
    try:
        yield
    finally:
        for victim in victims:
            if victim.process is not None and victim.process.poll() is None:
                victim.kill()


def _write_status(service: ArchiveService, path: Path) -> None:
    path.with_suffix(".new").write_text(json.dumps(service.status()))
    path.with_suffix(".new").rename(path)


def main(settings: str, status: str) -> None:
    """Run until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    fields = json.loads(Path(settings).read_text())
    archiver.PAUSE = archiver.ONE_FILE_PAUSE = PAUSE
    service = ArchiveService(ArchiveSettings(**fields), Database(), report=print)
    service.start()
    while not stop.wait(0.1):
        _write_status(service, Path(status))
    service.stop(PATIENCE)
    _write_status(service, Path(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
