"""Workers that read files: what becomes of requests when there are none."""

from __future__ import annotations

import os
import queue
import subprocess
import time
from pathlib import Path

from socs.dataroots import UNREADABLE, DataRoots
from socs.db.file_readers import FileReaders, Found, NotReady
from socs.testing import wait_until


def test_worker_that_cannot_be_started_costs_an_attempt_not_the_reader(
    tmp_path: Path, monkeypatch
) -> None:
    def no_process(*arguments: object, **options: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    path = tmp_path / "file"
    path.write_bytes(b"x")
    answers: queue.SimpleQueue = queue.SimpleQueue()
    readers = FileReaders(DataRoots([tmp_path]), settle=0.0, workers=1, name="hash")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", no_process)
            readers.read([(str(path), None)], None, answers.put)
            (answer,) = answers.get(timeout=60)
        assert isinstance(answer, NotReady)
        assert answer.cause == UNREADABLE
        wait_until(lambda: readers.files == 0, 10)
        assert readers.busy_for() == 0.0
        readers.read([(str(path), None)], None, answers.put)
        (answer,) = answers.get(timeout=60)
        assert isinstance(answer, Found)
    finally:
        readers.kill()
        readers.join(time.monotonic() + 5)


def test_link_to_a_name_that_is_not_utf8_is_answered(tmp_path: Path) -> None:
    """The name stands in the answer, which must be text."""
    outside = os.fsencode(tmp_path) + b"/outside\xff"
    os.mkdir(outside)
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(outside, os.fsencode(root) + b"/link")
    answers: queue.SimpleQueue = queue.SimpleQueue()
    readers = FileReaders(DataRoots([root]), settle=0.0, workers=1, name="hash")
    try:
        readers.read([(str(root / "link" / "file"), None)], None, answers.put)
        (answer,) = answers.get(timeout=60)
        assert isinstance(answer, NotReady)
        assert answer.cause == "attempts_outside_roots"
        assert answer.detail.isprintable()
    finally:
        readers.kill()
        readers.join(time.monotonic() + 5)
