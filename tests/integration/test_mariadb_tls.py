"""TLS to MariaDB: when the settings say so, and then without any way around it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.db.engine import Database
from socs.errors import StorageUnavailable
from socs.testing import mariadb as private
from socs.testing.mariadb import MariaDB


def certify(directory: Path) -> Path:
    """A certificate for 127.0.0.1 that is its own authority, and beside it its key."""
    directory.mkdir()
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", directory / "key.pem", "-out", directory / "cert.pem"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    return directory / "cert.pem"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Path:
    return certify(directory / "own")


@pytest.fixture
def server(directory: Path, authority: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MariaDB]:
    tls = (f"--ssl-cert={authority}", f"--ssl-key={authority.with_name('key.pem')}")
    monkeypatch.setattr(private, "OPTIONS", (*private.OPTIONS, *tls))
    with MariaDB(directory / "server") as started:
        yield started


def cipher(environ: dict[str, str]) -> str:
    """How the server says that this connection is encrypted; empty if it is not."""
    database = Database(environ)
    try:
        with database.read() as connection:
            return connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'").one()[1]
    finally:
        database.close()


def test_tls_is_as_the_settings_say(server: MariaDB, authority: Path, directory: Path) -> None:
    env = server.env()
    assert cipher(env) == ""
    assert cipher({**env, "MYSQL_SSL_CA": str(authority)}) != ""
    another = certify(directory / "another")
    with pytest.raises(StorageUnavailable, match="certificate verify failed"):
        cipher({**env, "MYSQL_SSL_CA": str(another)})
    server.query(f"ALTER USER '{env['MYSQL_USER']}'@'127.0.0.1' REQUIRE SSL")
    with pytest.raises(StorageUnavailable, match="MYSQL_SSL_CA"):
        cipher(env)
    assert cipher({**env, "MYSQL_SSL_CA": str(authority)}) != ""
    server.query("SET GLOBAL require_secure_transport = ON")
    with pytest.raises(StorageUnavailable, match="MYSQL_SSL_CA"):
        cipher(env)


def test_a_server_without_tls_is_refused(mariadb, authority: Path) -> None:
    with pytest.raises(StorageUnavailable, match="SSL is required"):
        cipher({**mariadb.env(), "MYSQL_SSL_CA": str(authority)})


def test_a_certificate_that_cannot_be_read_is_told(mariadb, tmp_path: Path) -> None:
    for text in (None, "no certificate"):
        path = tmp_path / "ca.pem"
        if text is not None:
            path.write_text(text)
        with pytest.raises(StorageUnavailable, match=r"no TLS: .*check MYSQL_SSL_CA"):
            cipher({**mariadb.env(), "MYSQL_SSL_CA": str(path)})
