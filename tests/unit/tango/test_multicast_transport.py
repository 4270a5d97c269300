"""Which way an event travels, and whether that is what the properties say."""

import pytest

from socs.errors import Malformed
from socs.tango.multicast import Configuration, disagreement, transport_of
from socs.tango.multicast.cpptango import refused_at, routes

EVENTS = [
    *("226.20.21.22", "2222", "dev/test/11/state.change"),
    *("226.30.31.32", "4444", "40", "15", "et/ev/01/ImaAttr.change", "et/ev/01/ImaAttr.alarm"),
]
BOTH = Configuration.of({"MulticastEvent": EVENTS, "MulticastIvl": ["7"]})


@pytest.mark.parametrize(
    ("stream", "endpoint"),
    [
        ("tango://host:10000/dev/test/11/state.change", "epgm://226.20.21.22:2222"),
        ("tango://host:10000/dev/test/11/state.idl5_change", "epgm://226.20.21.22:2222"),
        ("dev/test/11/State.CHANGE", "epgm://226.20.21.22:2222"),
        ("et/ev/01/imaattr.alarm", "epgm://226.30.31.32:4444"),
        ("et/ev/01/ima.alarm", "epgm://226.30.31.32:4444"),
        ("dev/test/11/state.alarm", ""),
        ("dev/test/11/state2.change", ""),
        ("dev/test/1/state.change", ""),
        ("dev/test/11.intr_change", ""),
    ],
)
def test_where_a_stream_travels(stream, endpoint):
    assert transport_of(stream, BOTH).endpoint == endpoint


def test_numbers_are_the_groups_own_or_the_defaults():
    first = transport_of("dev/test/11/state.change", BOTH)
    assert (first.rate, first.ivl, first.hops) == (80, 7, 5)
    second = transport_of("et/ev/01/imaattr.change", BOTH)
    assert (second.rate, second.ivl, second.index, second.exact) == (40, 15, 7, True)
    assert second.buffer == 40 * 128 * 15_000


@pytest.mark.parametrize(
    ("values", "read"), [([], 80), (["11", "12"], 11), (["12x"], 12), (["fast"], 0), (["-1"], -1)]
)
def test_defaults_are_read_as_cpptango_does(values, read):
    configuration = Configuration.of({"MulticastEvent": EVENTS, "MulticastRate": values})
    assert transport_of("dev/test/11/state.change", configuration).rate == read


def test_a_name_that_only_begins_so_is_told_apart():
    assert not transport_of("et/ev/01/ima.alarm", BOTH).exact


def test_a_type_that_begins_with_another_is_taken_for_it():
    configuration = Configuration.of({"MulticastEvent": ["226.1.1.1", "1", "a/b/c/d.changes"]})
    way = transport_of("a/b/c/d.change", configuration)
    assert (way.endpoint, way.exact) == ("epgm://226.1.1.1:1", False)


def test_of_two_elements_the_first_counts():
    events = ["226.1.1.1", "1", "a/b/c/d.change", "226.1.1.1", "2", "a/b/c/d.change"]
    way = transport_of("a/b/c/d.change", Configuration.of({"MulticastEvent": events}))
    assert way.endpoint == "epgm://226.1.1.1:1"


def test_pipes_and_interface_changes_go_by_unicast_whatever_is_written():
    events = ["226.1.1.1", "1", "a/b/c/d.pipe", "a/b/c/d.intr_change"]
    configuration = Configuration.of({"MulticastEvent": events})
    assert str(transport_of("a/b/c/d.pipe", configuration)) == "unicast"
    assert str(transport_of("a/b/c/d.intr_change", configuration)) == "unicast"


def test_clients_on_the_servers_host_get_unicast():
    assert not transport_of("dev/test/11/state.change", BOTH, local_client=True).multicast


def test_one_wrong_group_makes_all_unicast():
    wrong = Configuration.of({"MulticastEvent": [*EVENTS, "126.1.1.1", "1", "a/b/c/d.change"]})
    assert not transport_of("dev/test/11/state.change", wrong).multicast


def test_what_is_no_stream_is_refused():
    with pytest.raises(Malformed):
        transport_of("nonsense", BOTH)


@pytest.mark.parametrize(
    ("stream", "endpoint", "local", "complaint"),
    [
        ("dev/test/11/state.change", "epgm://226.20.21.22:2222", False, None),
        ("dev/test/11/state.change", "epgm://10.99.0.1;226.20.21.22:2222", False, None),
        ("dev/test/11/state.change", "pgm://226.20.21.22:2222", False, None),
        ("dev/test/11/state.change", "tcp://10.99.0.1:40001", True, None),
        ("dev/test/11/state.alarm", "tcp://10.99.0.1:40001", False, None),
        ("dev/test/11/state.change", "tcp://10.99.0.1:40001", False, "by unicast"),
        ("dev/test/11/state.change", "epgm://226.20.21.22:2223", False, "226.20.21.22:2223, and"),
        ("dev/test/11/state.change", "epgm://226.20.21.23:2222", False, "226.20.21.23:2222, and"),
        (
            "dev/test/11/state.alarm",
            "epgm://226.20.21.22:2222",
            False,
            "the properties say unicast",
        ),
        (
            "dev/test/11/state.change",
            "epgm://226.20.21.22:2222",
            True,
            "the properties say unicast",
        ),
        ("dev/test/11/state.change", "", False, "not an endpoint"),
        ("dev/test/11/state.change", "udp://1.2.3.4:5", False, "not an endpoint"),
    ],
)
def test_disagreements(stream, endpoint, local, complaint):
    said = disagreement(stream, BOTH, endpoint, local_client=local)
    assert said is None if complaint is None else complaint in said


# -- what cppTango does with lists that are wrong -------------------------------------------------


def numbers(values):
    return [(route.address, route.port, route.rate, route.ivl) for route in routes(values)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["40x", "20.9"], (40, 20)),
        (["x", "y"], (0, 0)),
        ([" 40", "+5"], (40, 5)),
        (["99999999999999999999999", "-1"], (0, -1)),
        (["", ""], (0, 0)),
        (["40:9"], (40, 9)),
    ],
)
def test_numbers_are_read_as_far_as_they_go(options, expected):
    assert numbers(["226.1.1.1", "1", *options, "a/b/c/d.change"]) == [
        ("226.1.1.1", "1", *expected)
    ]


def test_an_address_in_the_place_of_the_port_begins_the_group():
    assert numbers(["226.1.1.1", "226.1.1.2", "a/b/c/d.change"]) == [
        ("226.1.1.2", "a/b/c/d.change", 0, 0)
    ]


def test_before_the_first_address_the_list_itself_is_taken_for_a_group():
    values = ["a/b/c/d.change", "junk", "226.1.1.1", "1", "a/b/c/e.change"]
    assert numbers(values)[0] == ("a/b/c/d.change", "junk", 226, 1)


@pytest.mark.parametrize(
    ("values", "overrun"),
    [
        (["226.1.1.1", "1", "a/b/c/d.change"], False),
        (["226.1.1.1", "1", "2", "a/b/c/d.change"], False),
        (["226.1.1.1", "226.1.1.1", "a/b/c/d.change"], True),
        (["226.1.1.1", "226.1.1.1", "a/b/c/d.change", "a/b/c/d.alarm"], False),
        (["226.1.1.1", "226.1.1.1", "a/b/c/d.change", "junk"], True),
        (["226.1.1.1", "226.1.1.1", "a/b/c/d.change", "junk", "junk"], False),
        (["a/b/c/d.change"], True),
    ],
)
def test_reading_beyond_the_end_is_noticed(values, overrun):
    assert routes(values)[0].overrun == overrun


@pytest.mark.parametrize(
    ("values", "index"),
    [
        ([], None),
        (["junk"], None),
        (["226x.1.1.1", "1", "a/b/c/d.change"], None),
        (["x.1.1.1", "1", "a/b/c/d.change"], 0),
        (["223.1.1.1", "1", "a/b/c/d.change"], 0),
        (["240.1.1.1", "1", "a/b/c/d.change"], 0),
        (["226.1.1.1", "1"], 0),
        (["226.1.1.1", "1", "2", "3", "a/b/c/d.change"], None),
        (["226.1.1.1", "1", "2", "3", "4", "a/b/c/d.change"], 0),
        (["226.1.1.1", "1", "226.1.1.2", "2", "a/b/c/d.change"], None),
        (["226.1.1.1", "1.1.1.1", "a/b/c/d.change"], None),
        (["226.1.1.1", "1", "a/b/c/d.change", "226.1.1.1", "2"], 3),
    ],
)
def test_where_cpptango_refuses_the_property(values, index):
    assert refused_at(values) == index
