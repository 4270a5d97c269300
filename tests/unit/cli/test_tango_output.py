"""The file that polls go to: lines wait while its disk refuses them."""

import errno
import os
from pathlib import Path

import pytest

from socs import lines_file
from socs.cli.tango_output import OutputFile
from socs.errors import ConfigError, StorageUnavailable


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "output.json"


def test_a_file_is_emptied_or_gone_on_with(path, capsys):
    with OutputFile(path, append=False) as file:
        file.add(b'{"a":1}')
    assert capsys.readouterr().err == ""
    with OutputFile(path, append=True) as file:
        file.add(b'{"a":2}')
    assert path.read_text() == '{"a":1}\n{"a":2}\n'
    assert capsys.readouterr().err == ""
    with OutputFile(path, append=False) as file:
        file.add(b'{"a":3}')
    assert path.read_text() == '{"a":3}\n'
    assert "was emptied of 16 bytes; -a goes on" in capsys.readouterr().err


def test_a_torn_line_is_cut_off(path, capsys):
    path.write_bytes(b'{"a":1}\n{"a"')
    OutputFile(path, append=True).close()
    assert path.read_text() == '{"a":1}\n'
    assert "was not whole, and was cut off" in capsys.readouterr().err


def test_a_file_of_something_else_is_not_appended_to(path):
    path.write_text("Dear Sir")
    with pytest.raises(ConfigError, match="no file of JSON lines"):
        OutputFile(path, append=True)
    assert path.read_text() == "Dear Sir"


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(StorageUnavailable, match="No such file"):
        OutputFile(tmp_path / "nowhere" / "file", append=False)
    with pytest.raises(StorageUnavailable, match="Is a directory"):
        OutputFile(tmp_path, append=False)


def test_lines_wait_while_the_disk_is_full(path, monkeypatch, capsys):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with OutputFile(path, append=False) as file:
        with monkeypatch.context() as patch:
            patch.setattr(lines_file.os, "pwrite", refuse)
            file.add(b'{"a":1}')
            file.add(b'{"a":2}')
        file.add(b'{"a":3}')
    assert path.read_text() == '{"a":1}\n{"a":2}\n{"a":3}\n'
    assert capsys.readouterr().err.count("No space left") == 1


def test_what_is_never_written_is_told(path, monkeypatch, capsys):
    file = OutputFile(path, append=False)

    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(lines_file.os, "pwrite", refuse)
        file.add(b'{"a":1}')
        file.close()
    assert "1 polls could not be written" in capsys.readouterr().err
    assert path.read_text() == ""
