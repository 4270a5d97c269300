"""Checks of a site config, on broken ones."""

import copy
from pathlib import Path

import pytest

from socs.cli import site_checks
from socs.cli.findings import Finding
from socs.cli.site_checks import Instance

GOOD = {
    "hub": {
        "wamp_server": "ws://router:8001/ws",
        "wamp_http": "http://router:8001/call",
        "wamp_realm": "test_realm",
        "address_root": "observatory",
    },
    "hosts": {
        "localhost": {
            "crossbar_timeout": 0,
            "agent-instances": [
                {
                    "agent-class": "PysmurfMonitor",
                    "instance-id": "monitor",
                    "arguments": [["--udp-port", 8200], "--create-table=true"],
                    "manage": "ignore",
                }
            ],
        }
    },
}


def changed(path: str, value: object) -> dict:
    """GOOD with something else at ``path``; without it if ``value`` is ``...``."""
    site = copy.deepcopy(GOOD)
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split("/")]
    where = site
    for key in parents:
        where = where[key]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return site


INSTANCE = "hosts/localhost/agent-instances/0"


@pytest.mark.parametrize(
    ("site", "level", "words"),
    [
        (None, "FAIL", "not a mapping"),
        ([], "FAIL", "not a mapping"),
        (changed("hub", ...), "FAIL", "block `hub` is missing"),
        (changed("hub/wamp_server", ...), "FAIL", "`hub.wamp_server` is missing"),
        (changed("hub/wamp_realm", 5), "FAIL", "`hub.wamp_realm` is missing or not text"),
        (changed("hub/address_root", ""), "FAIL", "`hub.address_root` is missing"),
        (changed("hub/wamp_http", ...), "WARN", "without `hub.wamp_http`"),
        (changed("hosts", {}), "FAIL", "`hosts` is missing, empty"),
        (changed("hosts/localhost", None), "FAIL", "`hosts.localhost` is not a mapping"),
        (changed("hosts/localhost/agent-instances", ...), "FAIL", "agent-instances` is missing"),
        (changed(INSTANCE, "monitor"), "FAIL", "agent-instances[0]` is not a mapping"),
        (changed(f"{INSTANCE}/agent-class", ...), "FAIL", "[0].agent-class` is missing"),
        (changed(f"{INSTANCE}/instance-id", 7), "FAIL", "[0].instance-id` is missing or not text"),
        (changed(f"{INSTANCE}/instance-id", "a.b"), "FAIL", "'a.b' cannot be part of an address"),
        (changed(f"{INSTANCE}/arguments", "--x"), "FAIL", "arguments` is not a list"),
        (changed(f"{INSTANCE}/manage", True), "FAIL", "manage` is True"),
        (changed(f"{INSTANCE}/manage", "hots"), "FAIL", "manage` is 'hots'"),
        (changed(f"{INSTANCE}/argument", []), "WARN", "does not know: argument"),
    ],
)
def test_each_fault_of_shape_is_exactly_one_finding(site, level, words):
    (finding,) = site_checks.check_shape(site)
    assert finding.level == level
    assert words in finding.text
    assert finding.remedy


def test_a_good_site_is_ok():
    (finding,) = site_checks.check_shape(GOOD)
    assert finding.level == "OK"


def test_all_faults_are_told_at_once():
    site = changed("hub/wamp_server", ...)
    del site["hub"]["wamp_realm"]
    assert len(site_checks.check_shape(site)) == 2


def test_which_file_is_read():
    assert site_checks.find_site_file("/x.yaml", {"OCS_CONFIG_DIR": "/d"}) == Path("/x.yaml")
    assert site_checks.find_site_file(None, {"OCS_CONFIG_DIR": "/d"}) == Path("/d/default.yaml")
    finding = site_checks.find_site_file(None, {})
    assert isinstance(finding, Finding)
    assert (finding.level, finding.text) == ("FAIL", "OCS_CONFIG_DIR is not set")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"hub: [unclosed", "is not YAML"),
        (b"\xff\xfe\xff", "not UTF-8"),
        (b"!!python/object:os.system {}", "is not YAML"),
    ],
)
def test_a_file_that_cannot_be_read_fails(tmp_path, content, words):
    path = tmp_path / "default.yaml"
    if content is not None:
        path.write_bytes(content)
    data, finding = site_checks.read_site(path)
    assert data is None
    assert finding.level == "FAIL"
    assert words in finding.text
    assert str(path) in finding.text


def test_the_view_of_a_host():
    site = changed("hosts/localhost/wamp_server", "ws://other:1/ws")
    view, finding = site_checks.view_of(site, ["elsewhere", "localhost"])
    assert finding.level == "OK"
    assert view.host == "localhost"
    assert view.hub["wamp_server"] == "ws://other:1/ws"
    assert view.hub["wamp_realm"] == "test_realm"
    (instance,) = view.instances
    assert instance.arguments == ["--udp-port", "8200", "--create-table=true"]


def test_the_view_knows_the_agents_of_all_hosts():
    site = copy.deepcopy(GOOD)
    site["hosts"]["other"] = copy.deepcopy(GOOD["hosts"]["localhost"])
    site["hosts"]["other"]["agent-instances"][0]["instance-id"] = "archiver"
    view, _ = site_checks.view_of(site, ["localhost"])
    assert [instance.instance_id for instance in view.instances] == ["monitor"]
    assert view.instance_ids == ["monitor", "archiver"]


def test_a_host_without_a_block_fails():
    view, finding = site_checks.view_of(changed("hosts", {"other": {}}), ["here", "localhost"])
    assert finding.level == "FAIL"
    assert "here or localhost" in finding.text
    assert view.instances == ()


def test_duplicate_ids_are_found_across_hosts():
    site = copy.deepcopy(GOOD)
    site["hosts"]["other"] = copy.deepcopy(GOOD["hosts"]["localhost"])
    (finding,) = site_checks.check_duplicate_ids(site)
    assert (finding.level, finding.text) == ("FAIL", "'monitor' is used 2 times")
    assert site_checks.check_duplicate_ids(GOOD) == []


OURS, STOCK = Instance("PysmurfMonitor", "ours"), Instance("HostManager", "stock")
PLUGINS = {"PysmurfMonitor": "socs", "HostManager": "ocs"}


@pytest.mark.parametrize(
    ("block", "instances", "mortal"),
    [
        ({"crossbar_timeout": 0}, [OURS, STOCK], ""),
        ({}, [OURS], ""),
        ({}, [OURS, STOCK], "stock (10 s)"),
        ({"crossbar_timeout": 10}, [OURS], "ours (10 s)"),
        ({}, [Instance("HostManager", "own", ["--crossbar-timeout", "0"])], ""),
        ({}, [Instance("HostManager", "own", ["--crossbar-timeout=0"])], ""),
        (
            {"crossbar_timeout": 0},
            [Instance("PysmurfMonitor", "own", ["--crossbar-timeout", "5"])],
            "own (5 s)",
        ),
    ],
)
def test_agents_that_would_end_with_the_router(block, instances, mortal):
    finding = site_checks.check_crossbar_timeout("localhost", block, instances, PLUGINS)
    assert finding.level == ("WARN" if mortal else "OK")
    assert finding.text.endswith(mortal)
    if mortal:
        assert "`crossbar_timeout: 0`" in finding.remedy


def test_what_runs_in_a_container_is_known():
    assert Instance("X", "x", manage="docker/up").in_container
    assert not OURS.in_container
