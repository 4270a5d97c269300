import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from socs.errors import ConfigError, OurError
from socs.sim import site as site_module
from socs.sim.site import AgentInstance, Site, find_crossbar


def test_site_config(tmp_path):
    agent = AgentInstance("SomeAgent", "some-1", [["--udp-port", 8200], "--flag"], "host/down")
    site = Site(tmp_path, port=12345, realm="r", address_root="a.b", instances=[agent])
    site.write()
    assert yaml.safe_load(site.site_file.read_text()) == {
        "hub": {
            "wamp_server": "ws://127.0.0.1:12345/ws",
            "wamp_http": "http://127.0.0.1:12345/call",
            "wamp_realm": "r",
            "address_root": "a.b",
        },
        "hosts": {
            "localhost": {
                "log-dir": str(tmp_path / "log"),
                "crossbar": {"config-dir": str(tmp_path / "crossbar"), "bin": "crossbar"},
                "crossbar_timeout": 0,
                "agent-instances": [
                    {
                        "agent-class": "SomeAgent",
                        "instance-id": "some-1",
                        "manage": "host/down",
                        "arguments": [["--udp-port", 8200], "--flag"],
                    }
                ],
            }
        },
    }
    assert (tmp_path / "log").is_dir()


def test_router_config(tmp_path):
    Site(tmp_path, port=12345, realm="r", address_root="a.b").write()
    (worker,) = json.loads((tmp_path / "crossbar" / "config.json").read_text())["workers"]
    (realm,) = worker["realms"]
    assert realm["name"] == "r"
    register = {
        role["name"]: (permission["uri"], permission["match"], permission["allow"]["register"])
        for role in realm["roles"]
        for permission in role["permissions"]
    }
    assert register == {
        "iocs_agent": ("a.b.", "prefix", True),
        "iocs_controller": ("a.b.", "prefix", False),
    }
    (transport,) = worker["transports"]
    assert transport["endpoint"] == {"type": "tcp", "port": 12345, "interface": "127.0.0.1"}
    assert set(transport["paths"]) == {"ws", "call", "info"}
    assert 12 <= transport["paths"]["ws"]["options"]["auto_ping_size"] <= 125


def test_writing_again_changes_nothing(tmp_path):
    site = Site(tmp_path, instances=[AgentInstance("A", "a")])
    site.write()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    site.write()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 2


def test_who_is_reading_the_site_file_reads_it_whole(tmp_path):
    site = Site(tmp_path, instances=[])
    site.write()
    before = site.site_file.read_text()
    with site.site_file.open() as reading:  # an agent, while the next one is started
        site.write()
        assert reading.read() == before


def test_environment_has_nothing_that_overrides_the_site(tmp_path, monkeypatch):
    for name in site_module.OVERRIDING_VARIABLES:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("KEPT", "yes")
    environment = Site(tmp_path).environment()
    assert environment["OCS_CONFIG_DIR"] == str(tmp_path)
    assert environment["KEPT"] == "yes"
    assert not set(site_module.OVERRIDING_VARIABLES) & set(environment)


def test_refuses_bad_and_double_ids(tmp_path):
    with pytest.raises(ConfigError, match="share"):
        Site(tmp_path, instances=[AgentInstance("A", "a"), AgentInstance("B", "a")])
    for bad in ("", "a.b", "../a", "a b"):
        with pytest.raises(ConfigError, match="instance-id"):
            AgentInstance("A", bad)


def test_unknown_instance(tmp_path):
    site = Site(tmp_path, instances=[AgentInstance("A", "a")])
    with pytest.raises(ConfigError, match=r"no agent 'b' in .*default.yaml: \['a'\]"):
        site.start_agent("b")
    assert site.logs("b") == ""


def make_program(path: Path) -> str:
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    return str(path)


def test_where_crossbar_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("SOCS_CROSSBAR", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    with pytest.raises(ConfigError, match="make demo"):
        find_crossbar()
    on_path = make_program(tmp_path / "path" / "crossbar")
    assert find_crossbar() == on_path
    sibling = make_program(tmp_path / "venv-crossbar" / "bin" / "crossbar")
    assert find_crossbar() == sibling
    beside = make_program(tmp_path / "venv" / "bin" / "crossbar")
    assert find_crossbar() == beside
    named = make_program(tmp_path / "named" / "crossbar")
    monkeypatch.setenv("SOCS_CROSSBAR", named)
    assert find_crossbar() == named
    assert find_crossbar(on_path) == on_path


@pytest.mark.parametrize(
    ("info", "websocket", "ready"),
    [
        ("worker with PID {own}.", "welcome", True),
        ("worker with PID {own}.", None, False),  # crossbar adds its paths one after the other
        ("worker with PID {other}.", "welcome", False),  # another router on the same port
        (None, "welcome", False),
    ],
)
def test_router_is_ready_when_it_is_ours_and_has_all_paths(
    tmp_path, monkeypatch, info, websocket, ready
):
    sleeper = make_program(tmp_path / "bin" / "crossbar")
    Path(sleeper).write_text("#!/bin/sh\nexec sleep 1000\n")
    site = Site(tmp_path / "site", crossbar=sleeper)

    def answer(method, path):
        pids = {"own": site.router.pid, "other": os.getppid()}
        return websocket if path == "/ws" else info and info.format(**pids)

    monkeypatch.setattr(site, "_request", answer)
    with site:
        if ready:
            site.start_router(timeout=5)
        else:
            with pytest.raises(OurError, match="did not start"):
                site.start_router(timeout=0.2)
