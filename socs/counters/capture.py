"""Counters of what is taken apart before there is a datagram: captured packets and pcap files."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

CAPTURE = (
    Counter("capture_packets", "packets", "that passed the filter of a capturing socket"),
    Counter(
        "capture_fragments",
        "packets",
        "first parts of datagrams that IPv4 cut in pieces; left out, as the rest is not seen",
        "find the sender; searches fit one packet, except where the MTU is below 1500",
    ),
    Counter(
        "capture_cut",
        "packets",
        "whose lengths disagree, or that were not seen whole; left out",
        "find the sender; its packets are damaged or forged",
    ),
    Counter("capture_own", "packets", "of this program's own searches; left out"),
    Counter("capture_ip_options", "packets", "with IPv4 options, which were passed over"),
    Counter(
        "capture_vlan",
        "packets",
        "that had the tag of a VLAN",
        "if datagrams are counted twice, capture on one of both interfaces only",
    ),
)

CAPTURE_CONSERVATION = (
    Conservation(
        ("capture_packets",),
        ("datagrams_received", "capture_fragments", "capture_cut", "capture_own"),
    ),
)

PCAP = (
    Counter("pcap_packets", "packets", "read from a file"),
    Counter("pcap_datagrams", "datagrams", "handed on: UDP over IPv4 of the ports asked for"),
    Counter("pcap_other", "packets", "of other protocols or ports; passed over"),
    Counter(
        "pcap_doubled", "packets", "seen on leaving loopback, and again on arriving; once kept"
    ),
    Counter("pcap_fragments", "packets", "pieces of datagrams that IPv4 cut; left out"),
    Counter(
        "pcap_cut",
        "packets",
        "that the file has not whole, or whose lengths disagree; left out",
        "capture without a snap length (tcpdump -s 0)",
    ),
    Counter("pcap_ip_options", "packets", "with IPv4 options, which were passed over"),
    Counter("pcap_vlan", "packets", "with the tags of VLANs, which were passed over"),
)

PCAP_CONSERVATION = (
    Conservation(
        ("pcap_packets",),
        ("pcap_datagrams", "pcap_other", "pcap_doubled", "pcap_fragments", "pcap_cut"),
    ),
)
