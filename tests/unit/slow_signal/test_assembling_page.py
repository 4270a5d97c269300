"""The reference page of assembling says what the code does."""

import re
from pathlib import Path

import pytest

from socs.counters import SLOW_SIGNAL, SLOW_SIGNAL_CONSERVATION
from socs.slow_signal import decode, quarantine, windows
from socs.slow_signal.layout import READOUT
from socs.slow_signal.windows import AssemblerSettings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "slow_signal_assembling.rst"
TEXT = " ".join(PAGE.read_text().split())
DEFAULT = AssemblerSettings()


@pytest.mark.parametrize(
    "statement",
    [
        f"more than {decode.MAX_READOUTS} parts",
        f"or by more than {decode.MAX_STEP / 86_400e9:.0f} days",
        f"at most {quarantine.MAX_HELD} of them",
        f"``readout_tw`` - {DEFAULT.readout_tw / 1e6:.0f} ms",
        f"``buffer_time`` - {DEFAULT.buffer_time / 1e9:.0f} s",
        f"``buffer_length`` - {DEFAULT.buffer_length} readouts",
        f"{decode.MAX_READOUTS} to {windows.MAX_BUFFER_LENGTH // 1000} 000",
        f"of {READOUT.itemsize / 1000 + 0.05:.1f} kB each",
        "up to an hour" if windows.MAX_BUFFER_TIME == 3600 * 10**9 else "other",
    ],
)
def test_figures_are_those_of_the_code(statement):
    assert statement in TEXT


def test_every_cause_is_explained():
    causes = {part for equation in SLOW_SIGNAL_CONSERVATION[1:] for part in equation.parts}
    causes -= {"packets_decoded", "parts_held", "parts_out", "parts_buffered"}
    causes |= {"tack_restarts", "packets_window_too_wide", "parts_missing"}
    assert causes <= {counter.name for counter in SLOW_SIGNAL}
    assert causes <= set(re.findall(r"``(\w+)``", TEXT))


def test_every_setting_is_explained():
    assert {f"``{name}``" for name in vars(DEFAULT)} <= set(re.findall(r"``\w+``", TEXT))
