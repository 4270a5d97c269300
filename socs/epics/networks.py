"""Sets of IPv4 networks, asked for many addresses at once."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError

HIGHEST_HOST = 0xFFFF_FFFF


class Networks:
    """Addresses and networks such as ``10.1.2.3`` and ``10.1.0.0/16``. None at all holds nothing.

    Args:
        networks: as text.
        setting: what they are called in an error.

    Raises:
        ConfigError: one of them is not an IPv4 network.
    """

    def __init__(self, networks: Sequence[str], setting: str = "networks") -> None:
        if isinstance(networks, str):
            raise ConfigError(f"{setting}: {networks!r} is one text; give a list of networks")
        try:
            parsed = [ipaddress.IPv4Network(text) for text in networks]
        except ValueError as error:
            raise ConfigError(f"{setting}: {error}; write 10.1.2.3 or 10.1.0.0/16") from error
        self.texts = tuple(str(network) for network in parsed)
        self._addresses = np.array([int(n.network_address) for n in parsed], np.uint32)
        self._masks = np.array([int(n.netmask) for n in parsed], np.uint32)

    def __len__(self) -> int:
        return len(self.texts)

    def holds(self, hosts: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of ``hosts``, uint32 (n,) in host byte order, are inside; bool (n,)."""
        inside: NDArray[np.bool_] = np.any(
            (hosts[:, None] & self._masks) == self._addresses, axis=1
        )
        return inside

    def __contains__(self, host: int) -> bool:
        return bool(np.any((np.uint32(host) & self._masks) == self._addresses))


def host_text(host: int) -> str:
    """An address for people: ``10.1.2.3``."""
    return str(ipaddress.IPv4Address(host))
