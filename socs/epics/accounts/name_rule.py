"""Which names of process variables are not valid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError

# What a database of EPICS refuses in the name of a record; "." ends the name before its field.
EPICS_FORBIDS = " \t\"'$"


@dataclass(frozen=True)
class NameRule:
    """When a name is invalid, and where it ends.

    Attributes:
        separator: the character before a field, which does not belong to the name.
        forbidden: characters that make a name invalid; the default is the rule of EPICS 7.
        forbidden_first: characters that make it invalid in the first place.
        control: do control characters (0 to 31, 127) make it invalid.
        beyond_ascii: do bytes above 127 make it invalid.
        shortest, longest: bytes of a valid name.

    Raises:
        ConfigError: ``separator`` is not one ASCII character, or lengths do not fit together.
    """

    separator: str = "."
    forbidden: str = EPICS_FORBIDS
    forbidden_first: str = ""
    control: bool = True
    beyond_ascii: bool = False
    shortest: int = 1
    longest: int = 500

    def __post_init__(self) -> None:
        if len(self.separator) != 1 or not "\x01" <= self.separator <= "\x7f":
            raise ConfigError(f"separator: {self.separator!r} is not one ASCII character")
        if not 0 < self.shortest <= self.longest:
            raise ConfigError(f"shortest: {self.shortest} is not from 1 to longest {self.longest}")

    def bad_octets(self) -> NDArray[np.bool_]:
        """For each value of a byte but 0: may it not be in a name. Shape (256,)."""
        bad = np.zeros(256, np.bool_)
        bad[list(self.forbidden.encode())] = True
        if self.control:
            bad[1:32] = bad[127] = True
        if self.beyond_ascii:
            bad[128:] = True
        return bad

    def bad_first_octets(self) -> NDArray[np.bool_]:
        """For each value of a byte: may a name not begin with it. Shape (256,)."""
        bad = np.zeros(256, np.bool_)
        bad[list(self.forbidden_first.encode())] = True
        return bad
