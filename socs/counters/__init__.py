"""Every counter by name: its unit, what it means, and what an operator does when it moves.

The tables of this package, one module for each stream, are the one place where counters are
defined. They are rendered into the documentation, published on each agent's recorded feed under
the same names, and checked for conservation: what came in is either stored, waiting, or counted
under the cause that stopped it. A table that is exported here has its place on the page, too.
"""

from socs.counters.archive import ARCHIVE, ARCHIVE_CONSERVATION, ARCHIVE_NOW
from socs.counters.capture import CAPTURE, CAPTURE_CONSERVATION, PCAP, PCAP_CONSERVATION
from socs.counters.core import Conservation, Counter, Counters, imbalances
from socs.counters.epics import (
    EPICS_ACCOUNTS,
    EPICS_ASKING,
    EPICS_ASKING_CONSERVATION,
    EPICS_CA,
    EPICS_CONSERVATION,
    EPICS_HEARTBEATS,
    EPICS_PVA,
    EPICS_SEARCH,
    EPICS_TRACKS,
)
from socs.counters.epics_cainfo import EPICS_CAINFO, EPICS_CAINFO_CONSERVATION
from socs.counters.epics_gateway import (
    EPICS_GATEWAY,
    EPICS_GATEWAY_CONSERVATION,
    EPICS_GATEWAY_NOW,
    EPICS_GATHERING,
    EPICS_GATHERING_CONSERVATION,
)
from socs.counters.epics_knowledge import (
    EPICS_KNOWLEDGE,
    EPICS_KNOWLEDGE_CONSERVATION,
    EPICS_SEARCHES,
    EPICS_SEARCHES_NOW,
)
from socs.counters.epics_monitor import (
    EPICS_MONITOR,
    EPICS_MONITOR_CONSERVATION,
    EPICS_MONITOR_NOW,
)
from socs.counters.epics_store import (
    EPICS_SNAPSHOTS,
    EPICS_STORE,
    EPICS_STORE_CONSERVATION,
    EPICS_STORE_NOW,
)
from socs.counters.files import FILES, FILES_NOW
from socs.counters.pysmurf import CONSERVATION, PYSMURF
from socs.counters.slow_signal import (
    SLOW_SIGNAL,
    SLOW_SIGNAL_CONSERVATION,
    SLOW_SIGNAL_FILES,
    SLOW_SIGNAL_FILES_CONSERVATION,
    SLOW_SIGNAL_FILES_NOW,
    SLOW_SIGNAL_NOW,
    SLOW_SIGNAL_STREAM,
    SLOW_SIGNAL_STREAM_CONSERVATION,
    SLOW_SIGNAL_STREAM_NOW,
)
from socs.counters.tango import TANGO, TANGO_CONSERVATION, TANGO_NOW, TANGO_POLLING
from socs.counters.tango_files import (
    TANGO_FILES,
    TANGO_FILES_CONSERVATION,
    TANGO_FILES_NOW,
)
from socs.counters.tango_monitor import TANGO_MONITOR
from socs.counters.udp import UDP

__all__ = [
    "ARCHIVE",
    "ARCHIVE_CONSERVATION",
    "ARCHIVE_NOW",
    "CAPTURE",
    "CAPTURE_CONSERVATION",
    "CONSERVATION",
    "EPICS_ACCOUNTS",
    "EPICS_ASKING",
    "EPICS_ASKING_CONSERVATION",
    "EPICS_CA",
    "EPICS_CAINFO",
    "EPICS_CAINFO_CONSERVATION",
    "EPICS_CONSERVATION",
    "EPICS_GATEWAY",
    "EPICS_GATEWAY_CONSERVATION",
    "EPICS_GATEWAY_NOW",
    "EPICS_GATHERING",
    "EPICS_GATHERING_CONSERVATION",
    "EPICS_HEARTBEATS",
    "EPICS_KNOWLEDGE",
    "EPICS_KNOWLEDGE_CONSERVATION",
    "EPICS_MONITOR",
    "EPICS_MONITOR_CONSERVATION",
    "EPICS_MONITOR_NOW",
    "EPICS_PVA",
    "EPICS_SEARCH",
    "EPICS_SEARCHES",
    "EPICS_SEARCHES_NOW",
    "EPICS_SNAPSHOTS",
    "EPICS_STORE",
    "EPICS_STORE_CONSERVATION",
    "EPICS_STORE_NOW",
    "EPICS_TRACKS",
    "FILES",
    "FILES_NOW",
    "PCAP",
    "PCAP_CONSERVATION",
    "PYSMURF",
    "SLOW_SIGNAL",
    "SLOW_SIGNAL_CONSERVATION",
    "SLOW_SIGNAL_FILES",
    "SLOW_SIGNAL_FILES_CONSERVATION",
    "SLOW_SIGNAL_FILES_NOW",
    "SLOW_SIGNAL_NOW",
    "SLOW_SIGNAL_STREAM",
    "SLOW_SIGNAL_STREAM_CONSERVATION",
    "SLOW_SIGNAL_STREAM_NOW",
    "TANGO",
    "TANGO_CONSERVATION",
    "TANGO_FILES",
    "TANGO_FILES_CONSERVATION",
    "TANGO_FILES_NOW",
    "TANGO_MONITOR",
    "TANGO_NOW",
    "TANGO_POLLING",
    "UDP",
    "Conservation",
    "Counter",
    "Counters",
    "imbalances",
]
