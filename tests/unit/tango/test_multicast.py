"""The document's examples, and how groups are told apart, changed and written."""

import pytest

from socs.errors import ConfigError
from socs.tango.multicast import (
    BadElement,
    Configuration,
    Group,
    add_event,
    buffer_bytes,
    explain,
    format_groups,
    parse,
    remove_event,
)

# The document: "the change event on the state attribute of the dev/test/11 device has to be
# transferred using multicasting with the address 226.20.21.22 and the port number 2222".
FIRST = ["226.20.21.22", "2222", "dev/test/11/state.change"]
# "In this example, there are 5 events which are transmitted using multicasting"
SECOND = [
    *("226.20.21.22", "2222", "dev/test/11/state.change"),
    *("226.20.21.22", "3333", "dev/test/10/state.periodic"),
    *("226.30.31.32", "4444", "40", "20", "et/ev/01/ImaAttr.change"),
    *("226.20.21.22", "2233", "dev/test/12/event_change_tst.change"),
    *("226.20.21.22", "2234", "dev/tomasz/3/event_change_tst.archive"),
]
MEANT = [
    Group("226.20.21.22", 2222, ("dev/test/11/state.change",)),
    Group("226.20.21.22", 3333, ("dev/test/10/state.periodic",)),
    Group("226.30.31.32", 4444, ("et/ev/01/ImaAttr.change",), rate=40, ivl=20),
    Group("226.20.21.22", 2233, ("dev/test/12/event_change_tst.change",)),
    Group("226.20.21.22", 2234, ("dev/tomasz/3/event_change_tst.archive",)),
]


def configuration(events=(), **numbers):
    properties = {f"Multicast{name.title()}": [str(value)] for name, value in numbers.items()}
    return Configuration.of({"MulticastEvent": events, **properties})


@pytest.mark.parametrize(("values", "meant"), [(FIRST, MEANT[:1]), (SECOND, MEANT), ([], [])])
def test_examples_of_the_document_mean_what_it_says_and_are_written_as_they_stand(values, meant):
    assert parse(values) == meant
    assert format_groups(meant) == values


@pytest.mark.parametrize(
    ("options", "rate", "ivl"),
    [([], None, None), (["40"], 40, None), (["40", "20"], 40, 20)],
)
def test_rate_and_interval_are_optional_and_told_apart_by_their_places(options, rate, ivl):
    (group,) = parse(["226.1.2.3", "2222", *options, "a/b/c/d.change"])
    assert (group.rate, group.ivl) == (rate, ivl)
    assert format_groups([group]) == ["226.1.2.3", "2222", *options, "a/b/c/d.change"]


def test_an_address_may_have_several_events():
    values = ["226.1.2.3", "2222", "40", "a/b/c/d.change", "a/b/c/e.archive", *FIRST]
    first, second = parse(values)
    assert first == Group("226.1.2.3", 2222, ("a/b/c/d.change", "a/b/c/e.archive"), rate=40)
    assert second == MEANT[0]
    assert format_groups([first, second]) == values


def test_an_interval_without_a_rate_cannot_be_written():
    with pytest.raises(BadElement, match="20 without a rate") as caught:
        format_groups([MEANT[0], Group("226.1.2.3", 1, ("a/b/c/d.change",), ivl=20)])
    assert (caught.value.index, caught.value.element) == (5, "20")


@pytest.mark.parametrize(
    ("values", "index"),
    [
        (["2222"], 0),
        (["dev/test/11/state.change", *FIRST], 0),
        ([*FIRST, "226.1.2.3"], 3),
        ([*FIRST, "226.1.2.3", "dev/test/12/state.change"], 4),
        ([*FIRST, "226.1.2.3", "1"], 3),
        (["126.20.21.22", *FIRST[1:]], 0),
        (["226.20.21.222.", *FIRST[1:]], 0),
        (["226.20.21.256", *FIRST[1:]], 0),
        (["226.20.21. 22", *FIRST[1:]], 0),
        (["226.20.21.22", "0", FIRST[2]], 1),
        (["226.20.21.22", "65536", FIRST[2]], 1),
        (["226.20.21.22", "٣", FIRST[2]], 1),
        ([*FIRST[:2], "40.5", FIRST[2]], 2),
        ([*FIRST[:2], "0", FIRST[2]], 2),
        ([*FIRST[:2], "40", "-1", FIRST[2]], 3),
        ([*FIRST[:2], "40", "20", "10", FIRST[2]], 4),
        ([*FIRST[:2], "dev/test/11/state"], 2),
        ([*FIRST[:2], "tango://host:10000/dev/test/11/state.change"], 2),
        ([*FIRST, "1", "dev/test/12/state.change"], 3),
        ([*FIRST[:2], "dev/test/11/ state.change"], 2),
        ([*FIRST[:2], "dev//11/state.change"], 2),
        ([*FIRST[:2], "dev/test/11/state.change_event"], 2),
        ([*FIRST[:2], "dev/test/11/state.pipe"], 2),
    ],
)
def test_the_element_at_fault_is_named(values, index):
    with pytest.raises(BadElement) as caught:
        parse(values)
    assert (caught.value.index, caught.value.element) == (index, values[index])
    assert str(caught.value).startswith(f"element {index + 1} of MulticastEvent: ")


def test_defaults_are_those_of_the_document():
    text = " ".join(explain(configuration(FIRST)))
    assert "at most 80 Mbit/s (the default)" in text
    assert "for 20 s (the default)" in text
    assert "pass 5 routers" in text


def test_a_buffer_is_as_large_as_the_document_says():
    # "a 60 seconds (1 minute) recovery interval at a data rate of 1 Gbit/sec requires a 7 GBytes
    # in-memory buffer"
    assert int(buffer_bytes(1000, 60) / 2**30) == 7
    assert buffer_bytes(80, 20) == 204_800_000


def test_explanation_of_the_documents_example():
    sentences = explain(configuration(SECOND, rate=10, hops=1))
    assert len(sentences) == 6
    assert sentences[2].startswith(
        "Event change of attribute ImaAttr on device et/ev/01 goes by multicast to 226.30.31.32, "
        "port 4444, with at most 40 Mbit/s. A subscriber may be absent for 20 s,"
    )
    assert "port 2233, with at most 10 Mbit/s (the default)" in sentences[3]
    assert "pass 1 router." in sentences[-1]


def test_explanation_without_multicast():
    assert explain(configuration()) == ["All events go by unicast: there is no multicast event."]
    (refused,) = explain(configuration([*FIRST, "126.1.1.1", "1", "a/b/c/d.change"]))
    assert refused == (
        "All events go by unicast: the property is wrong at element 4 ('126.1.1.1')."
    )


# -- changes --------------------------------------------------------------------------------------


def test_an_added_event_comes_last_and_the_others_stay_as_they_stand():
    odd = ["226.1.2.3", " 1", "junk", *SECOND]  # errors of others are theirs
    added = add_event(odd, "a/b/c/d.alarm", "227.1.2.3", 55, rate=3)
    assert added == [*odd, "227.1.2.3", "55", "3", "a/b/c/d.alarm"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event": "DEV/test/11/State.change"}, "is in the property already"),
        ({"address": "10.1.2.3"}, "10.1.2.3 is not a multicast address"),
        ({"port": 0}, "'0' is not a port"),
        ({"ivl": 5}, "without a rate"),
        ({"event": "a/b/c/d"}, "neither a number nor the name of an event"),
        ({"event": "a/b/c/d.pipe"}, "never goes by multicast"),
    ],
)
def test_what_cannot_be_added_is_refused(change, message):
    given = {"event": "a/b/c/d.alarm", "address": "227.1.2.3", "port": 55, **change}
    with pytest.raises(ConfigError, match=message):
        add_event(SECOND, **given)


@pytest.mark.parametrize("group", range(5))
def test_a_removed_event_takes_its_group_along_and_nothing_else(group):
    name = MEANT[group].events[0]
    left = remove_event(SECOND, name.upper())
    assert parse(left) == [*MEANT[:group], *MEANT[group + 1 :]]


def test_a_group_with_other_events_stays():
    values = ["226.1.2.3", "1", "a/b/c/d.change", "a/b/c/e.alarm", *FIRST]
    assert remove_event(values, "a/b/c/d.change") == [*values[:2], *values[3:]]


def test_an_event_that_is_there_twice_is_removed_twice():
    assert remove_event([*FIRST, *SECOND], FIRST[2]) == SECOND[3:]


def test_what_is_before_the_first_address_can_be_removed():
    assert remove_event(["a/b/c/d.alarm", "junk", *FIRST], "a/b/c/d.alarm") == ["junk", *FIRST]


def test_what_is_not_there_cannot_be_removed():
    with pytest.raises(ConfigError, match=r"dev/test/11/state.archive is not in the property"):
        remove_event(SECOND, "dev/test/11/state.archive")


def test_nothing_is_added_behind_an_address_that_would_take_it_for_its_port():
    with pytest.raises(ConfigError, match=r"'226.1.2.3' at the end has no port"):
        add_event([*FIRST, "226.1.2.3"], "a/b/c/d.alarm", "227.1.2.3", 55)


# -- properties by name ---------------------------------------------------------------------------


def test_properties_are_found_whatever_the_case_and_others_are_remembered():
    found = Configuration.of(
        {
            "multicastevent": FIRST,
            "MULTICASTRATE": ["7"],
            "MulicastEvent": ["x"],
            "EventBufferHwm": ["1"],
        }
    )
    assert found.events == tuple(FIRST)
    assert found.properties() == {"MulticastEvent": FIRST, "MulticastRate": ["7"]}
    assert set(found.others) == {"MulicastEvent", "EventBufferHwm"}


def test_of_two_properties_the_one_with_the_right_name_counts():
    found = Configuration.of({"MulticastEvent": FIRST, "multicastevent": ["x"]})
    assert found.events == tuple(FIRST)
    assert found.others == ("multicastevent",)
