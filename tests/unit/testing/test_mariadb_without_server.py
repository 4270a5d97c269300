import pytest

from socs.errors import ConfigError
from socs.testing import mariadb


def test_says_how_to_get_a_server_that_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mariadb, "SYSTEM_PROGRAMS", str(tmp_path))
    with pytest.raises(ConfigError, match="mariadbd not found: apt install mariadb-server"):
        mariadb.MariaDB(tmp_path / "db").start()


def test_finds_the_server_where_users_have_no_path(monkeypatch, tmp_path):
    program = tmp_path / "sbin" / "mariadbd"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mariadb, "SYSTEM_PROGRAMS", str(program.parent))
    assert mariadb.find_program("mariadbd") == str(program)
