"""Values as JSON, lists of addresses, questions that are none, and what is printed."""

import asyncio
import json
import math
from importlib.util import find_spec

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socs.cli.epics_cainfo import rows
from socs.cli.main import main
from socs.epics.cainfo import AddressLists, ChannelInfo, PvInfo, Question
from socs.epics.cainfo import addresses as addresses_module
from socs.epics.cainfo import search as search_module
from socs.epics.cainfo.addresses import broadcast_addresses, split_address
from socs.epics.cainfo.values import DEEPEST, MOST_CHARACTERS, characters, pair, plain, text
from socs.errors import ConfigError, OurError, PeerError

needs_libraries = pytest.mark.skipif(
    not all(map(find_spec, ("caproto", "p4p"))), reason="needs caproto and p4p (extra epics)"
)

# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (np.float32(-math.inf), "-Infinity"),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (None, None),
        (b"abc\0rest", "abc"),
        (b"\xff!", "\\xff!"),
        ("\ud800", "\\ud800"),
        (np.array([1.0, math.nan, 3.0]), [1.0, "NaN"]),
        (np.array([[1, 2], [3, 4]], np.int8), [1, 2]),
        ([b"one", "two", "three"], ["one", "two"]),
        ({"a": np.int16(1), 2: [1, 2, 3], "c": 0}, {"a": 1, "2": [1, 2]}),
        ({1, 2}.__class__, "<class 'set'>"),
    ],
)
def test_values_are_what_json_has(value, expected):
    found = plain(value, 2)
    assert found == expected
    assert type(found) is type(expected)


def test_structures_within_each_other_end():
    nested = 0
    for _ in range(100):
        nested = [nested]
    assert str(plain(nested, 5)).count("[") == DEEPEST


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_whatever_a_server_sends_is_json(value):
    json.dumps(plain(value, 10), allow_nan=False).encode()


def test_texts_end():
    assert len(text("a" * 10_000)) == MOST_CHARACTERS
    assert text("a" * 10_000).endswith("a...")
    assert text("a" * MOST_CHARACTERS) == "a" * MOST_CHARACTERS


def test_characters_that_are_text():
    assert characters(b"/data/run 7\0\0rest") == "/data/run 7"
    assert characters("µm".encode()) == "µm"
    assert characters(b"\x01\x02") is None
    assert characters(b"\xff\xfe") is None
    assert characters(b"") is None


def test_limits_that_are_not_set():
    assert pair(math.nan, math.nan) is None
    assert pair(None, None) is None
    assert pair(math.nan, 3) == (None, 3)
    assert pair(-math.inf, 0.0) == ("-Infinity", 0.0)


# -- addresses ------------------------------------------------------------------------------------


def test_lists_are_those_of_the_variables_and_back():
    environ = {
        "EPICS_CA_ADDR_LIST": "10.0.0.255 10.0.1.255:5068",
        "EPICS_CA_AUTO_ADDR_LIST": "no",
        "EPICS_CA_SERVER_PORT": "5066",
        "EPICS_PVA_BROADCAST_PORT": "6000",
    }
    lists = AddressLists.from_environ(environ)
    assert lists.destinations("ca") == [("10.0.0.255", 5066), ("10.0.1.255", 5068)]
    assert lists.pva_auto
    assert AddressLists.from_environ(lists.environ()) == lists
    assert AddressLists.from_environ({}) == AddressLists()


def test_broadcast_addresses_are_added_once(monkeypatch):
    monkeypatch.setattr(addresses_module, "broadcast_addresses", lambda: ["10.0.0.255"])
    both = AddressLists(pva="10.0.0.255 10.0.0.7").destinations("pva")
    assert both == [("10.0.0.255", 5076), ("10.0.0.7", 5076)]
    assert AddressLists(pva_auto=False, pva="10.0.0.7:1").destinations("pva") == [("10.0.0.7", 1)]


def test_broadcast_addresses_of_this_host():
    for address in broadcast_addresses():
        assert address.count(".") == 3
        assert not address.startswith(("127.", "0."))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"EPICS_CA_AUTO_ADDR_LIST": "maybe"}, "EPICS_CA_AUTO_ADDR_LIST"),
        ({"EPICS_PVA_BROADCAST_PORT": "70000"}, "EPICS_PVA_BROADCAST_PORT"),
        ({"EPICS_CA_SERVER_PORT": "x"}, "EPICS_CA_SERVER_PORT"),
        ({"EPICS_CA_ADDR_LIST": "10.0.0.1:0"}, "10.0.0.1:0"),
        ({"EPICS_PVA_ADDR_LIST": "a:b"}, "a:b"),
    ],
)
def test_impossible_variables_are_named(environ, said):
    with pytest.raises(ConfigError, match=said):
        AddressLists.from_environ(environ)


def test_no_address_to_search_at():
    with pytest.raises(ConfigError, match="EPICS_PVA_ADDR_LIST"):
        AddressLists(pva_auto=False).destinations("pva")


def test_addresses_of_servers():
    assert split_address("host:5064") == ("host", 5064)
    assert split_address("host", 5) == ("host", 5)
    for bad in ("host", "host:", ":5064", "host:0", "host:65536", "host:-1", "a:b:1", ""):
        with pytest.raises(ConfigError, match="host:port"):
            split_address(bad)


# -- questions that are none ----------------------------------------------------------------------


@needs_libraries
def test_questions_that_cannot_be_asked_are_answered_all_the_same():
    with ChannelInfo() as channels:
        bad = [
            Question("A", "http"),  # type: ignore[arg-type]
            Question("A", "ca", "nowhere"),
            Question("\ud800"),
        ]
        answers = channels.ask(bad)
        counts = channels.counters.snapshot()
    assert [each["state"] for each in answers] == ["disconnected"] * 3
    assert [each["name"] for each in answers] == ["A", "A", "\\ud800"]
    assert "protocol http is not ca nor pva" in answers[0]["reason"]
    assert "'nowhere' is not host:port" in answers[1]["reason"]
    msgspec.json.encode(answers)
    assert counts["info_starts"] == 0
    assert counts["info_asked"] == counts["info_disconnected"] == 3


@needs_libraries
def test_too_many_names(monkeypatch):
    monkeypatch.setattr("socs.epics.cainfo.asker.MOST_NAMES", 0)
    with ChannelInfo() as channels:
        [answer] = channels.ask(["A"])
    assert answer["reason"] == "too many names"


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("socs.epics.cainfo.asker.NEEDED", {"ca": "caproto_of_nowhere"})
    with pytest.raises(ConfigError, match=r"caproto_of_nowhere: pip install 'socs\[epics\]'"):
        ChannelInfo(protocols=["ca"])


@needs_libraries
def test_a_child_that_cannot_be_started(monkeypatch):
    def full(*_):
        raise OSError(11, "no more processes")

    monkeypatch.setattr("socs.epics.cainfo.asker.ChildProcess", full)
    with ChannelInfo() as channels:
        [answer] = channels.ask(["A"])
        assert channels.counters.snapshot()["info_unanswered"] == 1
    assert answer["reason"].endswith("cannot be started: [Errno 11] no more processes")


# -- searches ------------------------------------------------------------------------------------


class BrokenSearch:
    """One whose thread ends as soon as it is asked."""

    def __init__(self, *_):
        self.alive = False
        self.starts = 0

    def start(self):
        self.starts, self.alive = self.starts + 1, True

    def ask(self, *_):
        self.alive = False


def test_a_search_that_ends_is_told_and_started_again(monkeypatch):
    monkeypatch.setattr(search_module, "ActiveSearch", BrokenSearch)
    monkeypatch.setattr(search_module, "LOOK_PERIOD", 0.01)

    async def ask_twice():
        search = search_module.NameSearch(AddressLists(ca="127.0.0.1", ca_auto=False))
        for _ in range(2):
            with pytest.raises(OurError, match="searching ended"):
                await search.find("A", "ca")
        return (await search._searches["ca"]).starts

    assert asyncio.run(ask_twice()) == 2


@pytest.mark.parametrize("name", ["", "A" * 2000, "A\0B"])
def test_what_cannot_be_a_name_is_not_searched_for(name):
    async def ask():
        await search_module.NameSearch(AddressLists()).find(name, "pva")

    with pytest.raises(PeerError, match="cannot be a name"):
        asyncio.run(ask())


# -- what is printed ------------------------------------------------------------------------------


def info(**fields):
    whole = {
        name: getattr(PvInfo(name="A", protocol="ca"), name) for name in PvInfo.__struct_fields__
    }
    return {**whole, **fields}


def test_what_was_not_told_is_not_printed():
    assert dict(rows(info(reason="no server"))) == {
        "name": "A",
        "state": "disconnected",
        "reason": "no server",
    }


def test_lines_of_a_waveform():
    told = dict(
        rows(info(count=8, length=3, value=[1, 2], read=True, write=False, time_ns=1_500_000_000))
    )
    assert told["value"] == "1, 2, ..."
    assert told["elements"] == "3 of at most 8"
    assert told["access"] == "read, no write"
    assert told["time"] == "1970-01-01T00:00:01.500000Z"
    assert dict(rows(info(count=9, length=None, value=[1])))["elements"] == "up to 9"
    assert dict(rows(info(count=1, length=1, read=True, value=0)))["value"] == "0"
    assert dict(rows(info(count=2, length=2, value=[97, 98], text="ab")))["value"] == "ab"


def test_lines_of_an_enum_and_of_limits():
    told = dict(rows(info(value=1, text="On", choices=["Off", "On"], limits={"alarm": (None, 3)})))
    assert told["value"] == "1 On"
    assert told["choices"] == "0 Off, 1 On"
    assert told["alarm limits"] == "- to 3"


def test_a_server_that_is_no_address_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["epics", "cainfo", "--server", "nowhere", "A"])
    assert "'nowhere' is not host:port" in capsys.readouterr().err
