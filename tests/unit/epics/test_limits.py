"""Memory is limited, whatever comes."""

import subprocess
import sys
from pathlib import Path

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from tests.epics_invented import feed

MIB = 1 << 20
ROOT = Path(__file__).parents[3]

# A process of its own, so that its memory is only this.
MILLION = """
import resource
import numpy as np
from socs.epics.accounts.inventory import Inventory
from socs.epics.track.coverage import Coverage
from socs.epics.track.events import CA
from socs.epics.track.pvs import Answer, Pvs
from socs.epics.track.settings import TrackSettings
from tests.epics_invented import feed

inventory = Inventory(secret=1)
for start in range(0, 1_000_000, 50_000):
    feed(inventory, start, 50_000, now=1.7e9 + start)
    feed(inventory, start, 50_000, now=1.7e9 + start + 1, port=2)
pvs = Pvs(inventory, TrackSettings(("10.0.0.0/8",)), Coverage(0))
pvs.judge_all(np.arange(inventory.end), Answer(CA, 0x0A000002, 5064, 0x0A000002), 1.7e9)
assert len(inventory) == inventory.end == 1_000_000
assert pvs.totals()["ONLINE"] == 1_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_a_million_process_variables_fit_in_memory():
    command = [sys.executable, "-c", MILLION]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) < 750 * MIB


def test_invented_names_are_counted_and_not_kept():
    inventory = Inventory(InventoryLimits(names=20_000, sources=100), secret=1)
    feed(inventory, 0, 10_000)
    half = len(inventory.names.still().words)
    for start in range(10_000, 1_010_000, 50_000):
        feed(inventory, start, 50_000, port=start % 60_000)
    assert len(inventory) == inventory.end == 20_000
    assert len(inventory.names.still().words) < 3 * half
    assert inventory.counts["requests_not_kept"] == 1_010_000 - 20_000
    assert inventory.names.number(b"INVENTED:0000000") >= 0
    feed(inventory, 0, 10_000)
    assert inventory.counts["requests_valid"] == 30_000
