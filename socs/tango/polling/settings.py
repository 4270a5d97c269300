"""Settings of the poller, with what they must be like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from socs.errors import ConfigError
from socs.tango.installed import database_hosts, environment
from socs.tango.limits import MAX_SERVERS
from socs.tango.polling.patterns import parse_pattern

LEASE = "tango_performance_lease.json"


@dataclass(frozen=True)
class PollSettings:
    """What to poll, and how.

    Args:
        names: devices, device servers and wildcards; see :func:`.patterns.parse_pattern`.
        state_dir: a directory for the lease of performance monitoring; made if missing.
        period: between two polls [s].
        timeout: for the answer of a server [s].
        ping_timeout: for the ping that tells a server that hangs from one that is busy [s].
        directory_period: between two looks into the Tango database [s].
        max_servers: servers that are polled; each takes a thread.
        performance: whether to switch performance monitoring on.
        tango_host: ``host:port`` of the database, or several with commas between; None
            for what ``TANGO_HOST`` or Tango's own files say.

    Raises:
        ConfigError: a value makes no sense.
    """

    names: tuple[str, ...]
    state_dir: Path
    period: float = 10.0
    timeout: float = 1.0
    ping_timeout: float = 0.5
    directory_period: float = 5.0
    max_servers: int = MAX_SERVERS
    performance: bool = False
    tango_host: str | None = None

    def __post_init__(self) -> None:
        if self.tango_host:
            database_hosts(self.tango_host)
        for name in self.names:
            parse_pattern(name)
        for field in ("period", "timeout", "ping_timeout", "directory_period"):
            if not getattr(self, field) > 0:
                raise ConfigError(f"{field} must be more than 0 s")
        if self.timeout + self.ping_timeout >= self.period:
            raise ConfigError(
                f"a period of {self.period:g} s is too short: time-outs are "
                f"{self.timeout:g} s for the answer and {self.ping_timeout:g} s for the ping"
            )
        if not 0 < self.max_servers <= MAX_SERVERS:
            raise ConfigError(f"max_servers must be 1 to {MAX_SERVERS}")

    @property
    def lease(self) -> Path:
        """The file that tells at which servers performance monitoring may be on."""
        return self.state_dir / LEASE

    def environ(self) -> dict[str, str]:
        """The environment of the child.

        Raises:
            ConfigError: ``TANGO_HOST`` is no ``host:port``.
        """
        return environment(self.tango_host)
