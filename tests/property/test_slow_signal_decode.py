"""Any bytes from any sender are decoded, or counted under one cause."""

import struct
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from socs.counters import SLOW_SIGNAL_CONSERVATION
from socs.slow_signal.decode import MAX_READOUTS, MAX_STEP, decode
from tests.slow_signal_packets import FIRST_OCTET, batch, packet

CAUSES = SLOW_SIGNAL_CONSERVATION[1].parts

octets = st.integers(0, 255) | st.integers(FIRST_OCTET, FIRST_OCTET + 31)
good = st.builds(
    packet,
    st.integers(0, 31),
    st.integers(0, 2**40),
    st.integers(1, 12) | st.just(MAX_READOUTS),
    t0=st.integers(0, 2**64 - 1),
    step=st.sampled_from([1, 256, 10**8, 2**50]),
).map(lambda datagram: datagram[1])
likely_sizes = st.sampled_from([0, 1, 143, 144, 145, 1439, 1440, 1441, 64 * 144, 65 * 144, 65507])


@st.composite
def damaged(draw):
    contents = bytearray(draw(good))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(contents) - 1))
        contents[at : at + 8] = draw(st.binary(min_size=8, max_size=8))
    return bytes(contents[: draw(st.integers(0, len(contents)))])


contents = (
    good
    | damaged()
    | st.binary(max_size=400)
    | likely_sizes.map(bytes)
    | likely_sizes.map(lambda size: bytes(range(256)) * (size // 256) + bytes(size % 256))
)


def expected(octet: int, contents: bytes, relaxed: bool) -> tuple[str, int, list[int]]:
    """What the datagram counts as, its module and its TACKs: one after the other, with struct."""
    module = octet % 100
    if relaxed:
        module %= 32
    count = len(contents) // 144
    if not contents:
        return "packet_empty", 0, []
    if len(contents) % 144:
        return "packet_bad_size", 0, []
    if count > MAX_READOUTS:
        return "packet_too_long", 0, []
    if module > 31:
        return "module_out_of_range", 0, []
    tacks = [struct.unpack_from(">Q", contents, 144 * i)[0] for i in range(count)]
    for one, other in pairwise(tacks):
        if not 0 < (other - one) % 2**64 <= MAX_STEP:
            return "tacks_inconsistent", 0, []
    return "packets_decoded", module, tacks


@given(st.lists(st.tuples(octets, contents), max_size=8), st.booleans())
def test_any_datagrams(datagrams, relaxed):
    decoded = decode(batch(datagrams, width=65536), relaxed=relaxed)
    outcomes = [expected(octet, contents, relaxed) for octet, contents in datagrams]
    counted = Counter(cause for cause, _, _ in outcomes)
    assert decoded.totals() == {"packets_decoded": 0} | counted
    assert set(counted) <= set(CAUSES)
    causes = [cause for cause, _, _ in outcomes]
    assert decoded.examples == {cause: causes.index(cause) for cause in decoded.refused}
    fine = [
        (module, tacks, datagram[1])
        for (cause, module, tacks), datagram in zip(outcomes, datagrams, strict=True)
        if cause == "packets_decoded"
    ]
    assert decoded.modules.tolist() == [module for module, _, _ in fine]
    row = 0
    for run in decoded.runs():
        steps = run.steps()
        assert run.shortest <= steps.min(initial=MAX_STEP)
        assert run.longest >= steps.max(initial=1)
        for module, tacks, part in zip(run.modules, run.tacks, run.parts, strict=True):
            assert (module, tacks.tolist(), part.tobytes()) == fine[row]
            row += 1
    assert row == len(fine) == len(decoded)
