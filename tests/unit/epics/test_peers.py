"""What caproto writes is read as it was meant, and what we found is what caproto reads."""

import random

import pytest

from socs.epics.decode import ca
from tests.epics_mutation import recorded
from tests.epics_packets import CLIENT, SERVER, address, batch

caproto = pytest.importorskip("caproto", reason="needs the extra epics")


def test_messages_of_caproto():
    rnd = random.Random(1)
    names = [f"PV:{'X' * rnd.randint(0, 50)}:{n}" for n in range(200)]
    datagrams = []
    for n, name in enumerate(names):
        messages = [
            caproto.VersionRequest(0, 13),
            caproto.SearchRequest(name, n, 13, n % 2 * 5 + 5),
        ]
        datagrams.append((CLIENT, 4000, b"".join(map(bytes, messages))))
    datagrams += [
        (SERVER, 5064, bytes(caproto.SearchResponse(port, None, cid, 13)))
        for cid, port in enumerate((5064, 40000, 65535))
    ]
    datagrams += [
        (SERVER, 4, bytes(caproto.Beacon(13, 5064, beacon_id, "10.0.0.9")))
        for beacon_id in (0, 1, 2**32 - 1)
    ]
    datagrams.append((CLIENT, 4, bytes(caproto.RepeaterRegisterRequest("10.0.0.1"))))
    found = ca.decode(batch(datagrams))
    assert not found.tally.examples
    assert [found.name(row).decode() for row in found.requests] == names
    assert found.requests["cid"].tolist() == list(range(200))
    assert found.requests["reply"].tolist() == [False, True] * 100
    assert found.responses[["cid", "host", "port"]].tolist() == [
        (0, address(SERVER), 5064),
        (1, address(SERVER), 40000),
        (2, address(SERVER), 65535),
    ]
    assert found.beacons[["id", "host", "port"]].tolist() == [
        (number, address("10.0.0.9"), 5064) for number in (0, 1, 2**32 - 1)
    ]
    assert found.tally.counts["ca_repeater"] == 1


def test_caproto_reads_the_same_names_in_the_recording():
    datagrams = [d for d in recorded(5064) if ca.decode(batch([d])).requests.size]
    server = caproto.Broadcaster(our_role=caproto.SERVER)
    theirs = []
    for contents in datagrams:
        for command in server.recv(contents, ("127.0.0.1", 4000)):
            if isinstance(command, caproto.SearchRequest):
                theirs.append((command.name, command.cid, command.version))
    requests = (found := ca.decode(batch(datagrams))).requests
    ours = [(found.name(r).decode(), int(r["cid"]), int(r["minor"])) for r in requests]
    assert ours == theirs
    assert len(ours) == 12
