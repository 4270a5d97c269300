"""Questions are answered, whatever servers send, and whatever becomes of the process that asks."""

import signal
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec

import psutil
import pytest

from socs.epics.cainfo import AddressLists, ChannelInfo, Question, asker
from socs.sim.iocs import EpicsSite
from socs.testing import LOOPBACK, wait_until

# Not imported here: their threads would stay.
pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("caproto", "p4p"))), reason="needs caproto and p4p (extra epics)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One server; it is left running."""
    with EpicsSite(tmp_path_factory.mktemp("cainfo") / "site") as made:
        made.add("one", {made.prefix + "A": "int"}, server="caproto")
        made.start("one")
        yield made


@pytest.fixture(scope="module")
def question(site):
    """It is answered by 42."""
    return Question(site.prefix + "A", "ca", f"{LOOPBACK}:{site.ports_of('one')['ca']}")


@pytest.fixture(scope="module")
def channels(site):
    with ChannelInfo(lists(site)) as made:
        made.start()
        yield made


def lists(site):
    return AddressLists.from_environ(site.env())


# -- servers that are none ------------------------------------------------------------------------

HOSTILE = {
    "nothing": (b"", "the server closed the connection"),
    "noise": (b"\x7f" + bytes(15), "the server sends what is no Channel Access"),
    # A header for large payloads: 16 bytes, then the true size and count.
    "endless": (
        b"\x00\x0f\xff\xff\x00\x06\x00\x00" + bytes(8) + b"\x7f\xff\xff\xff" + bytes(4),
        "the server sends 2147483",
    ),
    "stray": (b"\x00\x0f\x00\x08\x00\x06\x00\x01" + bytes(16), "the server sends what is no"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_server_that_sends_what_it_should_not(channels, case):
    sent, reason = HOSTILE[case]
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve():
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(sent)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"{LOOPBACK}:{listener.getsockname()[1]}"
        [ca] = channels.ask([Question("A", "ca", address)], timeout=10)
        [pva] = channels.ask([Question("A", "pva", address)], timeout=10)
        thread.join()
    assert ca["state"] == pva["state"] == "disconnected"
    assert ca["reason"].startswith(reason)
    assert pva["reason"] == "the server does not speak PV Access"


# -- the child ------------------------------------------------------------------------------------


def child_of(channels):
    return psutil.Process(channels._child.pid)


def test_a_child_that_is_killed_is_replaced_and_asks_again(site, question):
    with ChannelInfo(lists(site)) as channels:
        assert channels.ask([question])[0]["value"] == 42
        first = child_of(channels)
        first.kill()
        assert channels.ask([question])[0]["value"] == 42
        assert not first.is_running()
        with socket.create_server((LOOPBACK, 0)) as silent:
            hung = Question("A", "ca", f"{LOOPBACK}:{silent.getsockname()[1]}")
            answers = []
            asking = threading.Thread(
                target=lambda: answers.extend(channels.ask([hung, question], 2))
            )
            asking.start()
            connection, _ = silent.accept()
            child_of(channels).kill()
            asking.join()
            connection.close()
        assert answers[0]["state"] == "disconnected"
        assert answers[1]["value"] == 42
        counts = channels.counters.snapshot()
        assert counts["info_starts"] == 3
        assert counts["info_ended"] == 2
        assert counts["info_asked"] == counts["info_connected"] + counts["info_disconnected"]


# Of 2000 names not even the questions get through: that is more than a pipe takes.
@pytest.mark.parametrize("number", [1, 2000])
def test_a_child_that_hangs_is_killed_and_replaced(site, question, monkeypatch, number):
    monkeypatch.setattr(asker, "GRACE", 0.2)
    told = []
    with ChannelInfo(lists(site), told.append) as channels:
        assert channels.ask([question])[0]["value"] == 42
        child = child_of(channels)
        child.suspend()
        many = [Question(f"{'N' * 100}{n}", "ca", question.server) for n in range(number)]
        answers = channels.ask(many, timeout=0.3)
        assert {each["state"] for each in answers} == {"disconnected"}
        assert {each["reason"] for each in answers} == {asker.STUCK}
        assert told == [asker.STUCK]
        assert not child.is_running()
        assert channels.ask([question])[0]["value"] == 42
        counts = channels.counters.snapshot()
        assert (counts["info_stuck"], counts["info_unanswered"]) == (1, number)


def test_whoever_waits_is_told_at_the_end(site):
    with socket.create_server((LOOPBACK, 0)) as silent:
        channels = ChannelInfo(lists(site))
        hung = Question("A", "ca", f"{LOOPBACK}:{silent.getsockname()[1]}")
        answers = []
        asking = threading.Thread(target=lambda: answers.extend(channels.ask([hung], 60)))
        asking.start()
        connection, _ = silent.accept()
        child = child_of(channels)
        channels.close()
        asking.join(60)
        connection.close()
    assert not asking.is_alive()
    assert answers[0]["state"] == "disconnected"
    assert not child.is_running()
    assert channels.ask(["A"])[0]["reason"].endswith("closed")
    channels.close()


def test_the_child_ends_with_a_program_that_is_killed():
    program = (
        "from socs.epics.cainfo import *\n"
        "channels = ChannelInfo()\n"
        f"assert channels.ask([Question('A', 'ca', '{LOOPBACK}:1')])\n"
        "print(channels._child.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.send_signal(signal.SIGKILL)
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_child_whose_loop_stands_still_is_ended_by_the_system():
    program = (
        "import asyncio, time\n"
        "from socs.epics.cainfo import child\n"
        "child.STANDSTILL = 1\n"
        "async def main():\n"
        "    child._keep_alive(asyncio.get_running_loop())\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    assert done.returncode == -signal.SIGALRM


def test_variables_of_epics_come_from_the_settings_only(site, monkeypatch):
    monkeypatch.setenv("EPICS_CA_NAME_SERVERS", "10.255.255.1")
    monkeypatch.setenv("EPICS_PVA_ADDR_LIST", "10.255.255.1")
    with ChannelInfo(lists(site)) as channels:
        channels.ask([Question("A", "ca", f"{LOOPBACK}:1")])
        env = child_of(channels).environ()
    ours = {key: value for key, value in env.items() if key.startswith("EPICS_")}
    assert ours == lists(site).environ()
