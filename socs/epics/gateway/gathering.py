"""Traffic of EPICS added up to summaries: what a gateway tells monitors, made from batches.

::

    ca, pva, beacons, heartbeats, alive (batch)     decoded, added up
    take(now) -> summaries                          of all since the last one

Requests for a name that could get no number are still counted for their source. When a summary is
more than one message, the first ones tell nothing but names and requests, and last no time; all
else, and the time since the last summary, is in the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.asked import Asked, asked_ca, asked_pva
from socs.epics.accounts.names import NameTable
from socs.epics.accounts.sources import Keys, Sources, keys_of
from socs.epics.decode import alive, ca, heartbeat, pva
from socs.epics.decode.words import Tally
from socs.epics.gateway.adding_up import Divided, FewRows, Pairs, rows_of, times_of
from socs.epics.gateway.gathering_settings import GatheringSettings
from socs.epics.gateway.open_requests import OpenRequests
from socs.epics.summary import (
    ANSWERS,
    CA_BEACONS,
    MOST_NAMES,
    MOST_ROWS,
    MOST_TEXT,
    PVA_BEACONS,
    AnswerPart,
    Beat,
    Found,
    Rows,
    Summary,
)
from socs.epics.track.events import CA, PVA
from socs.errors import PeerError
from socs.wire.batch import Batch
from socs.wire.captured import CapturedBatch

SHOWN = 32  # bytes of a faulty datagram that are shown
_SAME_ANSWER = ("name", "protocol", "host", "port", "sender", "guid")


class Gathering:
    """Adds up what one gateway hears. Not for several threads at once.

    Args:
        settings: see there.
        gateway, boot: names of the gateway and of this start of it.
        began: from when on it listens, UNIX time [s].
        secret: see `socs.epics.accounts.texts.Seed`.
        networks: what it hears, as text; empty for any address.

    Attributes:
        own: uint64: sources (:func:`~socs.epics.accounts.sources.keys_of`) whose requests are left
            out: our own searches.
        tally: what happened, by the counters of `socs.counters`; to be emptied.
        faults: for each cause, the last datagram with that fault: its sender and first bytes.
        epoch: of the numbers of names.
        number: of the next summary.
        left_out: uses that are not heard.
    """

    def __init__(
        self,
        settings: GatheringSettings | None = None,
        *,
        gateway: str,
        boot: str,
        began: float,
        secret: int,
        networks: Sequence[str] = (),
    ) -> None:
        self._settings = settings = settings or GatheringSettings()
        self._gateway, self._boot, self._secret = gateway, boot, secret
        self._networks = tuple(networks)
        self._began = began
        self.own: Keys = np.zeros(0, np.uint64)
        self.left_out: tuple[str, ...] = ()
        self.tally, self.faults = Tally(), dict[str, str]()
        self.number = self.epoch = 0
        self._totals = {"requests": 0, "datagrams": 0}
        self._second, self._new = 0, 0
        self._full = False
        self._answers = FewRows(ANSWERS, settings.rows, _SAME_ANSWER)
        self._ca_beacons = FewRows(CA_BEACONS, settings.rows)
        self._pva_beacons = FewRows(PVA_BEACONS, settings.rows)
        self._beats: list[Beat] = []
        self._beat_bytes = 0
        self._found: list[Found] = []
        self._told: list[AnswerPart] = []
        self._begin_names()
        self._begin_sums()

    def _begin_names(self) -> None:
        self._names = NameTable(self._settings.names, self._settings.rule, secret=self._secret)
        self._numbered = 0  # those below have been told
        self._open = {CA: OpenRequests(), PVA: OpenRequests()}

    def _begin_sums(self) -> None:
        self._sources = Sources(self._settings.sources)
        self._pairs = Pairs(self._settings.pairs)

    # -- what is heard ----------------------------------------------------------------------------

    def ca(self, batch: Batch) -> None:
        """Datagrams of Channel Access: searches, answers, beacons."""
        self._ca(batch)

    def beacons(self, batch: Batch) -> None:
        """The same, from the port where mostly beacons come; some by way of a repeater."""
        self._ca(batch, relays=True)

    def _ca(self, batch: Batch, *, relays: bool = False) -> None:
        found = ca.decode(batch, server_port=self._settings.server_port)
        self._count(batch, found.tally)
        numbers = self._requests(batch, asked := asked_ca(batch, found))
        beacons = found.beacons
        if relays and isinstance(batch, CapturedBatch):
            first_hand = batch.to_ports[beacons["datagram"]] == self._settings.beacon_port
            self.tally.add("beacons_relayed", int(np.count_nonzero(~first_hand)))
            beacons = beacons[first_hand]
        rows = rows_of(CA_BEACONS, beacons, batch, beacons["datagram"], ("id", "minor"))
        self._beacons(self._ca_beacons, rows)
        if isinstance(batch, CapturedBatch):
            self._open[CA].asked(asked.keys[asked.rows], asked.channels, numbers)
        answers = found.responses
        self._answered(batch, CA, answers, answers["cid"])

    def pva(self, batch: Batch) -> None:
        """Datagrams of PV Access: searches, answers, beacons."""
        found = pva.decode(batch)
        self._count(batch, found.tally)
        asked = asked_pva(batch, found)
        relayed = None
        if isinstance(batch, CapturedBatch) and len(found.origins):
            # A server passed them on to others on its host; they were captured when they came.
            relayed = np.isin(asked.rows, found.origins["datagram"])
        numbers = self._requests(batch, asked, relayed)
        beacons = found.beacons
        fields = ("changes", "sequence", "guid")
        self._beacons(
            self._pva_beacons, rows_of(PVA_BEACONS, beacons, batch, beacons["datagram"], fields)
        )
        if isinstance(batch, CapturedBatch):
            self._open[PVA].asked(asked.keys[asked.rows], asked.channels, numbers)
        answers = found.responses[found.answers["of"]]
        has = answers["found"]
        denied = int(np.count_nonzero(~has))
        self.tally.add("answers_heard", denied)
        self.tally.add("answers_denied", denied)
        self._answered(batch, PVA, answers[has], found.answers["id"][has])

    def heartbeats(self, batch: Batch) -> None:
        """Heartbeats as JSON, and what applications answer."""

        def is_beat(datagram: bytes) -> bool:
            found = isinstance(heartbeat.decode(datagram), heartbeat.Heartbeat)
            self.tally.add("heartbeat_decoded" if found else "heartbeat_answers", 1)
            return found

        self._beat(batch, "json", is_beat)

    def alive(self, batch: Batch) -> None:
        """Heartbeats of ``alive`` records."""

        def is_beat(datagram: bytes) -> bool:
            alive.decode(datagram, magic=self._settings.magic)
            self.tally.add("alive_decoded", 1)
            return True

        self._beat(batch, "alive", is_beat)

    def found(self, results: Sequence[Found]) -> None:
        """Results of our own searches."""
        self._keep(self._found, results)

    def told(self, answers: Sequence[AnswerPart]) -> None:
        """What applications answered to our questions."""
        self._keep(self._told, answers)

    def _keep(self, waiting: list[Any], new: Sequence[Any]) -> None:
        room = max(self._settings.findings - len(waiting), 0)
        waiting += new[:room]
        self.tally.add("findings_not_told", max(len(new) - room, 0))

    def _count(self, batch: Batch, found: Tally) -> None:
        self.tally.add("datagrams_gathered", len(batch))
        for name, amount in found.counts.items():
            self.tally.add(name, amount)
        for cause, row in found.examples.items():
            self.faults[cause] = f"{batch.sender(row)}: {batch.datagram(row)[:SHOWN].hex(' ')}"

    def _requests(
        self, batch: Batch, asked: Asked, relayed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        """Add up requests; the number of the name of each, -1 if it has none."""
        left_out = np.zeros(len(asked.rows), np.bool_)
        if len(self.own):
            left_out = np.isin(asked.keys, self.own)[asked.rows]
            self.tally.add("requests_own", int(np.count_nonzero(left_out)))
        if relayed is not None:
            self.tally.add("requests_relayed", int(np.count_nonzero(relayed & ~left_out)))
            left_out |= relayed
        if not left_out.any():
            return self._add_up(batch, asked)
        numbers = np.full(len(asked.rows), -1, np.int32)
        kept = ~left_out
        numbers[kept] = self._add_up(batch, asked.only(kept))
        return numbers

    def _add_up(self, batch: Batch, asked: Asked) -> NDArray[np.int32]:
        if not len(asked.rows):
            return np.zeros(0, np.int32)
        numbers = self._numbers(asked, batch.received)
        keys, source = np.unique(asked.keys, return_inverse=True)
        of_requests = source[asked.rows]
        asking = np.zeros(len(source), np.bool_)
        asking[asked.rows] = True
        requests = np.bincount(of_requests, minlength=len(keys))
        datagrams = np.bincount(source[asking], minlength=len(keys))
        those = np.flatnonzero(requests)
        places = np.zeros(len(keys), np.int64)
        places[those] = self._sources.numbers(keys[those], batch.received)
        nothing = np.zeros(len(those), np.int64)
        self._sources.add(places[those], datagrams[those], requests[those], nothing, batch.received)
        self.tally.add("requests_sourceless", int(requests[those][places[those] == 0].sum()))
        named = numbers >= 0
        if named.all():
            self._pairs.add(numbers, places[of_requests])
        else:
            self._pairs.add(numbers[named], places[of_requests][named])
        self.tally.add("requests_named", int(np.count_nonzero(named)))
        return numbers

    def _numbers(self, asked: Asked, now: float) -> NDArray[np.int32]:
        """The number of each name, as far as there is room in this summary, second and epoch."""
        count = len(asked.rows)
        if self._pairs.full:
            self.tally.add("requests_nameless_full", count)
            return np.full(count, -1, np.int32)
        if int(now) != self._second:
            self._second, self._new = int(now), 0
        before, left = self._names.count, self._settings.new_names - self._new
        numbers = self._names.take(asked.words, asked.at, asked.counts, left)
        new = self._names.count - before
        self._new += new
        self.tally.add("names_numbered", new)
        if nameless := int(np.count_nonzero(numbers < 0)):
            too_fast = new >= left
            self._full |= not too_fast
            cause = "requests_nameless_fast" if too_fast else "requests_nameless_full"
            self.tally.add(cause, nameless)
        return numbers

    def _beacons(self, kept: FewRows, rows: Rows) -> None:
        self._clip(rows)
        left = kept.add(rows)
        self.tally.add("beacons_gathered", len(rows) - left)
        self.tally.add("beacons_not_told", left)

    def _answered(
        self, batch: Batch, protocol: int, answers: Rows, channels: NDArray[np.uint32]
    ) -> None:
        """Note answers to foreign requests; those that were not captured were sent to us."""
        if not len(answers):
            return
        numbers = np.full(len(answers), -1, np.int32)
        at = answers["datagram"]
        if isinstance(batch, CapturedBatch):
            clients = keys_of(batch.to_hosts[at], batch.to_ports[at])
            numbers = self._open[protocol].answered(clients, channels)
        known = np.flatnonzero(numbers >= 0)
        fields = ("guid",) if protocol == PVA else ()
        rows = rows_of(ANSWERS, answers[known], batch, at[known], fields)
        rows["name"], rows["protocol"] = numbers[known], protocol
        self._clip(rows)
        self.tally.add("answers_heard", len(answers))
        self.tally.add("answers_matched", len(known))
        self.tally.add("answers_unmatched", len(answers) - len(known))
        self.tally.add("answers_not_told", self._answers.add(rows))

    def _clip(self, rows: Rows) -> None:
        """What came just before the last summary was made, and was handed on after that, is new."""
        rows["time"] = np.maximum(rows["time"], self._began)

    def _beat(self, batch: Batch, kind: str, is_beat: Callable[[bytes], bool]) -> None:
        times = np.maximum(times_of(batch), self._began).tolist()
        self.tally.add("datagrams_gathered", len(batch))
        self.tally.add("heartbeat_datagrams", len(batch))
        for row, (host, port) in enumerate(batch.senders()):
            if len(self._beats) >= self._settings.rows:
                self.tally.add("heartbeats_not_told", len(batch) - row)
                return
            datagram = batch.datagram(row)
            room = self._settings.heartbeat_bytes - self._beat_bytes
            if len(datagram) > room:
                self.tally.add("heartbeats_not_told", 1)
                continue
            try:
                beats = is_beat(datagram)
            except PeerError as error:
                self.tally.add(error.cause, 1)
                self.faults[error.cause] = f"{batch.sender(row)}: {datagram[:SHOWN].hex(' ')}"
                continue
            if beats:
                self._beat_bytes += len(datagram)
                self._beats.append(Beat(kind, times[row], host, port, datagram))

    # -- what is told -----------------------------------------------------------------------------

    def begin_epoch(self) -> None:
        """Give numbers to names anew, from the next summary on."""
        self._full = True

    def take(
        self, now: float, counters: Mapping[str, int] | None = None, *, last: bool = False
    ) -> list[Summary]:
        """All since the last one, in at least one summary.

        Args:
            now: UNIX time [s]; everything so far was received before.
            counters: of the gateway, for the last of the summaries.
            last: the gateway ends.
        """
        began = min(self._began, now)  # the clock may have been set back
        self._began = now
        numbered = range(self._numbered, self._names.end)
        self._numbered = self._names.end
        names, sources, amounts = self._pairs.take()
        before = max(-(-len(numbered) // MOST_NAMES), 1) - 1  # summaries of names only
        asked = Divided(names, sources, amounts, self._sources)
        told = []
        for place in range(before + asked.parts):
            part = numbered[place * MOST_NAMES : (place + 1) * MOST_NAMES]
            requests, senders = asked.part(place - before)
            self._totals["requests"] += int(senders["requests"].sum())
            self._totals["datagrams"] += int(senders["datagrams"].sum())
            told.append(
                Summary(
                    self._gateway,
                    self._boot,
                    self.number,
                    self.epoch,
                    began,
                    began,
                    self._networks,
                    first_name=part.start if len(part) else self._numbered,
                    names=tuple(self._names.names(np.arange(part.start, part.stop))),
                    requests=requests,
                    sources=senders,
                    totals=dict(self._totals),
                    left_out=self.left_out,
                )
            )
            self.number += 1
        self._finish(told[-1], now, counters or {}, last)
        self._begin_sums()
        if self._full or 10 * self._names.count > 9 * self._settings.names:
            self.epoch, self._full = self.epoch + 1, False
            self.tally.add("epochs_begun", 1)
            self._begin_names()
        return told

    def _finish(
        self, summary: Summary, now: float, counters: Mapping[str, int], last: bool
    ) -> None:
        """Put into the last of some summaries all that does not fill more than one."""
        summary.ended, summary.last, summary.counters = now, last, counters
        summary.answers = self._answers.take()
        summary.ca_beacons, summary.pva_beacons = self._ca_beacons.take(), self._pva_beacons.take()
        summary.beats, self._beats, self._beat_bytes = tuple(self._beats), [], 0
        summary.found, self._found = tuple(self._found[:MOST_ROWS]), self._found[MOST_ROWS:]
        several = _fitting(self._told)
        summary.told, self._told = tuple(self._told[:several]), self._told[several:]


def _fitting(told: Sequence[AnswerPart]) -> int:
    """How many of these fit into one summary; one at least, if there are any."""
    size = 0
    for place, each in enumerate(told):
        size += sum(map(len, each.texts))
        if place and (size > MOST_TEXT or place >= MOST_ROWS):
            return place
    return len(told)
