"""Heartbeats: JSON of three versions with their answers, and those of the alive record."""

import hashlib
import json
import random
import struct
from dataclasses import replace

import pytest

from socs.epics.decode import alive, heartbeat
from socs.epics.decode.alive import Alive
from socs.epics.decode.heartbeat import LIST_PVS, NETSTAT, Heartbeat, Line, Names
from socs.errors import PeerError
from tests.epics_packets import address

SENT = {
    "seq": "7",
    "sp": "5064",
    "up": "210",
    "cur": "1700000000",
    "pid": "123",
    "cwd": "/iocApps/x",
    "ver": "2.0",
    "img": "./bin/app",
    "stcmd": "st.cmd",
}
BEAT = Heartbeat(7, 5064, 210, 1700000000, 123, "2.0", "./bin/app", "st.cmd", "/iocApps/x")
IOC = Alive("ioc1", 305419896, 1_700_000_000, 1_700_000_060, 4, 15, 1, 40001, 0xFFFFFFFF)


def encoded(**changes):
    message = {key: value for key, value in (SENT | changes).items() if value is not None}
    return json.dumps(message).encode()


def cause(decode, datagram):
    with pytest.raises(PeerError) as error:
        decode(datagram)
    return error.value.cause


@pytest.mark.parametrize("version", ["1.1", "2.0", "3.0"])
def test_heartbeats_of_all_versions(version):
    assert heartbeat.decode(encoded(ver=version)) == replace(BEAT, version=version)


def test_numbers_need_not_be_texts():
    assert heartbeat.decode(encoded(seq=7, up=210.9, cur="1700000000.25", more={"a": 1})) == BEAT


def test_identity_is_the_one_of_the_peer():
    text = f"./bin/app st.cmd-/iocApps/x-{address('10.0.0.2')}"
    low = int(hashlib.md5(text.encode()).hexdigest(), 16) & (1 << 64) - 1
    assert BEAT.identity(address("10.0.0.2")) == low
    quoted = replace(BEAT, image='  "./bin/app"', command="'st.cmd'")
    assert quoted.identity(address("10.0.0.2")) == low
    assert BEAT.identity(address("10.0.0.3")) != low


def test_answers():
    names = b'{"handle":"3","offset":"10","pvs":["A","B"],"total":"12"}'
    assert heartbeat.decode(names) == Names(3, 10, ("A", "B"), 12)
    assert heartbeat.decode(b'{"handle":3,"total":50,"pvs":[]}') == Names(3, 0, (), 50)
    line = b'{"h":"3","o":"4","b":"9","l":"pid: 1 cwd: /x"}'
    assert heartbeat.decode(line) == Line(3, 4, "9", "pid: 1 cwd: /x")
    assert heartbeat.decode(b'{"h":3,"l":"__NONE__"}') == Line(3, 0, "", "")


def test_requests():
    assert heartbeat.request(LIST_PVS, 7, 20, 3) == struct.pack("!4I", 0x4DA3B921, 7, 20, 3)
    assert heartbeat.request(NETSTAT, 2**32 + 7, 0, 1) == struct.pack("!4I", 0x7F201C3B, 7, 0, 1)


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (b"", "heartbeat_not_json"),
        (b"x", "heartbeat_not_json"),
        (b"\xff{}", "heartbeat_not_json"),
        (b"[" * 5000, "heartbeat_not_json"),
        (b"[]", "heartbeat_malformed"),
        (b"{}", "heartbeat_malformed"),
        (encoded(seq=None), "heartbeat_malformed"),
        (encoded(seq="-1"), "heartbeat_malformed"),
        (encoded(seq="9" * 30), "heartbeat_malformed"),
        (encoded(seq=True), "heartbeat_malformed"),
        (encoded(seq=1e300), "heartbeat_malformed"),
        (encoded(sp="65536"), "heartbeat_malformed"),
        (encoded(cwd=5), "heartbeat_malformed"),
        (encoded(cwd="x" * 1025), "heartbeat_too_large"),
        (encoded(more="x" * 9000), "heartbeat_too_large"),
        (b'{"handle":"3","pvs":"A","total":"1"}', "heartbeat_malformed"),
        (b'{"handle":"3","pvs":[1],"total":"1"}', "heartbeat_malformed"),
        (
            json.dumps({"handle": 1, "total": 1, "pvs": ["A"] * 1001}).encode(),
            "heartbeat_too_large",
        ),
    ],
)
def test_what_is_no_heartbeat(datagram, expected):
    assert cause(heartbeat.decode, datagram) == expected


def test_alive():
    wire = (
        bytes.fromhex("12345678 0005")
        + struct.pack("!IIIHHHI", 1_068_848_000, 1_068_848_060, 4, 15, 1, 40001, 0xFFFFFFFF)
        + b"ioc1\0"
    )
    assert alive.decode(wire) == IOC
    assert alive.decode(wire + b"more", magic=305419896) == IOC
    assert alive.encode(IOC) == wire


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (b"", "alive_cut"),
        (alive.encode(IOC)[:29], "alive_cut"),
        (alive.encode(IOC)[:-1], "alive_cut"),
        (alive.encode(replace(IOC, name="")) + b"x", "alive_cut"),
        (alive.encode(replace(IOC, name="n" * 256)), "alive_too_large"),
        (bytes(1501), "alive_too_large"),
        (alive.encode(IOC)[:5] + b"\4" + alive.encode(IOC)[6:], "alive_other_version"),
        (alive.encode(replace(IOC, magic=1)), "alive_other_magic"),
    ],
)
def test_what_is_not_alive(datagram, expected):
    assert cause(lambda bytes_: alive.decode(bytes_, magic=IOC.magic), datagram) == expected


def cause_or_none(decode, datagram):
    try:
        decode(datagram)
    except PeerError as error:
        return error.cause
    return None


@pytest.mark.parametrize(
    ("module", "causes"),
    [
        (heartbeat, ["heartbeat_not_json", "heartbeat_malformed", "heartbeat_too_large"]),
        (alive, ["alive_cut", "alive_other_version", "alive_too_large"]),
    ],
)
def test_any_damage_is_decoded_or_has_a_cause(module, causes):
    rnd = random.Random(1)
    good = [encoded(), b'{"h":"3","o":"4","b":"9","l":"x"}', alive.encode(IOC)]
    for _ in range(5000):
        datagram = bytearray(rnd.choice(good))
        for _ in range(rnd.randint(0, 4)):
            datagram[rnd.randrange(len(datagram))] = rnd.choice(
                b'"{}[]:,0-\\e.' + bytes([rnd.randrange(256)])
            )
        damaged = bytes(datagram[: rnd.randint(0, len(datagram) + 20)])
        assert cause_or_none(module.decode, damaged) in {None, *causes}
