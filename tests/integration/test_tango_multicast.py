"""Multicast properties in a real Tango database, and what the real cppTango makes of them."""

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from socs.cli.main import main
from socs.errors import OurError, StorageUnavailable
from socs.sim.leash import Leash
from socs.tango.multicast import Configuration, transport_of
from socs.tango.multicast.cpptango import refused_at
from socs.tango.properties import PropertyStore
from socs.testing.tango_database import TangoDatabase
from tests.unit.tango.test_multicast import FIRST, SECOND

# Not imported here: its threads would stay.
pytestmark = pytest.mark.skipif(find_spec("tango") is None, reason="needs the extra tango")

ROOT = Path(__file__).parents[2]
PEER = ROOT / "tests" / "tango_multicast_peer.py"
DEVICE = "test/multicast/1"


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One database for the tests that leave it running; emptied by each."""
    with TangoDatabase(tmp_path_factory.mktemp("tango")) as made:
        yield made


@pytest.fixture
def store(database):
    made = PropertyStore(database.host, timeout=60)
    for name, values in made.read("CtrlSystem", "M").items():
        made.write("CtrlSystem", name, values, [])
    return made


def events(store):
    return store.read("CtrlSystem", "Multicast").get("MulticastEvent")


# -- reading and writing --------------------------------------------------------------------------


def test_properties_come_back_as_they_were_written(store):
    values = [*map(str, range(12)), "", " blank ", 'quo"te\\', "a,b", "é€", "%_*"]
    store.write("CtrlSystem", "MulticastEvent", [], values)
    assert events(store) == values
    store.write("CtrlSystem", "MulticastEvent", values, SECOND)
    assert events(store) == SECOND
    store.write("CtrlSystem", "MulticastEvent", SECOND, [])
    assert store.read("CtrlSystem", "Multicast") == {}


def test_what_was_changed_meanwhile_is_not_overwritten(store):
    store.write("CtrlSystem", "MulticastEvent", [], FIRST)
    with pytest.raises(OurError, match="was changed meanwhile: nothing was written"):
        store.write("CtrlSystem", "MulticastEvent", [], SECOND)
    assert events(store) == FIRST


@pytest.fixture
def socs(tmp_path, monkeypatch, capsys):
    """Run ``socs tango multicast`` in an empty directory: ``status, stdout, stderr``."""
    monkeypatch.chdir(tmp_path)

    def run(database, *words):
        monkeypatch.setenv("TANGO_HOST", database.host)
        status = main(["tango", "multicast", *words])
        return (status, *capsys.readouterr())

    return run


def test_an_event_is_added_shown_and_removed(socs, database, store, tmp_path):
    store.write("CtrlSystem", "MulticastRate", [], ["11"])
    store.write("CtrlSystem", "MulticastEvent", [], FIRST)
    added = ("add", "a/b/c/d.alarm", "--address", "226.1.2.3", "--port", "7")
    assert socs(database, *added)[0] == 0
    assert events(store) == FIRST
    status, out, err = socs(database, *added, "--apply")
    assert (status, err) == (0, "")
    assert f"Wrote CtrlSystem/MulticastEvent of {database.host}" in out
    assert events(store) == [*FIRST, "226.1.2.3", "7", "a/b/c/d.alarm"]
    (backup,) = tmp_path.glob("*.json")
    assert json.loads(backup.read_text()) == {"MulticastEvent": FIRST, "MulticastRate": ["11"]}
    shown = socs(database, "show", "--json")[1]
    assert [json.loads(line)["rate"] for line in shown.splitlines()] == [11, 11]
    for event in (FIRST[2], "a/b/c/d.alarm"):
        assert socs(database, "remove", event, "--apply", "--backup", event[-5:])[0] == 0
    assert store.read("CtrlSystem", "M") == {"MulticastRate": ["11"]}


def test_a_misspelt_property_is_told(socs, database, store):
    store.write("CtrlSystem", "MulicastEvent", [], FIRST)
    assert "WARN  MulicastEvent: nobody reads 'MulicastEvent'" in socs(database, "check")[1]


# -- a database that is away ----------------------------------------------------------------------


@pytest.fixture
def private(tmp_path):
    with TangoDatabase(tmp_path / "tango") as made:
        yield made


def test_a_database_that_hangs_is_given_up_in_time(socs, private):
    private.freeze()
    began = time.monotonic()
    told = socs(private, "show", "--timeout", "2")
    assert told == (1, "", f"socs: the Tango database {private.host} did not answer within 2 s\n")
    assert time.monotonic() - began < 30  # pytango itself would wait for 80 s and more
    private.thaw()
    assert socs(private, "show", "--timeout", "30")[0] == 0


def test_it_is_not_said_to_be_unwritten_when_a_database_hangs(private):
    private.freeze()
    with pytest.raises(StorageUnavailable, match="look whether it was written"):
        PropertyStore(private.host, timeout=1).write("CtrlSystem", "MulticastEvent", [], FIRST)


def test_a_database_that_is_down_is_named(socs, private):
    private.kill()
    status, out, err = socs(private, "check")
    assert (status, out) == (1, "")
    assert f"socs: the Tango database {private.host}: Failed to connect" in err


def test_a_host_that_is_none_is_told(socs, database):
    status, _, err = socs(database, "show", "--tango-host", "nonsense")
    assert status == 1
    assert "'nonsense' is no Tango database: host:port is expected" in err


# -- the real cppTango ----------------------------------------------------------------------------

VAL2 = f"{DEVICE}/val2.change"
STREAMS = [("val", "change"), ("val2", "change"), ("val2", "archive"), ("val", "alarm")]
LISTS = [
    # what the document has
    ["226.1.1.1", "1", VAL2],
    ["226.1.1.1", "1", "33", VAL2],
    ["226.1.1.1", "1", "33", "7", VAL2],
    ["226.1.1.1", "1", "33", "7", f"{DEVICE}/val.alarm", "226.1.1.1", "2", "34", "8", VAL2.upper()],
    # what cppTango takes, too
    ["224.0.0.5", "1", "33", VAL2],
    ["226.1.1.1", "1", "33x", "7.9", VAL2],
    ["226.1.1.1", "1", "x33", "", VAL2],
    ["226.1.1.1", "1", " 33", "+7", VAL2],
    ["226x.1.1.1", "http", "33", VAL2],
    ["226.1.1.1", "1", "33", f"{DEVICE}/val2.archived", "junk", VAL2],
    ["226.1.1.1", "1", "226.1.1.2", "34", VAL2],
    ["226.1.1.1", "1.1.1.1", "33", "7", VAL2],
    ["junk", "226.1.1.1", "1", "33", VAL2, VAL2],
    ["226.1.1.1", "1", "33", VAL2, "226.1.1.1", "2", "34", f"{DEVICE}/val.change"],
    # what it reads beyond the end of
    ["226.1.1.1", "1.1.1.1", VAL2],
    # what it refuses
    ["223.1.1.1", "1", "33", VAL2],
    ["240.1.1.1", "1", "33", VAL2],
    ["x.1.1.1", "1", "33", VAL2],
    ["226.1.1.1", "1"],
    ["226.1.1.1", VAL2],
    ["226.1.1.1", "1", "33", "7", "9", VAL2],
    ["226.1.1.1", "1", f"tango://host:10000/{VAL2}"],
    ["226.1.1.1", "1", "33", VAL2, "126.1.1.1", "1", VAL2],
]


def answers_of_cpptango(database, directory, cases):
    """What real servers say that start with the properties of ``cases``."""
    (directory / "cases").write_text(json.dumps(cases))
    command = [sys.executable, str(PEER), str(directory / "cases"), str(directory / "answers")]
    leash = Leash()
    try:
        peer = leash.start(command, log=directory / "log", env=database.env())
        assert peer.wait(100) == 0, peer.output()
    finally:
        leash.close()
    return json.loads((directory / "answers").read_text())


def case(values, **numbers):
    return {"properties": {"MulticastEvent": values, **numbers}, "streams": STREAMS}


CASES = [case(values, MulticastRate=["11"], MulticastIvl=["4"]) for values in LISTS]
CASES += [
    case(LISTS[0], MulticastRate=["fast"], MulticastIvl=["4"]),
    case(LISTS[0], MulticastRate=["12x", "13"], MulticastIvl=["-4"]),
    case(LISTS[0]),
]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param([CASES[n] for n in (3, 5, 9, -4, -5)], id="some"),
        pytest.param(CASES, id="all", marks=pytest.mark.slow),
    ],
)
def test_cpptango_reads_the_properties_as_we_say(database, store, tmp_path, cases):
    answers = answers_of_cpptango(database, tmp_path, cases)
    for each, answer in zip(cases, answers, strict=True):
        ours = said(Configuration.of(each["properties"]))
        if answer["numbers"] is None:  # the server crashed
            assert ours["may_crash"], each
            ours["numbers"] = None
        del ours["may_crash"]
        assert answer == ours, each


def said(configuration):
    """What we say of a server with these properties."""
    default = transport_of(
        f"{DEVICE}/val.change",
        Configuration.of(
            {
                **configuration.properties(),
                "MulticastEvent": ["226.1.1.1", "1", f"{DEVICE}/val.change"],
            }
        ),
    )
    numbers = []
    for attribute, event in STREAMS:
        way = transport_of(f"{DEVICE}/{attribute}.{event}", configuration)
        taken = way if way.multicast else default
        numbers.append([taken.rate * 1024, taken.ivl * 1000])
    refused = refused_at(configuration.events) is not None
    may_crash = refused or any(route.overrun for route in configuration.routes)
    return {"refused": refused, "numbers": numbers, "may_crash": may_crash}
