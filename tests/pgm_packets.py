"""The PGM packets that arrive on this host, as JSON lines; ``python -m tests.pgm_packets``.

It only looks: joining the groups is left to those who subscribe. PGM is RFC 3208; here it comes in
UDP, as libzmq's ``epgm`` has it.
"""

from __future__ import annotations

import json
import re
import socket
import struct
from dataclasses import asdict, dataclass

ETH_P_IP = 0x0800
UDP = 17
TYPES = {0: "SPM", 4: "ODATA", 5: "RDATA", 8: "NAK", 10: "NCF"}
LISTENING = "listening"
_STREAM = re.compile(rb"tango://[!-~]+")


@dataclass(frozen=True)
class Packet:
    """One packet to a multicast group.

    Attributes:
        kind: ODATA is data, SPM tells that a source is there.
        streams: names of the events in it.
    """

    source: str
    group: str
    port: int
    ttl: int
    kind: str
    streams: tuple[str, ...]


def read(ip: bytes) -> Packet | None:
    """The packet in an IPv4 datagram; None if it is no PGM to a multicast group."""
    if len(ip) < 20 or ip[9] != UDP or not 224 <= ip[16] < 240:
        return None
    udp = ip[4 * (ip[0] & 15) :]
    if len(udp) < 8 + 16:
        return None
    (port,) = struct.unpack_from("!H", udp, 2)
    pgm = udp[8:]
    kind = TYPES.get(pgm[4] & 15, str(pgm[4] & 15))
    streams = tuple(name.decode() for name in _STREAM.findall(pgm))
    return Packet(
        socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20]), port, ip[8], kind, streams
    )


def main() -> None:
    """Print packets until killed."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as arriving:
        print(LISTENING, flush=True)
        while True:
            data, (_, _, direction, *_) = arriving.recvfrom(65536)
            packet = read(data)
            if packet is not None and direction != socket.PACKET_OUTGOING:
                print(json.dumps(asdict(packet)), flush=True)


def parse(output: str) -> list[Packet]:
    """The packets of what was printed so far."""
    whole = output.splitlines(keepends=True)
    found = [json.loads(line) for line in whole if line.startswith("{") and line.endswith("\n")]
    return [Packet(**{**one, "streams": tuple(one["streams"])}) for one in found]


if __name__ == "__main__":
    main()
