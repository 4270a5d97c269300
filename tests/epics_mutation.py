"""Datagrams spoilt at random, of which most still look like good ones."""

from __future__ import annotations

import json
import random
from pathlib import Path

CAPTURE = Path(__file__).parent / "captures" / "epics_loopback.jsonl"
LIKELY = (0, 1, 5, 6, 7, 8, 10, 13, 16, 127, 128, 253, 254, 255)


def recorded(*ports: int) -> list[bytes]:
    """What real servers and clients sent from or to one of these ports."""
    lines = [json.loads(line) for line in CAPTURE.read_text().splitlines()]
    return [
        bytes.fromhex(line["hex"]) for line in lines if {line["sport"], line["dport"]} & set(ports)
    ]


def mutated(rnd: random.Random, good: list[bytes]) -> bytes:
    """One of ``good``, or several in one, with bytes changed, moved, doubled, left out, cut off."""
    datagram = bytearray(b"".join(rnd.choices(good, k=rnd.choice([1, 1, 1, 2, 4]))))
    for _ in range(rnd.choice([0, 1, 1, 2, 3, 8])):
        if not datagram:
            break
        at = rnd.randrange(len(datagram))
        change = rnd.randrange(6)
        if change == 0:
            datagram[at] = rnd.choice(LIKELY)
        elif change == 1:
            datagram[at] ^= 1 << rnd.randrange(8)
        elif change == 2:
            datagram[at:at] = rnd.randbytes(rnd.choice([1, 8, 16]))
        elif change == 3:
            del datagram[at : at + rnd.choice([1, 8, 16])]
        elif change == 4:
            datagram[at : at + 2] = rnd.choice(LIKELY).to_bytes(2, rnd.choice(["big", "little"]))
        else:
            piece = datagram[at : at + rnd.choice([8, 24, 48])]
            to = rnd.randrange(len(datagram))
            datagram[to:to] = piece
    return bytes(datagram[: rnd.randint(0, len(datagram))] if rnd.random() < 0.2 else datagram)
