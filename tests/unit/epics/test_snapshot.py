"""An inventory that was stored and taken up again is the same."""

import io

import numpy as np
import pytest

from socs.epics.accounts import snapshot
from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.accounts.sources import SourceClasses
from socs.epics.decode import ca
from socs.epics.track.pvs import Answer, Pvs
from socs.errors import Malformed
from tests.epics_packets import address, batch, request
from tests.epics_requests import searched_ca
from tests.epics_servers import SETTINGS, T0
from tests.one_gateway import OneGateway

A, B = address("10.0.0.1"), address("10.0.0.2")


def made(classes=None, **limits):
    return Inventory(InventoryLimits(**({"names": 50} | limits)), classes=classes, secret=3)


@pytest.fixture
def inventory():
    found = made(SourceClasses({"archiver": ["10.1.0.0/16"]}))
    pvs = Pvs(found, SETTINGS, OneGateway(T0))
    for step in range(3):
        sent = [
            (
                f"10.{n % 2}.0.{n}",
                4000 + step,
                request(b"PV:%d" % n) + request(b"LONGER:NAME:%d" % n),
            )
            for n in range(1, 8)
        ]
        arrived = batch([*sent, request(b"A$")], T0 + step)
        searched_ca(found, arrived, ca.decode(arrived))
    found.forget(np.array([2, 5]))
    for number in (0, 1, 3):
        pvs.searched(number, [Answer(1, A, 5064, A)], T0, T0 + 5)
    pvs.searched(1, [Answer(1, B, 5064, B), Answer(1, A, 5064, A)], T0, T0 + 6)
    return found


def stored(inventory):
    """Through a file, as a store would."""
    file = io.BytesIO()
    np.savez_compressed(file, **snapshot.columns(inventory))
    file.seek(0)
    with np.load(file, allow_pickle=False) as columns:
        return dict(columns)


def by_name(inventory):
    found = {}
    for number in np.flatnonzero(inventory.names.known).tolist():
        found[inventory.names.name(number)] = (
            inventory.names.valid[number],
            inventory.requesters.of(number),
            inventory.servers.of(number),
            inventory.asked[number].tolist(),
            inventory.state[number],
            inventory.first_asked[number],
            inventory.last_seen[number],
            inventory.host_of[number].tolist(),
        )
    return found


def test_the_same_again(inventory):
    again = made(SourceClasses({"archiver": ["10.1.0.0/16"]}))
    assert snapshot.restore(again, stored(inventory)) == len(inventory) == 13
    assert by_name(again) == by_name(inventory)
    assert again.names.count == again.end == 13


def test_other_classes_and_limits(inventory):
    again = made(
        SourceClasses({"gateway": ["10.2.0.0/16"], "archiver": ["10.1.0.0/16"]}), servers=1
    )
    snapshot.restore(again, stored(inventory))
    number, before = again.names.number(b"PV:1"), inventory.names.number(b"PV:1")
    client, archiver = inventory.asked[before].tolist()
    assert again.asked[number].tolist() == [client, 0, archiver]
    assert len(again.servers.of(number)) <= 1
    gone = made()
    snapshot.restore(gone, stored(inventory))
    assert gone.asked[gone.names.number(b"PV:1")].tolist() == [client]


def test_no_more_than_there_is_room_for(inventory):
    again = made(names=4)
    assert snapshot.restore(again, stored(inventory)) == 4
    assert len(again) == 4
    assert set(by_name(again)) < set(by_name(inventory))


@pytest.mark.parametrize("damage", ["names", "state", "asked"])
def test_what_does_not_fit_together(inventory, damage):
    columns = stored(inventory)
    with pytest.raises(Malformed):
        snapshot.restore(made(), columns | {damage: columns[damage][1:]})
    with pytest.raises(Malformed):
        snapshot.restore(made(), {k: v for k, v in columns.items() if k != damage})
