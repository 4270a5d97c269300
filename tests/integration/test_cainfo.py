"""What is told of process variables is what the clients of others tell, whatever IOCs do."""

import json
import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from socs.cli.main import main
from socs.epics.cainfo import AddressLists, ChannelInfo, Question
from socs.sim.iocs import EpicsSite
from socs.testing import LOOPBACK

# Not imported here: their threads would stay.
pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("softioc", "caproto", "p4p"))),
    reason="needs softioc, caproto and p4p (extras epics and test)",
)

KINDS = ("float", "int", "string", "enum", "waveform")
RICH = ("rich", "alarmed", "readonly", "secret", "nan", "infinite", "never", "odd", "text")
RICH += ("part", "empty")
SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
STATUSES = {0: "NO_ALARM", 5: "LOLO", 17: "UDF"}
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Servers of three kinds, and one whose records have all that can be told; left running."""
    with EpicsSite(tmp_path_factory.mktemp("cainfo") / "site") as made:
        for server in ("softioc", "caproto", "p4p"):
            pvs = {f"{made.prefix}{server}:{kind}": kind for kind in KINDS}
            made.add(server, pvs, server=server)
        rich = made._run("rich", "tests.rich_ioc", [made.prefix], "", {})
        made.start("softioc", "caproto", "p4p")
        made.rich_ports = json.loads(made._line_of("rich", rich, "serving "))
        yield made


@pytest.fixture(scope="module")
def channels(site):
    with ChannelInfo(lists(site)) as made:
        made.start()
        yield made


@pytest.fixture
def own_site(tmp_path):
    """One whose servers a test ends; they are the quickest to start."""
    with EpicsSite(tmp_path / "site") as made:
        yield made


def lists(site):
    return AddressLists.from_environ(site.env())


def run(site, *command):
    """What a program prints that looks at the site."""
    env = {**os.environ, **site.env()}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_of(site, protocol):
    return [n for n, each in site.serving().items() if any(e.protocol == protocol for e in each)]


def direct(site, ioc, name, protocol=None):
    """The question for what a server has, sent to it alone."""
    ports = site.ports_of(ioc)
    protocol = protocol or next(key for key, port in ports.items() if port)
    return Question(name, protocol, f"{LOOPBACK}:{ports[protocol]}")


# -- agreement ------------------------------------------------------------------------------------


def finite(value):
    """A value of libca as ours are."""
    if isinstance(value, list):
        return [finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def test_agrees_with_libca(site, channels):
    names = [*names_of(site, "ca"), *(site.prefix + each for each in RICH)]
    names.append(site.prefix + "MISSING")
    printed = run(site, sys.executable, "-m", "tests.libca_cainfo", *names[:-1]).splitlines()
    told = {each["name"]: each for each in map(json.loads, printed)}
    ours = channels.ask(names, timeout=10, most_elements=1000)
    assert [each["name"] for each in ours] == names
    assert ours.pop()["state"] == "disconnected"
    for our in ours:
        their = told[our["name"]]
        assert our["state"] == "connected"
        for field in ("server", "type", "count", "read", "write"):
            assert our[field] == their[field], (our, their)
        if not their["read"]:
            assert our["value"] is None
            assert our["reason"] == "the server does not let us read the value"
            continue
        assert our["reason"] == ""
        for field in ("time_ns", "units", "precision", "choices"):
            assert our[field] == their[field], (our, their)
        assert our["value"] == finite(their["value"])
        assert our["length"] == (len(their["value"]) if their["count"] != 1 else 1)
        assert our["severity"] == SEVERITIES[their["severity"]]
        assert our["status"] == STATUSES[their["status"]]
        limits = {key: value for key, value in their.get("limits", {}).items() if any_of(value)}
        assert our["limits"] == limits
    found = {our["name"].removeprefix(site.prefix): our for our in ours}
    assert (found["alarmed"]["severity"], found["alarmed"]["units"]) == ("MAJOR", "K")
    assert found["rich"]["limits"]["control"] == [-15.0, 15.0]
    assert found["caproto:enum"]["text"] == "On"
    assert found["text"]["text"] == "a long text " * 5
    assert (found["part"]["count"], found["part"]["length"]) == (8, 3)
    assert found["nan"]["value"] == "NaN"
    assert [each["write"] for each in (found["readonly"], found["rich"])] == [False, True]
    json.dumps(ours, allow_nan=False)


def any_of(limits):
    return any(each is not None for each in limits)


def test_agrees_with_caproto_get(site, channels):
    names = names_of(site, "ca")
    printed = run(site, BIN / "caproto-get", "--no-repeater", "-t", "-n", *names).splitlines()
    assert [line.strip() for line in printed] == [
        f"[{' '.join(format(v, 'g') for v in value)}]" if isinstance(value, list) else f"{value}"
        for value in (each["value"] for each in channels.ask(names, timeout=10))
    ]


def test_agrees_with_the_client_of_p4p(site, channels):
    names = [*names_of(site, "pva"), site.prefix + "rich", site.prefix + "alarmed"]
    printed = run(site, sys.executable, "-m", "p4p.client.cli", "--raw", "get", *names)
    shown = {text.partition(" ")[0]: text for text in printed.split("\n\n") if text}
    for our in channels.ask([Question(name, "pva") for name in names], timeout=10):
        lines = [line.strip() for line in shown[our["name"]].splitlines()]
        assert our["state"] == "connected", our
        assert f'struct "{our["structure"]}"' in lines[0]
        value = our["value"]
        if our["type"] == "enum_t":
            assert f"int32_t index = {value}" in lines
            assert f"string[] choices = {{2}}{json.dumps(our['choices'])}" in lines
            assert our["text"] == our["choices"][value]
        elif isinstance(value, list):
            numbers = ", ".join(f"{each:g}" for each in value)
            assert f"double[] value = {{{our['length']}}}[{numbers}]" in lines
        else:
            kind = {"int": "int32_t"}.get(our["type"], our["type"])
            text = f'"{value}"' if our["type"] == "string" else f"{value:g}"
            assert f"{kind} value = {text}" in lines
        seconds, ns = divmod(our["time_ns"] or 0, 10**9)
        assert f"int64_t secondsPastEpoch = {seconds}" in lines
        assert f"int32_t nanoseconds = {ns}" in lines
        assert f"int32_t severity = {SEVERITIES.index(our['severity'])}" in lines
        if our["units"]:
            assert f'string units = "{our["units"]}"' in lines
            assert f"int32_t precision = {our['precision']}" in lines
        low, high = our["limits"].get("display", (0.0, 0.0))
        assert f"double limitLow = {low:g}" in lines or our["type"] != "double" or low == 0
        assert f"double limitHigh = {high:g}" in lines or our["type"] != "double" or high == 0
    assert our["severity"] == "MAJOR"


def test_both_protocols_tell_the_same_of_one_record(site, channels):
    names = [f"{site.prefix}softioc:{kind}" for kind in KINDS]
    names += [site.prefix + each for each in ("rich", "alarmed", "nan", "odd", "part")]
    by_ca = channels.ask(names, timeout=10)
    by_pva = channels.ask([Question(name, "pva") for name in names], timeout=10)
    for ca, pva in zip(by_ca, by_pva, strict=True):
        for field in ("state", "value", "length", "time_ns", "severity", "units", "choices"):
            assert ca[field] == pva[field]
    ca, pva = (told[names.index(site.prefix + "rich")] for told in (by_ca, by_pva))
    assert ca["limits"] == pva["limits"]
    assert ca["limits"]["warning"] == [-8.0, 8.0]
    assert pva["description"] == "how far"


def test_long_values_are_cut_and_their_lengths_told(site, channels):
    name, count = site.prefix + "long", 150_000
    ca, pva = channels.ask([name, Question(name, "pva")], timeout=10, most_elements=3)
    assert ca["value"] == pva["value"] == [0, 1, 2]
    assert (ca["count"], ca["length"]) == (count, None)
    assert (pva["count"], pva["length"]) == (count, count)


def test_structures_of_pv_access_that_are_no_plain_values(own_site):
    server = own_site._run("odd", "tests.odd_pva_server", [own_site.prefix], "", {})
    port = json.loads(own_site._line_of("odd", server, "serving "))["pva"]
    expected = {
        "table": ("structure", {"n": [1], "name": ["one"]}),
        "free": ("structure", {"a": 5, "b": {"c": [1.0, 2.0], "d": "any"}}),
        "union": ("union", ["one", "two"]),
        "parts": ("structure[]", [{"x": 1.0}, {"x": "NaN"}]),
        "odd_alarm": ("double", 2.0),
        "odd_time": ("double", 0.0),
        "image": ("union", [0, 1, 2]),
        "strings": ("string[]", ["one", "two\x1b", "three"]),
        "boolean": ("boolean", True),
        "big": ("ulong", 2**64 - 1),
    }
    address = f"{LOOPBACK}:{port}"
    questions = [Question(own_site.prefix + end, "pva", address) for end in expected]
    with ChannelInfo(AddressLists(), protocols=["pva"]) as channels:
        answers = channels.ask(questions, timeout=10, most_elements=3)
    assert [each["reason"] for each in answers] == [""] * len(expected)
    found = dict(zip(expected, answers, strict=True))
    assert {end: (each["type"], each["value"]) for end, each in found.items()} == expected
    assert found["image"]["length"] == 12
    assert found["free"]["structure"] == "my:type/X:1.0"
    assert found["odd_time"]["time_ns"] is found["odd_time"]["precision"] is None
    assert found["odd_time"]["limits"] == {"display": [None, 3.0]}


# -- who is asked ---------------------------------------------------------------------------------


def test_a_server_that_is_given_is_asked_without_any_search(site):
    nowhere = AddressLists(ca_auto=False, pva_auto=False)
    questions = [
        direct(site, ioc, f"{site.prefix}{ioc}:float") for ioc in ("softioc", "caproto", "p4p")
    ]
    with ChannelInfo(nowhere) as channels:
        answers = channels.ask([*questions, site.prefix + "caproto:float"], timeout=10)
    assert [each["value"] for each in answers] == [1.5, 1.5, 1.5, None]
    assert "EPICS_CA_ADDR_LIST" in answers[3]["reason"]


def test_only_the_server_that_is_given_answers(site, channels):
    name = site.prefix + "caproto:float"
    ca, pva = channels.ask(
        [direct(site, "softioc", name), direct(site, "softioc", name, "pva")], timeout=2
    )
    assert (ca["state"], ca["reason"]) == ("disconnected", "the server does not have it")
    assert pva["state"] == "disconnected"
    assert pva["reason"] == "the server does not have it, or does not answer (within 2 s)"


def test_a_name_that_two_servers_have_is_told_with_both(own_site):
    name = own_site.prefix + "A"
    for ioc in ("one", "two"):
        own_site.add(ioc, {name: "int"}, server="caproto")
    own_site.start("one", "two")
    with ChannelInfo(lists(own_site)) as channels:
        [answer] = channels.ask([name], timeout=10)
    both = {f"{LOOPBACK}:{own_site.ports_of(ioc)['ca']}" for ioc in ("one", "two")}
    assert {answer["server"], *answer["others"]} == both
    assert answer["value"] == 42


def test_nobody_has_it(site, channels):
    asked = [Question(site.prefix + "MISSING", protocol) for protocol in ("ca", "pva")]
    for answer in channels.ask([*asked, asked[0]], timeout=10):
        assert answer["state"] == "disconnected"
        assert answer["reason"] == "no server answered 4 searches"


# -- IOCs that end and hang -----------------------------------------------------------------------


@pytest.mark.parametrize("server", ["caproto", "p4p"])
def test_an_ioc_that_is_killed_or_frozen(own_site, server):
    name = own_site.prefix + "A"
    own_site.add("one", {name: "float"}, server=server)
    own_site.add("other", {own_site.prefix + "B": "float"}, server=server)
    own_site.start("one", "other")
    with ChannelInfo(lists(own_site)) as channels:
        both = [direct(own_site, "one", name), direct(own_site, "other", own_site.prefix + "B")]
        assert [each["value"] for each in channels.ask(both, timeout=10)] == [1.5, 1.5]
        own_site.freeze("one")
        frozen, other = channels.ask(both, timeout=2)
        assert (frozen["state"], frozen["value"]) == ("disconnected", None)
        why = r"the server does not (have it, or does not )?answer \(within 2 s\)"
        assert re.fullmatch(why, frozen["reason"])
        assert other["value"] == 1.5
        own_site.thaw("one")
        assert [each["value"] for each in channels.ask(both, timeout=10)] == [1.5, 1.5]
        own_site.kill("one")
        killed, other = channels.ask(both, timeout=10)
        assert killed["state"] == "disconnected"
        assert killed["reason"] == f"no connection to {both[0].server}: Connection refused"
        assert other["value"] == 1.5
        assert channels.counters.snapshot()["info_starts"] == 1


# -- the command ----------------------------------------------------------------------------------


def test_the_command_prints_what_is_told(site, monkeypatch, capsys):
    for name, value in site.env().items():
        monkeypatch.setenv(name, value)
    name = site.prefix + "rich"
    assert main(["epics", "cainfo", name]) == 0
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert lines["state"] == "connected"
    assert lines["server"] == f"{LOOPBACK}:{site.rich_ports['ca']}"
    assert lines["access"] == "read, write"
    assert (lines["type"], lines["value"], lines["units"]) == ("DBF_DOUBLE", "12.5", "mm")
    assert lines["alarm limits"] == "- to 10.0"
    server = f"{LOOPBACK}:{site.ports_of('p4p')['pva']}"
    odd, missing = site.prefix + "p4p:enum", site.prefix + "MISSING"
    asked = ["--protocol", "pva", "--server", server, "--timeout", "2", odd, missing]
    assert main(["epics", "cainfo", "--json", *asked]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["name"], first["text"]) == (odd, "On")
    assert second["state"] == "disconnected"
    address = f"127.255.255.255:{site.ports.ca}"
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", "1")
    assert main(["epics", "cainfo", "--addresses", address, site.prefix + "odd"]) == 0
    assert "value\ta\\x1b[31mb\n" in capsys.readouterr().out
