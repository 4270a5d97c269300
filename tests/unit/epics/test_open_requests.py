"""Overheard answers find the names that were asked for."""

import random

import numpy as np

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.accounts.sources import keys_of
from socs.epics.decode import ca
from socs.epics.gateway.open_requests import OpenRequests
from tests.epics_packets import CLIENT, SERVER, address, batch, request, response
from tests.epics_requests import searched_ca


def ask(requests, *asked):
    clients, channels, names = zip(*asked, strict=True)
    requests.asked(
        np.array(clients, np.uint64), np.array(channels, np.uint32), np.array(names, np.int32)
    )


def answers(requests, *answered):
    clients, channels = zip(*answered, strict=True)
    found = requests.answered(np.array(clients, np.uint64), np.array(channels, np.uint32))
    return found.tolist()


def test_the_latest_request_with_that_number_of_that_client():
    requests = OpenRequests(10)
    assert answers(requests, (1, 1)) == [-1]
    ask(requests, (1, 1, 100), (2, 1, 200), (1, 2, 101), (3, 3, -1))
    assert answers(requests, (1, 1), (2, 1), (1, 2), (3, 3), (2, 2)) == [100, 200, 101, -1, -1]
    ask(requests, (1, 1, 300))
    assert answers(requests, (1, 1), (1, 1)) == [300, 300]
    assert requests.answered(np.zeros(0, np.uint64), np.zeros(0, np.uint32)).tolist() == []


def test_old_requests_make_room():
    requests = OpenRequests(4)
    ask(requests, *((1, n, n) for n in range(10)))
    assert answers(requests, *((1, n) for n in range(10))) == [-1] * 6 + [6, 7, 8, 9]
    ask(requests, (2, 0, 50))
    assert answers(requests, (1, 6), (1, 7), (2, 0)) == [-1, 7, 50]


def test_against_a_plain_list():
    rnd = random.Random(1)
    requests, plain = OpenRequests(50), []
    for _ in range(300):
        asked = [
            (rnd.randint(1, 4), rnd.randint(0, 9), rnd.randint(-1, 99))
            for _ in range(rnd.randint(1, 70))
        ]
        ask(requests, *asked)
        plain = (plain + [each for each in asked if each[2] >= 0])[-50:]
        answered = [(rnd.randint(1, 5), rnd.randint(0, 9)) for _ in range(5)]
        known = {(client, channel): name for client, channel, name in plain}
        assert answers(requests, *answered) == [known.get(each, -1) for each in answered]


def test_from_the_wire():
    inventory, requests = Inventory(InventoryLimits(names=10), secret=1), OpenRequests()
    sent = batch([(CLIENT, 4000, request(b"A", 7) + request(b"B", 8))])
    found = ca.decode(sent)
    numbers = searched_ca(inventory, sent, found)
    clients = keys_of(sent.hosts, sent.ports)
    requests.asked(clients[found.requests["datagram"]], found.requests["cid"], numbers)
    reply = ca.decode(batch([(SERVER, 5064, response(8))])).responses
    to = keys_of(np.array([address(CLIENT)], np.uint32), np.array([4000], np.uint16))
    (number,) = requests.answered(to, reply["cid"]).tolist()
    assert inventory.names.name(number) == b"B"
