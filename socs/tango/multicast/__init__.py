"""Tango events by multicast: the properties that ask for it, what they do, and what is wrong.

The properties are read in two ways. :func:`parse` is strict, as the document has them: groups, or
the element that is wrong. :mod:`~socs.tango.multicast.cpptango` does with any list what cppTango
does with it. :func:`lint` tells all faults, and those of Tango's multicasting, too.
"""

from socs.tango.multicast.configuration import (
    DEFAULTS,
    EVENT,
    OBJECT,
    PROPERTIES,
    Configuration,
    buffer_bytes,
)
from socs.tango.multicast.edit import add_event, remove_event
from socs.tango.multicast.explain import explain
from socs.tango.multicast.findings import KINDS, Finding
from socs.tango.multicast.groups import BadElement, Group, format_groups, parse
from socs.tango.multicast.lint import lint
from socs.tango.multicast.transport import Transport, disagreement, transport_of

__all__ = [
    "DEFAULTS",
    "EVENT",
    "KINDS",
    "OBJECT",
    "PROPERTIES",
    "BadElement",
    "Configuration",
    "Finding",
    "Group",
    "Transport",
    "add_event",
    "buffer_bytes",
    "disagreement",
    "explain",
    "format_groups",
    "lint",
    "parse",
    "remove_event",
    "transport_of",
]
