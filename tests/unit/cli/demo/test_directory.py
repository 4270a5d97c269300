"""The demo's directory: its own, fresh, and nobody else's."""

import pytest

from socs.cli.demo.directory import MARKER, DemoDirectory
from socs.errors import ConfigError


def test_a_new_directory_is_made(tmp_path):
    with DemoDirectory(tmp_path / "a" / "b") as directory:
        assert directory.site.is_dir()
        assert (tmp_path / "a" / "b" / MARKER).read_text().startswith("`socs demo` made")


def test_an_empty_directory_is_taken(tmp_path):
    with DemoDirectory(tmp_path) as directory:
        assert directory.files.is_dir()


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty.*--dir"), DemoDirectory(tmp_path):
        pass
    assert (tmp_path / "data" / "precious").read_text() == "mine"
    assert not (tmp_path / MARKER).exists()


def test_a_second_run_begins_anew_but_deletes_only_its_own(tmp_path):
    with DemoDirectory(tmp_path / "demo") as directory:
        (directory.files / "old").touch()
        (directory.path / "notes.txt").write_text("mine")
    with DemoDirectory(tmp_path / "demo") as directory:
        assert list(directory.files.iterdir()) == []
        assert (directory.path / "notes.txt").read_text() == "mine"


def test_what_a_link_leads_to_is_not_deleted(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    with DemoDirectory(tmp_path / "demo") as directory:
        directory.files.rmdir()
        directory.files.symlink_to(tmp_path / "elsewhere")
    with DemoDirectory(tmp_path / "demo") as directory:
        assert not directory.files.is_symlink()
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_one_demo_at_a_time(tmp_path):
    with DemoDirectory(tmp_path / "demo") as first:
        (first.files / "in_use").touch()
        with pytest.raises(ConfigError, match="another demo runs"), DemoDirectory(first.path):
            pass
        assert (first.files / "in_use").exists()
    with DemoDirectory(tmp_path / "demo"):
        pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--dir"), DemoDirectory(tmp_path / "file" / "demo"):
        pass
