"""Any lines are read or counted, and what is told of them is possible."""

from hypothesis import given
from hypothesis import strategies as st

from socs.epics.applications import netstat

words = st.sampled_from(
    ("pid:", "tcp:", "build:", "7", "1", "cwd:", "cmdline:", "socket:[7]", "socket:[8]", "procServ")
) | st.text(max_size=6)
parts = st.lists(words, max_size=14).map(" ".join)
ports = st.builds(
    "tcp: 0: 0100007F:{:04X} 00000000:0000 {} 0:0 0:0 0 0 0 {} 1".format,
    st.integers(0, 0x1FFFF),
    st.sampled_from(("0A", "01", "0a", "?")),
    st.integers(6, 9),
)
sockets = st.builds("pid: {} socket:[{}]".format, st.integers(0, 3), st.integers(6, 9))
commands = st.builds("pid: {} {}: {}".format, st.integers(0, 3), words, parts)


@given(st.lists(st.text() | parts | ports | sockets | commands, max_size=40))
def test_any_lines(lines):
    found = netstat.read(lines)
    assert found.lines == len(lines)
    assert 0 <= found.unread <= found.lines
    for pid, process in found.processes.items():
        assert process.pid == pid
        assert list(process.ports) == sorted(set(process.ports))
        assert all(0 <= port <= 0xFFFF for port in process.ports)
        process.identity(1)
    for port, told in found.applications().items():
        assert port in told.ports
        assert found.processes[told.pid] is told
    assert all(0 <= each.port <= 0xFFFF for each in found.proc_servs())


@given(st.text(alphabet="/ iocsh.startup", max_size=3000))
def test_any_command(command):
    found = netstat.read([f"pid: 1 cmdline: {command}"])
    assert found.unread == 0
    assert len(found.processes[1].command) <= len(command) + len(netstat.SAME_EACH_TIME) * 1500
