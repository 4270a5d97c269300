"""Any bytes are decoded or counted: spoilt recordings for some CPU time, each decoder."""

import random
import time

import pytest

from socs.epics.decode import alive, heartbeat
from socs.errors import PeerError
from tests.epics_mutation import mutated, recorded
from tests.property.test_epics_ca import check as check_ca
from tests.property.test_epics_pva import check as check_pva

DAILY, LONG = 60.0, 600.0  # s of CPU time
BATCH = 64  # datagrams
BEATS = [
    b'{"seq":"7","sp":"5064","up":"210","cur":"1700000000","pid":"123","cwd":"/x","ver":"2.0",'
    b'"img":"./bin/app","stcmd":"st.cmd"}',
    b'{"handle":"3","offset":"10","pvs":["A","B"],"total":"12"}',
    b'{"h":"3","o":"4","b":"9","l":"pid: 1 cwd: /x"}',
]
ALIVE = [
    alive.encode(alive.Alive(name, 305419896, 1_700_000_000, 1_700_000_060, 4, 15, 1, 40001, 7))
    for name in ("ioc1", "another-ioc")
]
ENDINGS = (
    "decoded",
    "_not_json",
    "_malformed",
    "_too_large",
    "_cut",
    "_other_version",
    "_other_magic",
)


def check_each(decode):
    """Each datagram on its own has a value, or an error of ours with the name of a counter."""

    def outcome(datagram):
        try:
            return "decoded" if decode(datagram) is not None else "nothing"
        except PeerError as error:
            return error.cause

    def check(datagrams):
        for datagram in datagrams:
            assert outcome(datagram).endswith(ENDINGS), datagram

    return check


DECODERS = {
    "ca": (check_ca, recorded(5064, 5065)),
    "pva": (check_pva, recorded(5076)),
    "heartbeat": (check_each(heartbeat.decode), BEATS),
    "alive": (check_each(alive.decode), ALIVE),
}


def fuzz(name: str, seconds: float, seed: int) -> None:
    check, good = DECODERS[name]
    rnd = random.Random(seed)
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        datagrams = [
            rnd.randbytes(rnd.randrange(80)) if rnd.random() < 0.05 else mutated(rnd, good)
            for _ in range(rnd.choice([1, 3, BATCH]))
        ]
        check(datagrams)


@pytest.mark.fuzz
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", DECODERS)
def test_for_a_while(name):
    fuzz(name, DAILY, 1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", DECODERS)
def test_for_longer(name):
    fuzz(name, LONG, 2)
