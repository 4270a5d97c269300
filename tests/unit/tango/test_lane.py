"""The few threads that ask servers that answer at once."""

import queue
import threading
from contextlib import nullcontext

import pytest

from socs.tango.polling.calls.lane import Lane

WAIT = 10.0  # s


class Server:
    """Answers with its name and the poll; ``may_answer`` is cleared to hold threads up."""

    def __init__(self, name, apart):
        self.name = name
        self.may_answer, self.is_asked = threading.Event(), threading.Event()
        self.may_answer.set()
        self.own_thread = False
        self._apart = apart

    def hang(self):
        self.may_answer.clear()
        return self

    def ask_promptly(self, number):
        self.is_asked.set()
        assert self.may_answer.wait(WAIT)
        return None if self.own_thread else (self.name, number)

    def ask_apart(self, number):
        self._apart.append((self.name, number))


class Fault(Server):
    def ask_promptly(self, number):
        raise RuntimeError


@pytest.fixture
def told():
    return queue.SimpleQueue()


@pytest.fixture
def lane(told):
    return Lane(told.put, nullcontext, threads=2)


@pytest.fixture
def apart():
    return []


def test_what_all_have_answered_is_told_at_once(lane, told, apart):
    servers = [Server(name, apart) for name in "abcde"]
    for number in (1, 2):
        lane.ask(number, servers)
        assert sorted(told.get(timeout=WAIT)) == [(name, number) for name in "abcde"]
    lane.close()
    assert told.empty()
    assert apart == []


def test_nobody_waits_for_who_is_held_up(lane, told, apart):
    hung = [Server(name, apart).hang() for name in "ab"]
    lane.ask(1, [Server("first", apart), *hung, Server("last", apart)])
    for server in hung:
        assert server.is_asked.wait(WAIT)
    lane.close()
    assert told.get(timeout=WAIT) == [("first", 1)]
    assert apart == [("last", 1)]
    for server in hung:
        server.may_answer.set()
        assert told.get(timeout=WAIT) == [(server.name, 1)]


def test_a_poll_does_not_wait_for_the_one_before(lane, told, apart):
    hung, free = Server("hung", apart).hang(), Server("free", apart)
    lane.ask(1, [free, hung])
    assert hung.is_asked.wait(WAIT)
    lane.ask(2, [free])
    assert told.get(timeout=WAIT) == [("free", 1)]
    assert told.get(timeout=WAIT) == [("free", 2)]
    hung.may_answer.set()
    assert told.get(timeout=WAIT) == [("hung", 1)]


def test_who_is_asked_by_a_thread_of_its_own_is_not_waited_for(lane, told, apart):
    own = Server("own", apart)
    own.own_thread = True
    lane.ask(1, [own, Server("other", apart)])
    assert told.get(timeout=WAIT) == [("other", 1)]


def test_a_fault_ends_no_thread(lane, told, apart, capsys):
    lane.ask(1, [*(Fault("fault", apart) for _ in range(4)), Server("a", apart)])
    assert told.get(timeout=WAIT) == [("a", 1)]
    assert "RuntimeError" in capsys.readouterr().err
