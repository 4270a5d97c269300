"""What is taken of a file, and when it counts as still being written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from socs.dataroots import MISSING, DataRoots
from socs.db.fingerprint import GROWING, SMALL, Fingerprint, TooLargeHere, fingerprint
from socs.errors import FileNotReady

WRITTEN = 1_700_000_000.0


def take(path: Path, *, now: float = WRITTEN + 100, settle: float = 0.5, **more) -> Fingerprint:
    with DataRoots([path.parent]).opener() as opener:
        return fingerprint(opener, str(path), now=now, settle=settle, **more)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    os.utime(path, (WRITTEN, WRITTEN))
    return path


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL + 7])
def test_md5_of_any_size(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = written(tmp_path / "file", data)
    assert take(path) == Fingerprint(str(path), size, WRITTEN, hashlib.md5(data).digest())


def test_npy_that_numpy_appended_is_found(tmp_path: Path) -> None:
    written(tmp_path / "resonances.npy", b"array")
    assert take(tmp_path / "resonances").path == str(tmp_path / "resonances.npy")


def test_exact_name_comes_before_npy(tmp_path: Path) -> None:
    written(tmp_path / "x", b"1")
    written(tmp_path / "x.npy", b"2")
    assert take(tmp_path / "x").path == str(tmp_path / "x")


def test_missing_file_is_named_as_announced(tmp_path: Path) -> None:
    with pytest.raises(FileNotReady) as caught:
        take(tmp_path / "x")
    assert caught.value.cause == MISSING


def test_fresh_file_counts_as_growing_until_it_is_seen_unchanged(tmp_path: Path) -> None:
    path = written(tmp_path / "x", b"1")
    with pytest.raises(FileNotReady) as caught:
        take(path, now=WRITTEN + 0.4)
    assert caught.value.cause == GROWING
    # The file server's clock is ahead, so the file always looks fresh; but it does not change.
    assert take(path, now=WRITTEN + 0.4, seen=str(caught.value)).size == 1
    path = written(path, b"12")
    with pytest.raises(FileNotReady):
        take(path, now=WRITTEN + 0.4, seen=str(caught.value))


def test_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch) -> None:
    path = written(tmp_path / "x", bytes(SMALL + 5))
    real_preadv = os.preadv

    def preadv_and_append(descriptor: int, buffers: list, offset: int) -> int:
        with path.open("ab") as file:
            file.write(b"more")
        return real_preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv_and_append)
    with pytest.raises(FileNotReady) as caught:
        take(path)
    assert caught.value.cause == GROWING


def test_large_file_is_left_to_others(tmp_path: Path) -> None:
    path = written(tmp_path / "x", bytes(11))
    with pytest.raises(TooLargeHere):
        take(path, largest=10)
    assert take(path, largest=11).size == 11


def test_short_reads_are_continued(tmp_path: Path, monkeypatch) -> None:
    """A file system may give less than was asked for."""
    data = os.urandom(1000)
    path = written(tmp_path / "x", data)
    pread, preadv = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda descriptor, n, at: pread(descriptor, min(n, 7), at))
    monkeypatch.setattr(
        os, "preadv", lambda d, buffers, at: preadv(d, [memoryview(buffers[0])[:7]], at)
    )
    assert take(path).md5sum == hashlib.md5(data).digest()


def test_file_that_ends_before_its_size_is_unreadable(tmp_path: Path, monkeypatch) -> None:
    path = written(tmp_path / "x", bytes(1000))
    monkeypatch.setattr(os, "pread", lambda descriptor, n, at: b"")
    monkeypatch.setattr(os, "preadv", lambda descriptor, buffers, at: 0)
    with pytest.raises(FileNotReady, match="ended before") as caught:
        take(path)
    assert caught.value.cause == "attempts_unreadable"
