"""Changes to the property ``MulticastEvent`` that leave all else in it as it stands."""

from __future__ import annotations

from collections.abc import Sequence

from socs.errors import ConfigError
from socs.tango.multicast.elements import quoted, split
from socs.tango.multicast.groups import BadElement, Group, format_groups


def add_event(
    values: Sequence[str],
    event: str,
    address: str,
    port: int,
    *,
    rate: int | None = None,
    ivl: int | None = None,
) -> list[str]:
    """The property with one more group at its end.

    Args:
        event: ``domain/family/member/attribute.type``.
        rate: [Mbit/s]; None for the default.
        ivl: [s]; None for the default.

    Raises:
        ConfigError: the event is there already, or the group cannot be written so.
    """
    last = split(values)[-1:]
    if last and last[0].address is not None and last[0].port is None:
        raise ConfigError(f"{quoted(values[-1])} at the end has no port: correct that first")
    if event.lower() in (value.lower() for value in values):
        raise ConfigError(f"{event} is in the property already")
    try:
        return [*values, *format_groups([Group(address, port, (event,), rate, ivl)])]
    except BadElement as error:
        raise ConfigError(f"cannot be added: {str(error).partition(': ')[2]}") from error


def remove_event(values: Sequence[str], event: str) -> list[str]:
    """The property without an event, and without its group if no other event is in it.

    Raises:
        ConfigError: the event is not there.
    """
    kept: list[str] = []
    found = False
    for section in split(values):
        left = [e for e in section.elements if e.text.lower() != event.lower()]
        changed = len(left) < len(section.elements)
        found = found or changed
        emptied = changed and not set(section.events) & set(left) and section.address is not None
        if not emptied:
            kept += [element.text for element in left]
    if not found:
        raise ConfigError(f"{event} is not in the property")
    return kept
