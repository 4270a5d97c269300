"""What the doctor says of a Tango event monitor."""

from __future__ import annotations

import argparse
import socket

import pytest

from socs.agent import parse_args
from socs.agents.tango_event_monitor import tango_event_monitor
from socs.cli.tango_checks import check_database, check_monitor
from socs.sim.site_files import AgentInstance, site_config


@pytest.fixture
def database():
    """Something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def options(tmp_path, *words: str) -> argparse.Namespace:
    instance = AgentInstance("TangoEventMonitor", "tango", [*words])
    file = tmp_path / "default.yaml"
    file.write_text(site_config(tmp_path, 1, "realm", "root", [instance]))
    parser = tango_event_monitor.make_parser()
    return parse_args("TangoEventMonitor", parser, ["--site-file", str(file)])


def test_a_monitor_that_is_well(tmp_path, monkeypatch, database):
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path / "data"))
    words = ["--tango-host", database, "--folder", str(tmp_path / "lines"), "--spool-quota", "1"]
    found = check_monitor("tango", options(tmp_path, *words), {})
    assert [finding.level for finding in found] == ["OK"] * 3
    assert database in found[0].text


def test_the_environment_names_the_database_too(tmp_path, database):
    (finding,) = check_monitor("tango", options(tmp_path), {"TANGO_HOST": database})
    assert finding.level == "OK"


def test_one_of_several_databases_is_enough(database):
    (finding,) = check_database("tango", f"127.0.0.1:1, {database}")
    assert finding.level == "OK"


@pytest.mark.parametrize(
    ("hosts", "level", "words"),
    [
        ("", "WARN", "no Tango database is named"),
        ("127.0.0.1:1", "FAIL", "cannot be reached: 127.0.0.1:1"),
        ("tango-db", "FAIL", "'tango-db' is not HOST:PORT"),
        ("tango-db:x", "FAIL", "'tango-db:x' is not HOST:PORT"),
    ],
)
def test_a_database_that_is_not_there(hosts, level, words):
    (finding,) = check_database("tango", hosts)
    assert finding.level == level
    assert words in finding.text
    assert finding.remedy


def test_settings_that_cannot_be(tmp_path):
    (finding,) = check_monitor("tango", options(tmp_path, "--poll-period", "0.1"), {})
    assert finding.level == "FAIL"
    assert "period of 0.1 s is too short" in finding.text
