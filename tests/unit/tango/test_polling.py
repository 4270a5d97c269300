"""What the poller concludes, names, remembers and decides, without Tango."""

import os
import threading

import psutil
import pytest

from socs.counters import TANGO_POLLING, Counters
from socs.errors import ConfigError, StorageUnavailable
from socs.tango.polling.failures import failure_of
from socs.tango.polling.lease import PerformanceLease
from socs.tango.polling.messages import Perf, PerfDone
from socs.tango.polling.patterns import parse_pattern
from socs.tango.polling.performance import PerformanceSwitch
from socs.tango.polling.process import ChildProcess

# -- errors of Tango, as pytango 10.3.1 raised them -----------------------------------------------

CONNECT = ("API_CorbaException", "TRANSIENT CORBA system exception: TRANSIENT_ConnectFailed")
TIMED_OUT = ("API_CorbaException", "TRANSIENT CORBA system exception: TRANSIENT_CallTimedout")
COMMAND = ("API_CommandFailed", "Failed to execute command_inout on device dserver/a/b")
DATABASE = "Failed to connect to device sys/database/2"


@pytest.mark.parametrize(
    ("causes", "failure", "sentence"),
    [
        (
            [CONNECT, ("API_CantConnectToDevice", "Failed to connect to device dserver/a/b")],
            "refused",
            "Failed to connect to device dserver/a/b",
        ),
        ([CONNECT], "refused", CONNECT[1]),
        (
            [("API_CorbaException", "OBJECT_NOT_EXIST CORBA system exception: _NoMatch")],
            "refused",
            "OBJECT_NOT_EXIST CORBA system exception: _NoMatch",
        ),
        (
            [TIMED_OUT, ("API_DeviceTimedOut", "Timeout (300 mS) exceeded on device x")],
            "timeout",
            "Timeout (300 mS) exceeded on device x",
        ),
        (
            [
                TIMED_OUT,
                ("API_CantConnectToDevice", "Failed to connect to device dserver/a/b"),
            ],
            "timeout",
            "Failed to connect to device dserver/a/b",
        ),
        (
            [("API_DeviceNotExported", "Device dserver/a/b is not exported"), COMMAND],
            "not_exported",
            "Device dserver/a/b is not exported",
        ),
        (
            [
                ("DB_DeviceNotDefined", "device dserver/a/b not defined in the database !"),
                ("API_CommandFailed", "Failed to execute command_inout on device sys/database/2"),
            ],
            "not_exported",
            "device dserver/a/b not defined in the database !",
        ),
        (
            [("API_CommandNotFound", "Command QueryEventSystem not found"), COMMAND],
            "no_command",
            "Command QueryEventSystem not found",
        ),
        (
            [
                (
                    "API_CantConnectToDevice",
                    "Failed to connect to device dserver/a/b\nThe connection request was delayed.",
                )
            ],
            "delayed",
            "Failed to connect to device dserver/a/b",
        ),
        (
            [("API_CantConnectToDevice", f"{DATABASE}\nThe connection request was delayed.")],
            "unknown",
            DATABASE,
        ),
        (
            [TIMED_OUT, ("API_CantConnectToDevice", DATABASE)],
            "unknown",
            DATABASE,
        ),
        (
            [CONNECT, ("API_CantConnectToDatabase", "Failed to connect to database on host h")],
            "unknown",
            "Failed to connect to database on host h",
        ),
        ([("API_ReadOnlyMode", "Command is not executable")], "unknown", "Command is not exec"),
        ([], "unknown", ""),
    ],
)
def test_errors_of_tango_tell_what_a_server_is(causes, failure, sentence):
    found, text = failure_of(causes)
    assert found == failure
    assert sentence in text
    assert "\n" not in text


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("lab/pub/1", "device", "lab/pub/1"),
        ("Lab/PUB/1", "device", "lab/pub/1"),
        ("dserver/Prog/1", "server", "dserver/prog/1"),
        ("prog/1", "server", "dserver/prog/1"),
        ("lab/*/1", "devices", "lab/*/1"),
        ("dserver/*", "servers", "dserver/*"),
        ("dserver/prog/*", "servers", "dserver/prog/*"),
        ("*", "servers", "dserver/*"),
        ("tango://Host:10000/lab/pub/1", "device", "tango://host:10000/lab/pub/1"),
        ("tango://host:1/*", "servers", "tango://host:1/dserver/*"),
    ],
)
def test_names_are_of_four_kinds(text, kind, shown):
    pattern = parse_pattern(text)
    assert (pattern.kind, str(pattern)) == (kind, shown)


@pytest.mark.parametrize(
    "text",
    ["", "lab", "lab//1", "a/b/c/d", "tango://host/a/b/c", "tango://:1/a/b/c", "tango://h:x/a/b/c"],
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ConfigError):
        parse_pattern(text)


# -- the child ------------------------------------------------------------------------------------


def test_a_child_without_room_for_threads_does_not_start_and_leaves_nothing(monkeypatch):
    start, made = threading.Thread.start, []

    def refuse(thread):
        if thread.name == "tango-poll-read":
            raise RuntimeError("can't start new thread")
        made.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    before = {each.pid for each in psutil.Process().children()}
    with pytest.raises(OSError, match="can't start new thread"):
        ChildProcess(dict(os.environ), lambda *words: None)
    assert {each.pid for each in psutil.Process().children()} <= before
    for thread in made:
        thread.join(5)
        assert not thread.is_alive()


# -- performance monitoring -----------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "lease.json"


def test_a_lease_outlives_the_process_and_is_removed_when_nothing_is_on(path):
    lease = PerformanceLease(path)
    assert lease.servers == frozenset()
    lease.write(["b", "a"])
    assert PerformanceLease(path).servers == {"a", "b"}
    assert [each.name for each in path.parent.iterdir()] == ["lease.json"]
    lease.write([])
    assert not path.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"version":2,"servers":[]}', b'{"version":1,"servers":[1]}', b"\xff"]
)
def test_a_lease_that_cannot_be_read_is_told_and_replaced(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    told = []
    switch = PerformanceSwitch(path, Counters(TANGO_POLLING), lambda *words: told.append(words))
    assert "cannot be read" in told[0][1]
    switch.want(True)
    assert switch.message(["a"], settled=True) == Perf(["a"], [])
    assert PerformanceLease(path).servers == {"a"}


def test_a_lease_that_cannot_be_written_stands(path):
    path.parent.write_text("in the way")
    lease = PerformanceLease(path)
    with pytest.raises(StorageUnavailable, match=r"lease\.json"):
        lease.write(["a"])
    assert lease.servers == frozenset()


@pytest.fixture
def switch(path):
    counters = Counters(TANGO_POLLING)
    made = PerformanceSwitch(path, counters, lambda kind, text: pytest.fail(text))
    made.counted = lambda: counters["performance_cleaned"]
    return made


def test_the_lease_is_written_before_anything_is_switched_on(switch, path):
    assert switch.message(["a", "b"], settled=True) is None
    switch.want(True)
    assert switch.message(["a", "b"], settled=True) == Perf(["a", "b"], [])
    assert PerformanceLease(path).servers == {"a", "b"}
    assert switch.message(["a", "b"], settled=True) is None
    switch.done(PerfDone("a", True))
    assert switch.monitored == {"a"}


def test_it_is_off_only_when_the_server_has_told(switch, path):
    switch.want(True)
    switch.message(["a", "b"], settled=True)
    switch.want(False)
    assert switch.message(["a", "b"], settled=True) == Perf([], ["a", "b"])
    switch.done(PerfDone("a", False))
    switch.done(PerfDone("b", False, "no answer"))
    assert PerformanceLease(path).servers == {"b"}
    assert switch.troubles() == ["performance monitoring may still be on at b"]
    switch.try_again()
    assert switch.message([], settled=True) == Perf([], ["b"])
    switch.done(PerfDone("b", False))
    assert not path.exists()
    assert switch.troubles() == []
    assert switch.counted() == 0  # nobody had left it on


def test_what_was_left_on_is_switched_off_once_it_is_known_who_is_polled(path):
    PerformanceLease(path).write(["a", "gone"])
    counters = Counters(TANGO_POLLING)
    told = []
    switch = PerformanceSwitch(path, counters, lambda *words: told.append(words))
    switch.want(True)
    switch.tell_left_on()
    assert "left performance monitoring on at 2 servers (a, gone)" in told[0][1]
    assert switch.message([], settled=False) is None
    assert switch.message(["a"], settled=True) == Perf(["a"], ["gone"])
    switch.done(PerfDone("gone", False))
    assert counters["performance_cleaned"] == 1
    assert PerformanceLease(path).servers == {"a"}


def test_what_somebody_else_switched_off_is_switched_on_again(path):
    counters, told = Counters(TANGO_POLLING), []
    switch = PerformanceSwitch(path, counters, lambda *words: told.append(words))
    switch.want(True)
    switch.message(["a", "b"], settled=True)
    switch.seen("a", False)  # was asked before
    switch.done(PerfDone("a", True))
    for measures in (False, True, False, None, False):  # one may have been asked before
        switch.seen("a", measures)
        assert switch.message(["a", "b"], settled=True) is None
    switch.seen("a", False)
    assert switch.message(["a", "b"], settled=True) == Perf(["a", "b"], [], ["a"])
    assert switch.message(["a", "b"], settled=True) is None
    assert counters["performance_renewed"] == 1
    assert "switched performance monitoring off at 1 servers (a)" in told[0][1]


def test_another_child_is_told_anew(switch):
    switch.want(True)
    message = switch.message(["a"], settled=True)
    switch.restarted()
    assert switch.message(["a"], settled=True) == message


@pytest.mark.parametrize(
    ("name", "server", "meant"),
    [
        ("pub/1", "dserver/pub/1", True),
        ("pub/1", "dserver/pub/10", False),
        ("dserver/p*", "dserver/pub/1", True),
        ("dserver/p.*", "dserver/pub/1", False),
        ("dserver/*/1", "dserver/pub/2", False),
        ("*", "dserver/pub/1", True),
        ("lab/pub/1", "dserver/pub/1", True),  # may be its device
    ],
)
def test_servers_that_a_name_may_mean(name, server, meant):
    assert parse_pattern(name).may_mean(server) is meant
