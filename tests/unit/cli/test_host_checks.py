"""Checks of a host: buffers, ports, directories, programs."""

import os
from pathlib import Path

import pytest

from socs.cli import host_checks
from socs.cli.host_checks import Listener

MIB = 1 << 20


@pytest.mark.parametrize(
    ("rmem_max", "privileged", "level"),
    [(32 * MIB, False, "OK"), (32 * MIB - 1, False, "WARN"), (4096, True, "OK")],
)
def test_the_receive_buffer(rmem_max, privileged, level):
    finding = host_checks.check_receive_buffer("m", 32 * MIB, rmem_max, privileged=privileged)
    assert finding.level == level
    assert ("sysctl -w net.core.rmem_max=33554432" in finding.remedy) == (level == "WARN")


def test_capability_and_limit_are_read(tmp_path):
    assert host_checks.has_net_admin("Name:\tx\nCapEff:\t0000000000001000\n")
    assert not host_checks.has_net_admin("CapEff:\t0000000000000fff\n")
    assert not host_checks.has_net_admin("")
    (tmp_path / "rmem_max").write_text("212992\n")
    assert host_checks.read_rmem_max(tmp_path / "rmem_max") == 212992
    assert host_checks.read_rmem_max(tmp_path / "none") is None


TABLE = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
  123: 0100007F:2008 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0
  124: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2 2 0 0
"""


@pytest.mark.parametrize(
    ("address", "right"),
    [("127.0.0.1", True), ("0.0.0.0", True), ("192.0.2.1", False), ("::1", False)],
)
def test_the_address_to_listen_on_is_one_of_this_host(address, right):
    found = host_checks.check_address("m", address)
    assert [finding.level for finding in found] == ([] if right else ["FAIL"])


def test_networks_of_senders_must_be_networks():
    assert host_checks.check_senders("m", []) == []
    assert host_checks.check_senders("m", ["10.0.0.0/8", "127.0.0.1"]) == []
    (finding,) = host_checks.check_senders("m", ["10.0.0.0/8", "300.0.0.0/8"])
    assert finding.level == "FAIL"
    assert "'300.0.0.0/8' is no IPv4 address or network" in finding.text


def test_bound_sockets_are_read_from_the_kernels_table():
    assert host_checks.udp_listeners(TABLE) == {("127.0.0.1", 8200), ("0.0.0.0", 68)}
    assert host_checks.udp_listeners("") == set()


@pytest.mark.parametrize(
    ("address", "port", "answers", "level", "words"),
    [
        ("127.0.0.1", 8201, False, "OK", "is free"),
        ("127.0.0.1", 8200, True, "OK", "this agent runs"),
        ("127.0.0.1", 8200, False, "WARN", "does not answer"),
        ("0.0.0.0", 8200, False, "WARN", "does not answer"),
        ("127.0.0.1", 68, False, "WARN", "does not answer"),
        ("10.0.0.1", 8200, False, "OK", "is free"),
        ("127.0.0.1", 0, False, "OK", "any free"),
    ],
)
def test_the_udp_port(address, port, answers, level, words):
    listeners = host_checks.udp_listeners(TABLE)
    finding = host_checks.check_udp_port("m", address, port, listeners, lambda: answers)
    assert finding.level == level
    assert words in finding.text


def settings(port: int, bind: str = "127.0.0.1", spool: str = "/spool") -> Listener:
    return Listener(bind, port, spool_dir=Path(spool))


def test_two_agents_must_not_share_port_or_spool():
    found = host_checks.check_shared_ports([("a", settings(1)), ("b", settings(1))])
    assert [finding.level for finding in found] == ["FAIL", "FAIL"]
    assert "UDP port 1" in found[0].text
    assert "/spool" in found[1].text
    apart = [("a", settings(1)), ("b", settings(2, spool="/other"))]
    assert host_checks.check_shared_ports(apart) == []
    addresses = [("a", settings(1)), ("b", settings(1, "10.0.0.1", "/other"))]
    assert host_checks.check_shared_ports(addresses) == []
    everywhere = [("a", settings(1)), ("b", settings(1, "0.0.0.0", "/other"))]
    assert len(host_checks.check_shared_ports(everywhere)) == 1


def test_data_roots(tmp_path):
    roots = [str(tmp_path), str(tmp_path / "none"), "relative", "/"]
    levels = [finding.level for finding in host_checks.check_data_roots("m", roots)]
    assert levels == ["OK", "FAIL", "FAIL", "FAIL"]


def test_agents_without_a_spool_share_none():
    found = [("a", Listener("127.0.0.1", 1)), ("b", Listener("127.0.0.1", 2))]
    assert host_checks.check_shared_ports(found) == []


@pytest.fixture
def not_root(monkeypatch):
    """Root may do anything; see the permissions as they are for others."""
    real = os.stat

    def access(path, mode):
        return (real(path).st_mode & mode) == mode

    monkeypatch.setattr(os, "access", access)


def test_a_data_root_that_cannot_be_read_fails(tmp_path, not_root):
    tmp_path.chmod(0o700)
    (finding,) = host_checks.check_data_roots("m", [str(tmp_path)])
    assert finding.level == "FAIL"
    assert "cannot be read" in finding.text


def test_a_folder_may_be_made_and_must_be_writable(tmp_path, not_root):
    tmp_path.chmod(0o777)
    (finding,) = host_checks.check_folders("b", [str(tmp_path / "not" / "yet")])
    assert (finding.level, "MiB free" in finding.text) == ("OK", True)
    tmp_path.chmod(0o555)
    (finding,) = host_checks.check_folders("b", [str(tmp_path / "not" / "yet")])
    assert finding.level == "FAIL"
    assert f"{tmp_path} cannot be written" in finding.text
    assert "--folder" in finding.remedy


def test_a_spool_that_fits(tmp_path):
    finding = host_checks.check_spool("m", tmp_path / "not" / "yet", MIB)
    assert finding.level == "OK"


def test_a_spool_larger_than_the_disk_is_warned_of(tmp_path):
    finding = host_checks.check_spool("m", tmp_path, 1 << 60)
    assert finding.level == "WARN"
    assert "--spool-quota" in finding.text


def test_a_spool_that_cannot_be_written_fails(tmp_path, not_root):
    tmp_path.chmod(0o755)
    finding = host_checks.check_spool("m", tmp_path / "spool", MIB)
    assert finding.level == "FAIL"
    (tmp_path / "file").touch()
    assert host_checks.check_spool("m", tmp_path / "file" / "spool", MIB).level == "FAIL"


def test_programs():
    assert [f.level for f in host_checks.check_programs(lambda name: f"/bin/{name}")] == ["OK"] * 2
    found = host_checks.check_programs(lambda name: None)
    assert [(finding.level, finding.subject) for finding in found] == [
        ("WARN", "rsync"),
        ("WARN", "ssh"),
    ]
