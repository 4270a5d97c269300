"""Every threshold of the trackers, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from socs.errors import ConfigError


@dataclass(frozen=True)
class TrackSettings:
    """When what is taken for lost, new, wrong. Times in seconds.

    Attributes:
        subnets: networks in which servers are. What comes from elsewhere changes nothing; at least
            one is needed.
        ca_period: between the beacons of a Channel Access server that has been up for a while.
        ca_lost_after: without a beacon, at least; the next one is due after 15.
        ca_lost_periods: without a beacon, in periods as measured; the longer of both counts.
        pva_start_period: between the first beacons of a PV Access server.
        pva_lost_after: without a beacon of a PV Access server; the next one is due after 180.
        pva_start_lost_after: the same for one that was seen starting, as long as it sends often.
        pva_start_beacons: so many beacons are sent often after a start.
        start_window: a second beacon with id 0 within this time is of the same start.
        reordered_within: an id that is lower by a few, within this time of the higher one, came
            late or another way.
        reordered_ids: how many are a few.
        interval_samples: so many spacings are needed to judge a period.
        interval_tolerance: a period may differ from ``ca_period`` by this share of it.
        condition_ends_after: a wrong address or interface is over when not seen for so long.
        most_servers: servers that are tracked. Beyond that those go that have been lost for
            longest; while none is lost, further ones are only counted.
        misses: searches in a row without an answer until a process variable is lost.
        answers_within: two servers that answer foreign searches for a name within this time both
            have it. So an answer of another server than before is weighed after that time.
        duplicate_ends_after: of two servers that have a name, one is gone when only the other was
            heard for so long, if we do not search ourselves.
        heartbeat_lost_after: without a heartbeat of the JSON kind; they come every 30.
        alive_lost_periods: periods without a heartbeat of an alive record; it tells its period.
        alive_longest_period: longer ones are not believed.
        start_tolerance: a heartbeat that tells a start later by more than this is of a new start.
        clock_tolerance: an application's clock may differ from ours by less.
        most_applications: the same of applications.
        host_patience: what is expected on a host and was not heard is missing after so long; the
            beacons of PV Access come every 180.

    Raises:
        ConfigError: a value cannot be meant.
    """

    subnets: tuple[str, ...]
    ca_period: float = 15.0
    ca_lost_after: float = 60.0
    ca_lost_periods: float = 4.0
    pva_start_period: float = 15.0
    pva_lost_after: float = 360.0
    pva_start_lost_after: float = 60.0
    pva_start_beacons: int = 10
    start_window: float = 1.0
    reordered_within: float = 1.0
    reordered_ids: int = 3
    interval_samples: int = 4
    interval_tolerance: float = 0.2
    condition_ends_after: float = 60.0
    most_servers: int = 20_000
    misses: int = 2
    answers_within: float = 2.0
    duplicate_ends_after: float = 300.0
    heartbeat_lost_after: float = 100.0
    alive_lost_periods: float = 4.0
    alive_longest_period: float = 3600.0
    start_tolerance: float = 5.0
    clock_tolerance: float = 120.0
    most_applications: int = 20_000
    host_patience: float = 200.0

    def __post_init__(self) -> None:
        if not self.subnets:
            raise ConfigError("subnets: name the networks in which servers are")
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not value > 0:
                raise ConfigError(f"{name}: {value} is not above 0")
        if self.pva_start_lost_after > self.pva_lost_after:
            raise ConfigError("pva_start_lost_after is longer than pva_lost_after")
