"""Limits on what a pysmurf publisher may send, each with its reason.

Beyond a limit a message, or a value of it, is refused and counted; nothing is cut off silently.
"""

from __future__ import annotations

# -- datagrams and JSON ---------------------------------------------------------------------------

MAX_DATAGRAM = 65_507  # bytes; the largest UDP payload over IPv4 (publishers stop at 64 000)
MAX_DEPTH = 64  # nested lists and objects in a payload; real ones have 4 or fewer
MAX_CONTAINERS = 10_000  # lists and objects in a payload; bounds the memory that 64 kB can ask for
MAX_DIGITS = 300  # digits in a row in one number; reading longer ones takes more than linear time
MAX_NAME = 255  # characters in host, id, script, type, action and version; columns of the table
MAX_FORMAT = 32  # characters in a file format; the column of the table
MAX_PATH = 1024  # characters in a file path; the column of the table
MAX_REGISTER = 1024  # characters in a register path; real ones have 150 or fewer
MAX_SEQUENCE = 2**63 - 1  # a sequence number; what a database and msgpack hold
MAX_TIME = 253_402_300_800.0  # UNIX time [s] of the year 10000, where dates end

# -- sequence tracking ----------------------------------------------------------------------------

MAX_STREAMS = 1000  # tracked (host, id, script) triples; a site has some tens
MAX_PUBLISHERS = 16  # publisher objects remembered for one triple, the last heard ones
MAX_GAPS = 100  # intervals of missing numbers for one publisher; late ones come within milliseconds
REMEMBERED = 1024  # accepted numbers whose times are known, to tell copies from new messages
REORDERED = 64  # messages by which one may be late across a restart at the same address
SAVED = 16  # accepted numbers, the last ones, whose times survive a restart of the monitor
CONTINUES_WITHIN = 1000  # numbers lost at most while a publisher changes its sender address
MAX_ORIGINS = 4  # addresses that one object may have had, while it can still be taken back
FORGET_AFTER = 7 * 86_400  # s; a triple silent for so long makes room for a new one
LOOK_FOR_ROOM_EVERY = 60  # s; how often to look for such triples once the table is full
MAX_TOTAL = 2**53  # where counts of losses end; what JSON and a float hold exactly

# -- feeds of register values ---------------------------------------------------------------------

MAX_FIELDS = 20_000  # fields on one feed; a crate slot has some thousands of registers
MAX_LIST = 64  # values of one register that become fields name_0 .. name_63
MAX_TEXT = 4096  # characters in the value of a text field
MAX_FIELD_NAME = 255  # characters; the rule of OCS
MAX_STREAM_NAME = 100  # characters of a stream id that are kept in a feed name
