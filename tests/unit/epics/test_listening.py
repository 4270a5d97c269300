"""Which way of listening is chosen, by what there is on a host."""

import numpy as np
import pytest

from socs.epics.gateway.listening import Listening, Surroundings, choose, taken_ports
from socs.epics.ports import EpicsPorts
from socs.errors import ConfigError
from socs.wire.captured import CapturedBatch
from tests import epics_packets
from tests.epics_packets import CLIENT

PORTS = {"ca": 5064, "beacons": 5065, "pva": 5076, "heartbeats": 5066, "alive": 5678}
NO_RIGHT = Surroundings("capture: this process has no CAP_NET_RAW")
BESIDE_AN_IOC = Surroundings(NO_RIGHT.no_capture, {5064, 5076})


def test_it_captures_if_that_is_possible_whoever_is_there():
    for here in (Surroundings(), Surroundings("", {5064, 5065})):
        choice = choose(PORTS, here)
        assert choice.way == "capture"
        assert choice.ports == PORTS
        assert "possible here" in choice.reason
        assert (choice.left_out, choice.warnings) == ({}, ())


def test_else_it_opens_sockets_and_says_what_is_missing():
    choice = choose(PORTS, NO_RIGHT)
    assert choice.way == "sockets"
    assert choice.ports == PORTS
    assert "no CAP_NET_RAW" in choice.reason
    assert any("answers of servers are not seen" in text for text in choice.warnings)
    assert any("take this program for their repeater" in text for text in choice.warnings)


def test_it_leaves_ports_alone_whose_owners_it_would_harm():
    choice = choose(PORTS, BESIDE_AN_IOC)
    assert set(choice.ports) == {"beacons", "heartbeats", "alive"}
    assert set(choice.left_out) == {"ca", "pva"}
    assert "port 5064: searches sent to this host alone" in choice.left_out["ca"]
    with pytest.raises(ConfigError, match=r"no port can be heard without harm: a server .* 5064"):
        choose({"ca": 5064}, BESIDE_AN_IOC)


def test_beside_a_repeater_clients_are_not_warned_of():
    choice = choose(PORTS, Surroundings("no", {5065}))
    assert "beacons" in choice.left_out
    assert not any("for their repeater" in text for text in choice.warnings)


def test_what_is_forced_is_done_or_refused():
    choice = choose(PORTS, BESIDE_AN_IOC, "sockets")
    assert choice.ports == PORTS
    assert choice.left_out == {}
    assert sum("would no longer reach it" in text for text in choice.warnings) == 2
    assert choose(PORTS, Surroundings(), "sockets").way == "sockets"
    assert "asked for" in choose(PORTS, Surroundings(), "capture").reason
    with pytest.raises(ConfigError, match="listen: capture: this process has no CAP_NET_RAW"):
        choose(PORTS, NO_RIGHT, "capture")
    with pytest.raises(ConfigError, match="'pcap' is none of auto, capture, sockets"):
        choose(PORTS, NO_RIGHT, "pcap")
    with pytest.raises(ConfigError, match="there are none"):
        choose({}, NO_RIGHT)


def test_the_table_of_sockets_is_read(tmp_path):
    table = tmp_path / "udp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue\n"
        " 1437: 00000000:13C8 00000000:0000 07 00000000:00000000 00:00000000 00000000\n"
        " 1438: 0100007F:13C9 00000000:0000 07 00000000:00000000 00:00000000 00000000\n"
    )
    assert taken_ports(table) == {5064, 5065}
    assert taken_ports(tmp_path / "none") == set()


def test_handlers_are_for_uses_that_there_are():
    with pytest.raises(ConfigError, match="handlers: pvx of ca, beacons"):
        Listening({"pvx": lambda batch: None})


def test_each_gets_its_own_of_a_captured_batch_even_if_another_fails():
    got = {}

    def fail(batch):
        raise ValueError("failed")

    def take(use, shed=0):
        def handler(batch):
            got[use] = batch.datagrams()
            return shed

        return handler

    def batch(rows):
        """Of (from port, to port, contents)."""
        plain = epics_packets.batch([(CLIENT, row[0], row[2]) for row in rows])
        to = [np.array([row[1] for row in rows], np.uint16), np.zeros(len(rows), np.uint32)]
        columns = (plain.data, plain.sizes, plain.hosts, plain.ports, plain.received)
        return CapturedBatch(*columns, None, to[1], to[0])

    listening = Listening({"ca": fail, "beacons": take("beacons"), "pva": take("pva", 1)})
    rows = [
        (40000, 5064, b"search"),
        (5064, 5065, b"beacon"),
        (5076, 40000, b"answer of PV Access"),
        (40001, 5065, b"another"),
    ]
    with pytest.raises(ValueError, match="failed"):
        listening._divide(batch(rows))
    assert got == {"beacons": [b"beacon", b"another"], "pva": [b"answer of PV Access"]}
    got.clear()
    assert listening._divide(batch(rows[1:])) == 1
    assert listening._divide(batch(rows[2:3])) == 1
    assert got == {"beacons": [b"beacon", b"another"], "pva": [b"answer of PV Access"]}


def test_ports_differ_and_are_ports():
    with pytest.raises(ConfigError, match="port of beacons: 0"):
        EpicsPorts(beacons=0)
    with pytest.raises(ConfigError, match="two of them are the same"):
        EpicsPorts(ca=5065)
