"""A file of lines: whole lines only, what a crash left, one writer, a disk that refuses."""

import os
from pathlib import Path

import pytest

from socs.appending import InUse
from socs.errors import ConfigError, StorageUnavailable
from socs.lines_file import create, reopen
from tests.numbered_lines import full_after, line, numbers_in


@pytest.mark.parametrize(
    ("content", "kept", "torn"),
    [
        (b"", b"", False),
        (b'{"a":1}\n', b'{"a":1}\n', False),
        (b'{"a":1}\n{"b"', b'{"a":1}\n', True),
        (b'{"a":1}\n{"b":2}', b'{"a":1}\n{"b":2}\n', False),
        (b'{"a', b"", True),
        (b'{"a":1}\n\0\0\0\0', b'{"a":1}\n', True),
        (b'{"a":1}\n\0\0\0":2}\n{"c"', b'{"a":1}\n', True),
        (b'{"broken\n{"b"', b'{"broken\n', True),  # lines of the peer stay
    ],
)
def test_only_what_is_torn_is_cut_off(tmp_path, content, kept, torn):
    path = tmp_path / "file"
    path.write_bytes(content)
    with reopen(path) as file:
        assert (file.torn, file.size) == (torn, len(kept))
        file.append(b'{"new":1}')
    assert path.read_bytes() == kept + b'{"new":1}\n'


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "letter"
    path.write_bytes(b"Dear Sir,\nno")
    with pytest.raises(ConfigError, match="no file of JSON lines"):
        reopen(path)
    assert path.read_bytes() == b"Dear Sir,\nno"


def test_one_writer_at_a_time(tmp_path):
    path = tmp_path / "file"
    with create(path), pytest.raises(InUse, match="in use"):
        reopen(path)
    with pytest.raises(FileExistsError):
        create(path)
    reopen(path).close()


def test_devices_and_pipes_will_do(tmp_path):
    with reopen(Path("/dev/null"), truncate=True) as file:
        file.append(b"{}")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with reopen(fifo) as file:
            file.append(line(1))
            file.append(line(2))
            assert os.read(reader, 100) == line(1) + b"\n" + line(2) + b"\n"
    finally:
        os.close(reader)


def test_a_line_that_does_not_fit_is_not_there_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    with create(path) as file:
        file.append(line(1))
        with monkeypatch.context() as patch:
            full_after(patch, 5)
            with pytest.raises(StorageUnavailable, match="No space left"):
                file.append(line(2))
            assert numbers_in(path) == [1]
        file.append(line(3))
    assert numbers_in(path) == [1, 3]
