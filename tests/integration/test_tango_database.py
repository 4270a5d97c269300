"""The private Tango database behaves as the tests that stand on it need."""

import socket
import subprocess
import sys
from importlib.util import find_spec

import psutil
import pytest

from socs.errors import OurError
from socs.sim.ports import LOOPBACK
from socs.testing import wait_until
from socs.testing.tango_database import TangoDatabase

# Not imported here: its threads would stay.
pytestmark = pytest.mark.skipif(find_spec("tango") is None, reason="needs the extra tango")

CLIENT = """
import sys, tango
database = tango.Database()
if len(sys.argv) > 1:
    database.put_property("Free", {"text": sys.argv[1:]})
print(*database.get_property("Free", "text")["text"])
"""


@pytest.fixture
def database(tmp_path):
    with TangoDatabase(tmp_path / "tango") as made:
        yield made


def client(database, *words, timeout=20.0):
    """What a program prints that stores ``words``, if any, and reads back what is stored."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *words],
        env=database.env(),
        capture_output=True,
        text=True,
        check=True,
        timeout=timeout,
    )
    return done.stdout.split()


def test_clients_of_the_environment_read_and_write_it(database):
    assert database.host == f"127.0.0.1:{database.port}"
    assert client(database, "one", "two") == ["one", "two"]
    assert database.file.is_file()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_after_a_restart_all_is_as_before(database, how):
    client(database, "kept")
    host, pid = database.host, database.pid
    getattr(database, how)()
    assert database.pid is None
    assert not psutil.pid_exists(pid)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, database.port))
    database.start()
    database.start()
    assert database.host == host
    assert client(database) == ["kept"]


def test_frozen_it_takes_connections_and_answers_nothing_until_it_is_thawed(database):
    database.freeze()
    process = psutil.Process(database.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
    with socket.create_connection((LOOPBACK, database.port)) as open_connection:
        with pytest.raises(subprocess.TimeoutExpired):
            client(database, "late", timeout=1.0)
        database.thaw()
        assert client(database, "later") == ["later"]
        assert open_connection.fileno() >= 0


def test_frozen_it_can_be_stopped(database):
    database.freeze()
    pid = database.pid
    database.stop()
    assert not psutil.pid_exists(pid)


def test_two_have_ports_and_contents_of_their_own(database, tmp_path):
    with TangoDatabase(tmp_path / "second") as second:
        assert second.port != database.port
        client(database, "first")
        client(second, "second")
        assert client(database) == ["first"]


def test_a_port_that_is_taken_meanwhile_is_named(database):
    database.stop()
    with (
        socket.create_server((LOOPBACK, database.port)),
        pytest.raises(OurError, match=rf"{database.host} did not start:\n(.|\n)*Address in use"),
    ):
        database.start()
