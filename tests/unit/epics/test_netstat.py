"""Which process listens at which port, by the lines that an application tells."""

import os
import socket

import pytest

from socs.epics.applications import netstat
from socs.epics.decode.heartbeat import Heartbeat
from socs.sim.heartbeat_app import own_lines
from tests.epics_packets import address

HOST = address("10.0.0.2")


def tcp(port, inode, state="0A", host="00000000"):
    numbers = "00000000:00000000 00:00000000 00000000 0 0"
    return f"tcp: 0: {host}:{port:04X} 00000000:0000 {state} {numbers} {inode} 1 0000 100 0 0 10 0"


def process(pid, command, directory, *inodes):
    sockets = [f"pid: {pid} socket:[{inode}]" for inode in inodes]
    return [*sockets, f"pid: {pid} cmdline: {command}", f"pid: {pid} cwd: {directory}"]


HEAD = (
    "tcp: sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode"
)
LINES = [
    "build: 7",
    HEAD,
    tcp(5064, 11),
    tcp(40001, 12, host="0100007F"),
    tcp(5064, 13, state="01"),  # a client that is connected
    tcp(4051, 14),
    tcp(40002, 15, state="01"),  # a connection to elsewhere
    "udp: sl local_address rem_address",
    "udp: 9: 00000000:13C8 00000000:0000 07 0:0 00:0 0 0 0 99 2 0 0",
    *process(70, "/usr/bin/procServ -n demo -L /log/9 4051 ./st.cmd 12 ", "/iocs", 14),
    *process(77, " ./bin/demo st.cmd ", "/iocs/demo", 11, 13, 15),
    *process(90, "python gateway.py", "/opt", 12, 99),
]


def test_a_port_belongs_to_the_process_that_listens_there():
    found = netstat.read(LINES)
    serving = found.applications()
    assert [*serving] == [4051, 5064, 40001]
    assert serving[5064] == netstat.Process(77, "./bin/demo st.cmd", "/iocs/demo", (5064,))
    assert serving[40001].command == "python gateway.py"
    assert (found.build, found.lines, found.unread, found.beyond) == ("7", len(LINES), 0, 0)
    assert list(found.processes) == [70, 77, 90]


def test_its_key_is_that_of_the_heartbeat_of_the_same_application():
    beat = Heartbeat(1, 5064, 0, 0, 77, "2.0", "./bin/demo", 'st".cmd', "/iocs/demo")
    lines = process(77, "./bin/demo st'.cmd", "/iocs/demo")
    assert netstat.read(lines).processes[77].identity(HOST) == beat.identity(HOST)
    assert netstat.read(lines).processes[77].identity(HOST + 1) != beat.identity(HOST)


def test_nobody_guesses_who_of_several_different_ones_serves():
    same = [*process(2, "a b", "/x", 5), *process(1, "a b", "/x", 5)]
    assert netstat.read([tcp(7, 5), *same]).applications()[7].pid == 1
    other = [*same, *process(3, "sh", "/x", 5)]
    found = netstat.read([tcp(7, 5), *other])
    assert found.applications() == {}
    assert [each.pid for each in found.processes.values() if 7 in each.ports] == [1, 2, 3]
    nameless = netstat.read([tcp(7, 5), "pid: 4 socket:[5]"])
    assert nameless.applications() == {}
    assert nameless.processes[4].ports == (7,)


def test_the_ports_of_a_process_are_in_order():
    lines = [tcp(40000, 1), tcp(5071, 2), tcp(5071, 3), *process(1, "a", "/", 1, 2, 3)]
    assert netstat.read(lines).processes[1].ports == (5071, 40000)


def test_two_sockets_may_have_one_port():
    lines = [
        tcp(7, 5, host="0100007F"),
        tcp(7, 6),
        *process(1, "a", "/", 5),
        *process(2, "b", "/", 6),
    ]
    assert [each.ports for each in netstat.read(lines).processes.values()] == [(7,), (7,)]


@pytest.mark.parametrize(
    ("command", "port"),
    [
        ("/usr/bin/procServ 4051 ./run.sh 7", 4051),  # it listens at that one
        ("procServ -L log 2000 ./st.cmd", 2000),
        ("sh -c ./ProcServ 20 x 30", 30),
        ("procServ --foreground ./st.cmd", 0),
        ("procServ 0 70000 123456 ./st.cmd", 0),
    ],
)
def test_the_console_of_a_procserv(command, port):
    (found,) = netstat.read([tcp(4051, 1), *process(9, command, "/", 1)]).proc_servs()
    assert (found.port, found.process.pid) == (port, 9)


def test_procservs_come_by_their_ports_and_nothing_else_is_one():
    commands = ["procServ x", "procServ 30 x", "procServ 20 x", "vi procServ.log", "ls procservs"]
    lines = [line for pid, each in enumerate(commands) for line in process(pid, each, "/")]
    assert [each.port for each in netstat.read(lines).proc_servs()] == [20, 30, 0]


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("softIoc /tmp/iocsh.startup.4711 -x", "softIoc startup.iocsh -x"),
        ("iocsh -r x /tmp/a/iocsh-startup", "iocsh -r x startup.iocsh"),
        ("file=/tmp/iocsh.startup", "file=startup.iocsh"),
        ("iocsh.startup.1 /tmp/x", "iocsh.startup.1 /tmp/x"),
        ("/bin/iocsh st.cmd", "/bin/iocsh st.cmd"),
    ],
)
def test_names_that_are_drawn_at_each_start_are_made_alike(told, meant):
    assert netstat.read(process(1, told, "/")).processes[1].command == meant


def test_a_directory_that_was_deleted_is_still_that_directory():
    lines = process(1, "a", "/x (deleted)")
    assert netstat.read(lines).processes[1].directory == "/x"


def test_the_first_word_on_a_process_stands_and_a_colon_may_be_missing():
    lines = ["pid: 1 cmdline first", "pid: 1 cmdline: second", "pid: 1 cwd /x"]
    found = netstat.read(lines).processes[1]
    assert (found.command, found.directory) == ("first", "/x")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "pid: 1",
        "pid: x cwd: /",
        "pid: 99999999999 cwd: /",
        "pid: 1 socket:[x]",
        "pid: ١ cwd: /",
        "tcp: 0:",
        "ERROR: Failed to open: /proc/1/fd",
        tcp(5064, "x"),
        tcp(5064, 1).replace("13C8", "113C8"),
        tcp(5064, 1).replace(" 0: 00000000", " 0: 000000000000"),
    ],
)
def test_lines_that_we_do_not_know_are_counted(line):
    found = netstat.read([line, *LINES])
    assert found.unread == 1
    assert found.applications()[5064].pid == 77


def test_there_is_a_limit_of_lines(monkeypatch):
    monkeypatch.setattr(netstat, "MOST_LINES", 3)
    found = netstat.read(LINES)
    assert (found.lines, found.beyond, found.processes) == (3, len(LINES) - 3, {})


def test_real_lines_of_this_process():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = netstat.read(own_lines())
        assert port in found.processes[os.getpid()].ports
        assert found.applications()[port].directory == os.getcwd()
    assert found.unread == 0
    assert port not in netstat.read(own_lines()).processes[os.getpid()].ports
