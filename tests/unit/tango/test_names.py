"""Names of streams, servers and times."""

import subprocess
import sys
from pathlib import Path

import pytest

from socs.errors import Malformed
from socs.tango.limits import MAX_NAME
from socs.tango.names import EventName, parse_event, parse_server, parse_time

VAL = EventName("db:10000", "lab/pub/1", "val", "change")


@pytest.mark.parametrize(
    "text",
    [
        "tango://db:10000/lab/pub/1/val.change",
        "tango://db:10000/lab/pub/1/val.idl5_change",
        "TANGO://DB:10000/Lab/Pub/1/Val.Idl5_Change",
        "tango://db:10000/lab/pub/1/val#dbase=no.change",
    ],
)
def test_publisher_and_subscriber_mean_the_same_stream(text) -> None:
    assert parse_event(text) == VAL


def test_parts_of_a_name() -> None:
    assert VAL.path == "lab/pub/1/val.change"
    assert str(VAL) == "tango://db:10000/lab/pub/1/val.change"
    device = parse_event("tango://db:10000/lab/pub/1.intr_change")
    assert (device.device, device.attribute, device.event) == ("lab/pub/1", "", "intr_change")
    assert parse_event(str(device)) == device
    assert parse_event("lab/pub/1/val.user_event").authority == ""


def test_a_dot_in_the_host_is_none_of_the_event() -> None:
    assert parse_event("tango://db.lab.org:1/a/b/c/d.idl5_attr_conf").event == "attr_conf"


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "a/b/c/d", "a/b.change", "a/b/c/d/e.change", "a//c/d.change", "tango://"),
        *("tango://h", "a/b/c/d.", "a/b/c/d.idl5_", "a/b/c/\x1b.change"),
        "a/b/c/" + "d" * MAX_NAME + ".change",
    ],
)
def test_what_is_no_name_of_a_stream(text) -> None:
    with pytest.raises(Malformed):
        parse_event(text)


def test_names_of_servers() -> None:
    server = parse_server("tango://DB:10000/dserver/Prog/inst#dbase=no")
    assert (server.authority, server.path) == ("db:10000", "dserver/prog/inst")
    assert parse_server("prog/inst").path == "dserver/prog/inst"
    assert str(parse_server("dserver/prog/inst")) == "dserver/prog/inst"
    for text in ("", "prog", "sys/database/2", "dserver//inst", "dserver/prog/inst/more"):
        with pytest.raises(Malformed):
            parse_server(text)


def test_times_are_utc() -> None:
    assert parse_time("2026-11-21T15:35:56") == 1795275356.0
    assert parse_time("1970-01-01T00:00:00") is None
    assert parse_time(None) is None
    for text in (
        "",
        "yesterday",
        "2026-11-21 15:35:56",
        "2026-13-21T15:35:56",
        "2026-11-21T15:35Z",
    ):
        with pytest.raises(Malformed):
            parse_time(text)


def test_no_library_is_needed():
    """The simulated devices run in any interpreter that has pytango: that of the system, too."""
    tree = Path(__file__).parents[3]
    program = "import socs.tango.names, socs.sim.pacing, socs.errors"
    command = [sys.executable, "-S", "-c", program]  # -S: without site-packages
    subprocess.run(command, check=True, env={"PYTHONPATH": str(tree)}, timeout=30)
