"""What is said about the multicast properties."""

import re
from pathlib import Path

import pytest

from socs.tango.multicast import KINDS, Configuration, lint
from socs.tango.multicast.findings import Finding
from socs.tango.names import parse_event

ADDRESS, PORT = "226.20.21.22", "2222"
EVENT = "dev/test/11/state.alarm"
GOOD = [ADDRESS, PORT, EVENT]


def found(events, **properties):
    """{code: finding} of what is found, without what is always said when there is a good event."""
    findings = lint(Configuration.of({"MulticastEvent": events, **properties}))
    assert len({finding.code for finding in findings}) == len(findings), "a code came twice"
    return {f.code: f for f in findings if f.code not in ALWAYS}


ALWAYS = {"server_crash", "sent_twice", "no_pgm", "local_unicast", "first_interface"}


def test_about_a_good_property_only_the_defects_of_tango_are_told():
    findings = lint(Configuration.of({"MulticastEvent": GOOD}))
    assert {finding.code for finding in findings} == ALWAYS
    assert {finding.severity for finding in findings} == {"warning", "note"}


def test_without_multicast_events_there_is_nothing_to_tell():
    assert lint(Configuration.of({})) == []
    assert lint(Configuration.of({"MulticastRate": ["80"], "EventBufferHwm": ["1000"]})) == []


@pytest.mark.parametrize(
    ("events", "codes"),
    [
        (["junk", "more", *GOOD], {"address_expected": 0}),
        ([EVENT, "9", "9"], {"address_expected": 0, "list_overrun": 0}),
        ([ADDRESS, "226.1.1.1", EVENT], {"port_wrong": 1, "list_overrun": 2}),
        (["226.20.21.", PORT, EVENT], {"address_malformed": 0}),
        (["10.20.21.22", PORT, EVENT], {"address_not_multicast": 0, "property_refused": 0}),
        ([ADDRESS, EVENT], {"port_wrong": 1, "property_refused": 0}),
        ([ADDRESS, "http", EVENT], {"port_wrong": 1}),
        ([ADDRESS], {"port_wrong": 0, "property_refused": 0}),
        ([ADDRESS, PORT, "fast", EVENT], {"rate_wrong": 2}),
        ([ADDRESS, PORT, "40", "1e3", EVENT], {"ivl_wrong": 3}),
        ([ADDRESS, PORT, "40"], {"event_missing": 0, "property_refused": 0}),
        ([ADDRESS, PORT, ADDRESS, "1", EVENT], {"event_missing": 0}),
        ([*GOOD, "dev/test/12/state"], {"event_name_wrong": 3}),
        ([ADDRESS, PORT, "dev/test/1 1/state.alarm"], {"event_name_wrong": 2}),
        ([ADDRESS, PORT, "dev/test/11/state.chnge"], {"event_type_unknown": 2}),
        ([ADDRESS, PORT, "dev/test/11/state.intr_change"], {"event_never_multicast": 2}),
        ([*GOOD, ADDRESS, "3333", EVENT.upper()], {"event_twice": 5}),
        ([*GOOD, ADDRESS, PORT, "a/b/c/d.alarm"], {"endpoint_shared": 5}),
        ([*GOOD, "a/b/c/d.alarm"], {"endpoint_shared": 3}),
        (["224.0.0.5", PORT, EVENT], {"address_outside_document": 0}),
        (["224.0.1.0", PORT, EVENT], {}),
        (["238.255.255.255", PORT, EVENT], {}),
        (["239.0.0.0", PORT, EVENT], {"address_outside_document": 0}),
        ([ADDRESS, PORT, "80", "60", EVENT], {"buffer_large": 4}),
        ([ADDRESS, PORT, "dev/test/11/state.change"], {"event_lost": 2}),
        ([ADDRESS, PORT, "dev/test/11/state.data_ready"], {}),
    ],
)
def test_each_is_found_at_its_element(events, codes):
    told = found(events)
    assert {code: finding.index for code, finding in told.items()} == codes
    assert all(finding.element == events[finding.index] for finding in told.values())


@pytest.mark.parametrize(
    "kind", ["change", "periodic", "archive", "attr_conf", "user_event", "CHANGE"]
)
def test_events_that_tango_loses_are_told(kind):
    assert "event_lost" in found([ADDRESS, PORT, f"dev/test/11/state.{kind}"])


def test_one_wrong_group_is_told_to_stop_all_servers_from_multicasting():
    finding = found([*GOOD, "126.1.1.1", "1", "a/b/c/d.alarm"])["property_refused"]
    assert (finding.index, finding.element) == (3, "126.1.1.1")
    assert "crash" in KINDS[finding.code].meaning


def test_more_events_than_a_client_can_take():
    events = [x for n in range(7) for x in (ADDRESS, str(n + 1), f"a/b/c/d{n}.alarm")]
    assert found(events) == {}
    events += [ADDRESS, "8", "a/b/c/x.alarm"]
    finding = found(events)["too_many_events"]
    assert finding.element == "a/b/c/x.alarm"
    assert "number 8 of 8" in finding.text


def test_an_attribute_whose_name_begins_another_is_told_where_it_goes():
    events = [ADDRESS, "1", "a/b/c/val2.alarm", ADDRESS, "2", "a/b/c/val.alarm"]
    finding = found(events)["name_prefix"]
    assert finding.index == 5
    assert "226.20.21.22:1" in finding.text
    assert found([*events[3:], *events[:3]]) == {}


def test_streams_that_travel_by_multicast_by_accident_are_told():
    configuration = Configuration.of({"MulticastEvent": [ADDRESS, "1", "a/b/c/val2.alarm"]})
    names = [f"tango://h:1/a/b/c/{name}" for name in ("val.alarm", "val2.alarm", "va.change")]
    findings = lint(configuration, streams=map(parse_event, names))
    (finding,) = [finding for finding in findings if finding.code == "name_prefix"]
    assert finding.text.startswith("a/b/c/val.alarm goes by multicast to 226.20.21.22:1")


def test_the_limit_of_buffers_is_the_callers():
    configuration = Configuration.of({"MulticastEvent": GOOD})

    def codes(limit):
        return {finding.code for finding in lint(configuration, buffer_limit=limit)}

    assert "buffer_large" in codes(204_799_999)
    assert "buffer_large" not in codes(204_800_000)


@pytest.mark.parametrize("name", ["MulticastRate", "MulticastIvl", "MulticastHops"])
@pytest.mark.parametrize("values", [["fast"], ["0"], ["-1"], ["80", "20"], ["3000000"]])
def test_defaults_that_are_no_numbers(name, values):
    finding = found(GOOD, **{name: values})["default_wrong"]
    assert finding.element == name


def test_defaults_that_are_right():
    assert found(GOOD, MulticastRate=["10"], MulticastIvl=["5"], MulticastHops=["1"]) == {}


@pytest.mark.parametrize(
    "name", ["MulicastEvent", "MulticastEvents", "multicast_event", "MulticastHop"]
)
def test_names_that_nobody_reads(name):
    assert found(GOOD, **{name: ["1"]})["property_misspelt"].element == name


@pytest.mark.parametrize("name", ["EventBufferHwm", "DSEventBufferHwm", "WAttrNaNAllowed", "Multi"])
def test_properties_that_are_something_else(name):
    assert found(GOOD, **{name: ["1"]}) == {}


def test_a_property_that_is_there_twice():
    assert found(GOOD, multicastEVENT=["1"])["property_twice"].element == "multicastEVENT"


def test_errors_come_first_and_notes_last():
    events = [ADDRESS, PORT, "dev/test/11/state.change", ADDRESS, "x", "a/b/c/d.change"]
    severities = [
        finding.severity for finding in lint(Configuration.of({"MulticastEvent": events}))
    ]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert len(set(severities)) == 3


def test_every_kind_says_what_to_do_and_is_tested_here():
    text = Path(__file__).read_text()
    for code, kind in KINDS.items():
        assert kind.meaning
        assert kind.remedy
        assert Finding(code, "").severity == kind.severity
        assert re.search(rf'"{code}"', text), f"no test of {code}"
