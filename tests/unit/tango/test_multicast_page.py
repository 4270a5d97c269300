"""The reference page of multicasting says what the code does."""

import re
from pathlib import Path

from socs.tango.multicast import DEFAULTS, Configuration, buffer_bytes, parse
from socs.tango.multicast.configuration import megabytes
from socs.tango.multicast.elements import NEVER_SENT, SENT
from socs.tango.multicast.faults import HIGHEST, LOWEST, MAX_PORT
from socs.tango.multicast.lint import BUFFER_LIMIT

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "tango_multicast.rst").read_text()
TEXT = " ".join(PAGE.split())


def test_figures_are_those_of_the_code():
    rate, ivl, _ = (default.value for default in DEFAULTS)
    assert f"{megabytes(buffer_bytes(rate, ivl))} with the defaults" in TEXT
    assert f"more than {BUFFER_LIMIT // 2**20} MiB" in TEXT
    assert f"{'.'.join(map(str, LOWEST))} to {'.'.join(map(str, HIGHEST))}" in TEXT
    assert f"1 to {MAX_PORT}" in TEXT


def test_types_of_events_are_those_of_the_code():
    (listed,) = re.findall(r"with a type of (.*?) So these", TEXT)
    assert set(re.findall(r"\w+", listed)) - {"or"} == set(SENT)
    assert not set(SENT) & set(NEVER_SENT)


def test_the_example_is_right():
    (block,) = re.findall(r"::\n\n((?:    .*\n)+)", PAGE)
    values = block.split()
    assert [group.rate for group in parse(values)] == [None, 40]
    assert len(Configuration.of({"MulticastEvent": values}).routes) == 2
