"""``socs doctor`` on gateways of EPICS traffic."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from socs.cli import pv_gateway_checks as checks
from socs.cli.findings import Finding
from socs.epics.gateway.listening import Surroundings
from socs.epics.gateway.options import add_options
from socs.epics.gateway.settings import GatewaySettings
from tests.pcap_files import pcap

NOT_HERE = Surroundings("needs CAP_NET_RAW", {5065})


def findings(*words: str, runs: bool = True) -> list[Finding]:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group())
    args = argparse.Namespace(**vars(parser.parse_args(words)), instance_id="gw")
    return checks.check_gateway("gw", args, lambda: runs)


def levels(found: list[Finding]) -> list[str]:
    return [each.level for each in found]


def test_wrong_options_are_named() -> None:
    (finding,) = findings("--interval", "100")
    assert finding.level == "FAIL"
    assert "interval" in finding.text


def test_a_file_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    (finding,) = findings("--source", str(path))
    assert finding.level == "FAIL"
    path.write_bytes(pcap([]))
    (finding,) = findings("--source", str(path))
    assert finding.level == "OK"


def test_how_it_would_listen_is_told_with_what_that_lacks() -> None:
    found = checks.check_listening("gw", GatewaySettings("gw"), Surroundings())
    assert levels(found) == ["OK"]
    assert "captures" in found[0].text
    found = checks.check_listening("gw", GatewaySettings("gw"), NOT_HERE)
    assert levels(found) == ["OK", "WARN", "WARN"]
    assert "beacons are not heard: a repeater" in found[1].text
    found = checks.check_listening("gw", GatewaySettings("gw", listen="capture"), NOT_HERE)
    assert levels(found) == ["FAIL"]


def test_its_own_sockets_are_in_nobodys_way() -> None:
    texts = [each.text for each in findings("--listen", "sockets")]
    assert not any("opens sockets" in text for text in texts)
    texts = [each.text for each in findings("--listen", "sockets", runs=False)]
    assert any("opens sockets" in text for text in texts)


@pytest.mark.parametrize(
    ("networks", "level", "told"),
    [
        ([], "WARN", "does not say"),
        (["127.0.0.0/8"], "OK", "127.0.0.0/8"),
        (["127.0.0.0/8", "240.1.0.0/16"], "WARN", "no address in 240.1.0.0/16"),
    ],
)
def test_networks_are_those_of_this_host(networks: list[str], level: str, told: str) -> None:
    (finding,) = checks.check_networks("gw", networks)
    assert finding.level == level
    assert told in finding.text


def test_senders_that_cannot_be_read_are_told() -> None:
    found = findings("--allow-sender", "everybody")
    assert "FAIL" in levels(found)
