"""Any list of texts is understood or its wrong element named; nothing is lost on the way."""

from hypothesis import given
from hypothesis import strategies as st

from socs.errors import ConfigError
from socs.tango.multicast import (
    BadElement,
    Configuration,
    Group,
    add_event,
    explain,
    format_groups,
    lint,
    parse,
    remove_event,
    transport_of,
)
from socs.tango.multicast.cpptango import refused_at, routes
from socs.tango.multicast.elements import split

WORDS = st.text("abcXYZ_-0123456789é", min_size=1, max_size=5)
TYPES = st.sampled_from(
    ["change", "periodic", "archive", "alarm", "attr_conf", "data_ready", "user_event", "CHANGE"]
)
EVENTS = st.builds("{}/{}/{}/{}.{}".format, WORDS, WORDS, WORDS, WORDS, TYPES)
OCTETS = st.integers(0, 255)
ADDRESSES = st.builds("{}.{}.{}.{}".format, st.integers(224, 239), OCTETS, OCTETS, OCTETS)
NUMBERS = st.integers(1, 2_000_000)
OPTIONS = st.one_of(
    st.just((None, None)), st.tuples(NUMBERS, st.none()), st.tuples(NUMBERS, NUMBERS)
)
GROUPS = st.builds(
    lambda address, port, events, options: Group(address, port, tuple(events), *options),
    ADDRESSES,
    st.integers(1, 65_535),
    st.lists(EVENTS, min_size=1, max_size=3),
    OPTIONS,
)
# Texts that look like what belongs there, and anything else.
TEXTS = st.one_of(
    st.text(max_size=12),
    EVENTS,
    ADDRESSES,
    st.integers(-10, 10**12).map(str),
    st.sampled_from(["", ".", "...", "///.", "a/b/c/d.pipe", "a/b/c/d.changes", "1.2.3.4", "40.5"]),
    st.text("./1a: ", max_size=8),
)
LISTS = st.lists(TEXTS, max_size=14)


@given(st.lists(GROUPS, max_size=6))
def test_groups_come_back_from_their_texts(groups):
    values = format_groups(groups)
    assert parse(values) == groups
    assert refused_at(values) is None


@given(st.lists(GROUPS, max_size=6))
def test_cpptango_reads_the_same_from_groups_without_errors(groups):
    read = [(r.address, r.port, r.rate, r.ivl, r.overrun) for r in routes(format_groups(groups))]
    assert read == [
        (g.address, str(g.port), g.rate or 0, g.ivl or 0, False) for g in groups for _ in g.events
    ]


@given(LISTS)
def test_any_list_is_understood_or_its_element_is_named(values):
    groups, wrong = None, None
    try:
        groups = parse(values)
    except BadElement as error:
        wrong = error
    if wrong is not None:
        assert values[wrong.index] == wrong.element
    else:
        written = format_groups(groups)
        assert parse(written) == groups
        # Only numbers can be written in two ways, as in 007.
        assert [x.lstrip("0") for x in written] == [x.lstrip("0") for x in values]


@given(LISTS)
def test_every_element_is_in_one_section(values):
    assert [e.text for section in split(values) for e in section.elements] == values


@given(LISTS)
def test_findings_are_about_elements_that_are_there(values):
    configuration = Configuration.of({"MulticastEvent": values})
    findings = lint(configuration)
    for finding in findings:
        assert finding.index is None or values[finding.index] == finding.element
    wrong = any(finding.severity == "error" for finding in findings)
    try:
        parse(values)
    except BadElement:
        assert wrong
    if refused_at(values) is not None:
        assert wrong
    assert explain(configuration)


@given(LISTS, WORDS)
def test_an_event_that_is_added_is_found_and_one_that_is_removed_is_gone(values, word):
    event = f"{word}/b/c/d.alarm"
    try:
        added = add_event(values, event, "226.1.2.3", 1000)
    except ConfigError:
        there = event.lower() in (value.lower() for value in values)
        assert there or values[-1].count(".") == 3
        return
    assert added[: len(values)] == values
    assert remove_event(added, event) == values


@given(LISTS, EVENTS)
def test_a_stream_has_a_way_whatever_the_property_says(values, stream):
    way = transport_of(stream, Configuration.of({"MulticastEvent": values}))
    if way.multicast:
        assert values[way.index].lower().startswith(stream.lower().rpartition(".")[0])
