"""Limits on what a device server may tell, and on what is remembered of it, each with its reason.

Beyond a limit a reply is refused, or a name is not followed; both are counted, neither is silent.
"""

from __future__ import annotations

# -- one reply ------------------------------------------------------------------------------------

MAX_REPLY = 16 * 2**20  # bytes; 20 000 subscriptions take 5 MB, all samples 80 kB
MAX_ENTRIES = 50_000  # streams, subscriptions, channels and open connections in one reply
MAX_SAMPLES = 4096  # performance samples of one side; the rings in cppTango hold 256
MAX_NAME = 1024  # characters in a name; CORBA names of devices have some tens
MAX_LINE = 256 * 2**20  # bytes of a line of a file; 1000 servers with 20 subscriptions take 10 MB
MAX_DIGITS = 4000  # digits in one number; Python refuses to read more than 4300

# -- what is remembered ---------------------------------------------------------------------------

MAX_NAMES = 10_000  # streams, subscriptions and open connections followed; 3 kB each
MAX_SERVERS = 1000  # device servers followed; a large site has some hundreds
MAX_ATTRIBUTES = 1000  # attributes with statistics of their own; the others share one
MAX_EVENTS = 1000  # events given out by one call; further ones are counted
MAX_SHOWN = 5  # names told in one event about several
MAX_LISTED = 100  # names in one row, doubts in a status; how many more is told
MAX_LOGGED = 50  # lines of the log for one poll; how many more is told
FORGET_AFTER = 3600.0  # s; a name or server not seen for so long is forgotten

# -- judgements -----------------------------------------------------------------------------------

COUNTER = 2**32  # numbers of events are 32 bits wide and begin anew at 0
WRAP_WITHIN = 2**28  # events; 22 minutes at 200 000 per second, the most that was ever measured
PATIENCE = 2  # polls that must agree before a judgement
MOST_PATIENCE = 64  # polls; patience doubles up to here for a subscriber that disproved one
