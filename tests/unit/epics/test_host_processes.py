"""What serves where, from what applications tell of their hosts and of themselves."""

from __future__ import annotations

import pytest

from socs.epics.applications import host_processes
from socs.epics.applications.host_processes import HostProcesses, Mapped
from socs.epics.decode.alive import Alive
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.track.applications import Applications
from tests.epics_packets import address
from tests.epics_servers import SETTINGS, T0
from tests.one_gateway import OneGateway

HOST, OTHER = address("10.0.0.2"), address("10.0.0.3")


def lines(pid: int, command: str, directory: str, *ports: int) -> list[str]:
    told = [f"pid: {pid} cmdline: {command}", f"pid: {pid} cwd: {directory}"]
    for port in ports:
        inode = pid * 100_000 + port
        told.append(f"tcp: 0: 00000000:{port:04X} 00000000:0000 0A 0 0 0 0 0 {inode} 1")
        told.append(f"pid: {pid} socket:[{inode}]")
    return told


class Site:
    def __init__(self) -> None:
        self.applications = Applications(SETTINGS, OneGateway(T0))
        self.processes = HostProcesses(self.applications)

    def beat(
        self, pid: int, image: str, command: str, directory: str, port: int, at: float = T0 + 1
    ) -> str:
        """An application sends a heartbeat; its key."""
        beat = Heartbeat(1, port, 1, int(at), pid, "2.0", image, command, directory)
        self.applications.heartbeat(beat, HOST, 40_000 + pid, at)
        return f"json:{beat.identity(HOST):016x}"

    def at(self, port: int, host: int = HOST) -> Mapped | None:
        return self.processes.of([(host, port)]).get((host, port))


@pytest.fixture
def site() -> Site:
    return Site()


def told(site: Site, teller: str, texts: list[str], time: float, *, complete: bool = True) -> None:
    site.processes.take(HOST, teller, texts, time, complete=complete)


def test_a_heartbeat_tells_its_own_port_and_lines_tell_all(site: Site) -> None:
    key = site.beat(7, "./ioc", "st.cmd", "/ioc", 5064)
    mapped = site.at(5064)
    assert mapped is not None
    assert (mapped.command, mapped.directory, mapped.application) == ("./ioc st.cmd", "/ioc", key)
    assert mapped.key == int(key.removeprefix("json:"), 16)
    assert site.at(5064, OTHER) is None
    told(site, "root", lines(9, "./other b.cmd", "/b", 5070), T0 + 2)
    mapped = site.at(5070)
    assert mapped is not None
    assert (mapped.command, mapped.directory, mapped.application) == ("./other b.cmd", "/b", "")
    assert site.at(5071) is None


@pytest.mark.parametrize(
    ("pid", "port", "directory", "same"),
    [
        (7, 5064, "/elsewhere", True),  # its directory is a link
        (7, 5070, "/ioc", True),  # it tells another port
        (7, 5070, "/elsewhere", False),  # the number is of another one, in a container
        (8, 5064, "/ioc", False),  # the port is that of an earlier run
    ],
)
def test_an_application_is_known_by_its_process_where_its_words_differ(
    site: Site, pid: int, port: int, directory: str, same: bool
) -> None:
    key = site.beat(pid, "./ioc", "/tmp/x.cmd", directory, port)
    told(site, "root", lines(7, "/opt/bin/ioc /tmp/y.cmd", "/ioc", 5064), T0 + 2)
    mapped = site.at(5064)
    assert mapped is not None
    assert mapped.command == "/opt/bin/ioc /tmp/y.cmd"
    assert (mapped.application == key) is same
    assert (mapped.key == int(key.removeprefix("json:"), 16)) is same


def test_start_up_files_with_names_of_their_own_each_time_are_the_same(site: Site) -> None:
    key = site.beat(1, "iocsh", "/tmp/iocsh.startup.Xy7", "/ioc", 0)
    told(site, "root", lines(7, "iocsh /tmp/iocsh.startup.Xy7", "/ioc", 5064), T0 + 2)
    mapped = site.at(5064)
    assert mapped is not None
    assert mapped.application == key


def test_of_two_that_fit_the_one_with_the_process_number_is_it(site: Site) -> None:
    site.beat(1, "iocsh", "/tmp/iocsh.startup.aaa", "/ioc", 5070, T0 + 5)
    key = site.beat(7, "iocsh", "/tmp/iocsh.startup.bbb", "/ioc", 5064, T0 + 1)
    told(site, "root", lines(7, "iocsh /tmp/iocsh.startup.bbb", "/ioc", 5064), T0 + 2)
    mapped = site.at(5064)
    assert mapped is not None
    assert mapped.application == key


def test_only_who_is_alive_and_has_words_can_be_it(site: Site) -> None:
    site.beat(7, "./ioc", "st.cmd", "/ioc", 5064)
    site.applications.alive(Alive("ioc", 1, int(T0), int(T0), 1, 10, 0, 5, 0), HOST, 9, T0 + 1)
    site.applications.tick(T0 + 1000)
    assert site.at(5064) is None
    told(site, "root", lines(7, "./ioc st.cmd", "/ioc", 5064), T0 + 2)
    mapped = site.at(5064)
    assert mapped is not None
    assert mapped.application == ""


def test_what_is_told_last_holds_and_part_of_it_takes_nothing_away(site: Site) -> None:
    console = ["pid: 3 cmdline: procServ 20000 ./a", "pid: 4 cmdline: procServ 20001 ./b"]
    told(site, "one", [*lines(1, "a", "/a", 1, 2), *console], T0 + 1)
    told(site, "two", lines(5, "e", "/e", 2, 3), T0 + 2)
    assert [mapped and mapped.command for mapped in map(site.at, (1, 2, 3))] == ["a", "e", "e"]
    told(site, "one", lines(6, "f", "/f", 1), T0 + 3, complete=False)
    assert [mapped and mapped.command for mapped in map(site.at, (1, 2, 3))] == ["f", "a", "e"]
    assert [each.port for each in site.processes.proc_servs(HOST)] == [20000, 20001]
    last = site.processes.last(HOST)
    assert last is not None
    assert not last.complete
    told(site, "one", [*lines(6, "f", "/f", 1), console[0]], T0 + 4)
    assert [mapped and mapped.command for mapped in map(site.at, (1, 2, 3))] == ["f", "e", "e"]
    assert [each.port for each in site.processes.proc_servs(HOST)] == [20000]
    assert site.processes.last(OTHER) is None


def test_a_server_that_starts_anew_may_be_another_program(site: Site) -> None:
    told(site, "one", lines(1, "a", "/a", 1, 2), T0 + 1)
    site.processes.started(HOST, 1)
    site.processes.started(OTHER, 2)
    assert site.at(1) is None
    assert site.at(2) is not None


def test_what_is_kept_has_a_bound(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_processes, "MOST_KEPT", 10)
    for host in range(HOST, HOST + 50):
        site.processes.take(host, "a", lines(1, "a", "/a", 1, 2, 3), T0, complete=True)
        site.processes.take(host, "a", lines(1, "a", "/a", 1, 2, 3, 4), T0, complete=False)
        site.processes.started(host, 4)
    assert list(site.processes.readings) == [HOST + 47, HOST + 48, HOST + 49]
    assert site.at(1, HOST + 49) is not None
    for teller in ("b", "a"):  # who was told of last is kept
        site.processes.take(HOST + 47, teller, lines(1, "a", "/a", 1, 2, 3), T0, complete=True)
    assert list(site.processes.readings) == [HOST + 49, HOST + 47]
