"""What is to be there before pytango is loaded, and the database that is named."""

import importlib.util

import pytest

from socs.errors import ConfigError
from socs.tango.installed import database_hosts, environment, require_pytango
from socs.tango.polling.settings import PollSettings


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("DB:10000", ("db:10000",)),
        ("a:1, b.example.org:65535", ("a:1", "b.example.org:65535")),
        ("[::1]:10000", ("[::1]:10000",)),
    ],
)
def test_hosts(text, hosts) -> None:
    assert database_hosts(text) == hosts


@pytest.mark.parametrize(
    "text",
    [
        "db",
        "db:",
        ":1",
        "db:0",
        "db:65536",
        "db:1\u00b2",
        "a:1,",
        "a:1;b:2",
        "tango://a:1/",
        "a\n:1",
    ],
)
def test_what_is_no_host_is_refused(text, tmp_path) -> None:
    with pytest.raises(ConfigError, match="host:port is expected"):
        database_hosts(text)
    with pytest.raises(ConfigError, match="host:port is expected"):
        PollSettings(("*",), tmp_path, tango_host=text)


def test_the_environment_of_a_child(monkeypatch) -> None:
    monkeypatch.setenv("TANGO_HOST", "here:1")
    assert environment(None)["TANGO_HOST"] == "here:1"
    assert environment("There:2, else:3")["TANGO_HOST"] == "there:2,else:3"
    monkeypatch.setenv("TANGO_HOST", "nonsense")
    assert environment("there:2")["TANGO_HOST"] == "there:2"
    with pytest.raises(ConfigError, match=r"^TANGO_HOST: 'nonsense'"):
        environment(None)
    monkeypatch.delenv("TANGO_HOST")
    assert "TANGO_HOST" not in environment(None)


def test_without_pytango(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'socs\[tango\]'"):
        require_pytango()
