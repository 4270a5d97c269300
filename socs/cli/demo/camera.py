"""The camera in the demo: 32 modules, the slow-signal builder, its files, and a subscriber."""

from __future__ import annotations

import queue
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from socs.cli.demo.directory import DemoDirectory
from socs.cli.demo.part import Comparison, StartChild
from socs.cli.demo.watch import NO_ANSWER, RateMeter, Status, Verifier
from socs.errors import OurError, SocsError
from socs.sim.camera_truth import CameraTruth, read_camera_truth
from socs.sim.camera_walk import Walk
from socs.sim.leash import Child
from socs.sim.ports import LOOPBACK, free_port
from socs.sim.site import AgentInstance, Site
from socs.slow_signal.layout import MV_PER_COUNT, millivolts

if TYPE_CHECKING:
    from socs.slow_signal.readout import SSReadout

BUILDER = "slow-signal-builder"
READOUT_RATE = 50.0  # Hz; that of the camera is 10
READOUTS_PER_PACKET = 10
FILE_SIZE = 0.25  # MiB; a file every few seconds
BUFFER_TIME = 1e9  # ns that an incomplete readout waits
STOP_TIMEOUT = 10.0  # s
NEEDS = ("zmq", "tables", "blosc2")  # of the extra slow-signal


def missing() -> str | None:
    """Why there is no camera; None if there can be one."""
    lacking = [name for name in NEEDS if find_spec(name) is None]
    if not lacking:
        return None
    return f"no camera, as there is no {lacking[0]}: pip install 'socs[slow-signal]'"


@dataclass(frozen=True)
class CameraNumbers:
    """What is known of the camera at one moment.

    Attributes:
        played: readouts of the camera.
        whole: those of which each module's packet was sent in time.
        packets_dropped, packets_doubled: on purpose.
        received: packets that the builder took from the kernel.
        out, complete: readouts that it put together.
        parts_missing: modules' parts of readouts that were not there.
        parts_doubled: that it recognised as coming again.
        published: readouts since the subscriber listens.
        heard: readouts that it heard, with the right values.
        wrong: readouts with other values than the camera's, heard or in archived files.
        files, verified, archived: rows of files; those with the right md5; those archived.
        stored: readouts in archived files, with the right values, each once (known at the end).
        rate: readouts per second, of late.
        troubles: what the builder says is wrong.
        answers: whether it answers OCS clients.
    """

    played: int = 0
    whole: int = 0
    packets_dropped: int = 0
    packets_doubled: int = 0
    received: int = 0
    out: int = 0
    complete: int = 0
    parts_missing: int = 0
    parts_doubled: int = 0
    published: int = 0
    heard: int = 0
    wrong: int = 0
    files: int = 0
    verified: int = 0
    archived: int = 0
    stored: int = 0
    rate: float = 0.0
    troubles: tuple[str, ...] = ()
    answers: bool = False

    def line(self) -> list[str]:
        """Pieces of a line of text."""
        return [
            f"camera: readouts {self.out}",
            f"complete {self.complete}",
            f"heard {self.heard}",
            f"files {self.files}",
            f"archived {self.archived}",
            *self.troubles,
        ]

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of the live table: name, value, explanation."""
        missing = self.parts_missing // READOUTS_PER_PACKET
        return [
            ("camera", f"{self.rate:.1f}/s", "readouts put together from packets of 32 modules"),
            ("readouts", str(self.out), f"{self.complete} of them with all modules"),
            ("packets missing", str(missing), f"{self.packets_dropped} were dropped on purpose"),
            ("heard", str(self.heard), "readouts that a ZMQ subscriber got, all values compared"),
            ("files", str(self.files), f"HDF5 files registered; {self.archived} archived"),
            *(("trouble", "", trouble) for trouble in self.troubles),
        ]

    def comparisons(self) -> list[Comparison]:
        """What must agree at the end."""
        lost = self.packets_dropped * READOUTS_PER_PACKET
        doubled = self.packets_doubled * READOUTS_PER_PACKET
        return [
            Comparison("camera readouts", self.played, "archived, values right", self.stored),
            Comparison("readouts published", self.published, "heard, values right", self.heard),
            Comparison("readouts sent whole", self.whole, "complete", self.complete),
            Comparison("parts dropped on purpose", lost, "reported missing", self.parts_missing),
            Comparison("parts sent twice", doubled, "recognised", self.parts_doubled),
            Comparison("HDF5 files", self.files, "archived, md5 verified", self.archived),
        ]

    def problems(self) -> list[str]:
        """Why the demo failed, beyond comparisons."""
        found = []
        if self.played == 0:
            found.append("the camera has sent nothing")
        if self.wrong:
            found.append(f"{self.wrong} readouts or files of the camera are not as they were")
        if not self.answers:
            found.append("the slow-signal builder does not answer OCS clients")
        return found

    def sentence(self) -> str:
        """What was achieved, if all is as it must be."""
        return f"{self.played} camera readouts, each value as sent, in {self.files} archived files"

    def as_json(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {**vars(self), "rate": round(self.rate, 1), "troubles": list(self.troubles)}


class CameraPart:
    """The camera, from its packets to archived files.

    Args:
        directory: of the demo.
        environment: of its agents.
        drop, duplicate: fraction of the packets to which this is done on purpose.
    """

    name = "camera"

    def __init__(
        self,
        directory: DemoDirectory,
        environment: Mapping[str, str],
        *,
        drop: float = 0.0,
        duplicate: float = 0.0,
    ) -> None:
        self._directory, self._drop, self._duplicate = directory, drop, duplicate
        self.registering: Mapping[str, str] = {BUILDER: str(directory.camera)}
        self._udp_port = free_port(socket.SOCK_DGRAM)
        self._truth_file = directory.data / "camera.json"
        self._status = Status(lambda: None)
        self._verifier = Verifier(environment, directory.archive, BUILDER)
        self._meter = RateMeter()
        self._subscriber: Subscriber | None = None
        self._stop_writing: Callable[[], Any] = lambda: None
        self._asked_to_stop = False
        self._source: Child | None = None
        self._stored = self._wrong = 0

    def instances(self) -> Sequence[AgentInstance]:
        """The builder."""
        options = [
            ["--udp-port", self._udp_port],
            ["--publish", f"{LOOPBACK}:0"],
            ["--folder", str(self._directory.camera)],
            ["--file-enumerator", "order"],
            ["--filesize-lim", FILE_SIZE],
            ["--buffer-time", BUFFER_TIME],
        ]
        return [AgentInstance("SlowSignalBuilder", BUILDER, options)]

    def prepare(self) -> None:
        """Nothing."""

    def looks(self, site: Site) -> Mapping[str, Callable[[], None]]:
        """The builder's status, its rows, and what it publishes."""
        client = site.client(BUILDER)
        self._status = Status(client.acq.status)
        self._stop_writing = lambda: client.set_writer(enabled=False)
        return {
            "builder": self._status.look,
            "camera-files": self._verifier.look,
            "subscriber": self._listen,
        }

    def _listen(self) -> None:
        publishers = self._status.data.get("publishers")
        if self._subscriber is None and publishers:
            self._subscriber = Subscriber(publishers[0]["endpoint"], self._truth)
        if self._subscriber is not None:
            self._subscriber.look()

    def start(self, child: StartChild) -> None:
        """Have the camera send, once there is somebody to hear of it."""
        options = {
            "--host": LOOPBACK,
            "--port": self._udp_port,
            "--readout-rate": READOUT_RATE,
            "--readouts-per-packet": READOUTS_PER_PACKET,
            "--drop": self._drop,
            "--duplicate": self._duplicate,
            "--truth": self._truth_file,
        }
        words = [str(word) for pair in options.items() for word in pair]
        self._source = child("camera", [sys.executable, "-m", "socs.sim.camera", *words])

    def watch(self) -> None:
        """Nothing is due."""

    def stop(self) -> None:
        """Have the camera end.

        Raises:
            OurError: it ended early.
        """
        assert self._source is not None
        self._source.stop(STOP_TIMEOUT)
        truth = self._truth()
        if truth is None or not truth.finished:
            raise OurError(f"the camera ended early:\n{self._source.output()[-2000:]}")

    def settled(self) -> bool:
        """Whether all readouts are in archived files; has the last file completed."""
        numbers = self.numbers()
        if numbers.out < numbers.played:
            return False
        if not self._asked_to_stop:
            try:
                self._stop_writing()
            except NO_ANSWER:
                return False
            self._asked_to_stop = True
            return False
        counters = self._status.data.get("counters", {})
        return (
            self._status.data.get("writer", "") is None
            and counters.get("readouts_unflushed") == 0
            and counters.get("files_registered", 0) == counters.get("data_files_completed")
            and numbers.files >= counters["files_registered"]
            and numbers.archived + self._verifier.wrong >= numbers.files
            and numbers.heard + numbers.wrong >= numbers.published
        )

    def compare(self) -> None:
        """Read all archived files, and compare each value with the camera's."""
        from socs.slow_signal.store import SSDataReader  # noqa: PLC0415  of an extra

        truth = self._truth()
        assert truth is not None
        walk = Walk(truth.seed, truth.walk)
        seen: set[int] = set()
        for path in sorted(self._directory.archive.rglob("*.hdf5")):
            if "suprsync" in path.parts:
                continue
            try:
                with SSDataReader(path) as reader:
                    readouts = reader.readouts()
            except SocsError:
                self._wrong += 1
                continue
            right = are_right(truth, walk, readouts["tack"], millivolts(readouts))
            seen.update(truth.indices(readouts["tack"])[right].tolist())
            self._wrong += int((~right).sum())
        self._stored = len(seen)

    def numbers(self) -> CameraNumbers:
        """What is known now."""
        truth, data, verifier = self._truth(), self._status.data, self._verifier
        counters, heard = data.get("counters", {}), self._subscriber
        out = counters.get("readouts_out", 0)
        return CameraNumbers(
            played=truth.readouts if truth else 0,
            whole=truth.whole_readouts if truth else 0,
            packets_dropped=truth.total("dropped") if truth else 0,
            packets_doubled=truth.total("duplicated") if truth else 0,
            received=counters.get("datagrams_received", 0),
            out=out,
            complete=counters.get("readouts_complete", 0),
            parts_missing=counters.get("parts_missing", 0),
            parts_doubled=counters.get("parts_duplicate", 0),
            published=max(out - heard.first + 1, 0) if heard and heard.first else 0,
            heard=heard.right if heard else 0,
            wrong=self._wrong + verifier.wrong + (heard.wrong if heard else 0),
            files=verifier.registered,
            verified=verifier.verified,
            archived=verifier.archived,
            stored=self._stored,
            rate=self._meter.rate(out, time.monotonic()),
            troubles=tuple(data.get("troubles", ())),
            answers=self._status.fresh,
        )

    def _truth(self) -> CameraTruth | None:
        """What the camera has done so far."""
        try:
            return read_camera_truth(self._truth_file)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Close the subscriber and the database."""
        if self._subscriber is not None:
            self._subscriber.close()
        self._verifier.close()


class Subscriber:
    """Hears readouts, and compares their values with the camera's.

    Attributes:
        first: number of the first readout heard; 0 before.
        right, wrong: readouts heard.
    """

    def __init__(self, endpoint: str, truth: Callable[[], CameraTruth | None]) -> None:
        from socs.slow_signal.listen import SSReadoutListener  # noqa: PLC0415  of an extra

        ip, _, port = endpoint.rpartition("/")[2].rpartition(":")
        self._truth = truth
        self._walk: Walk | None = None
        self._listener = SSReadoutListener(int(port), ip)
        self._listener.start()
        self.first = self.right = self.wrong = 0

    def look(self) -> None:
        """Take what has come."""
        readouts = self._taken()
        truth = self._truth()
        if not readouts or truth is None:
            return
        if self._walk is None:
            self.first = readouts[0].readout_number
            self._walk = Walk(truth.seed, truth.walk)
        tacks = np.array([each.time for each in readouts], np.uint64)
        right = are_right(truth, self._walk, tacks, np.stack([each.data for each in readouts]))
        self.right += int(right.sum())
        self.wrong += int((~right).sum())

    def _taken(self) -> list[SSReadout]:
        taken: list[SSReadout] = []
        try:
            while (readout := self._listener.get_readout(block=False)) is not None:
                taken.append(readout)
        except queue.Empty:
            pass
        return taken

    def close(self) -> None:
        """End listening."""
        self._listener.close()


def are_right(
    truth: CameraTruth, walk: Walk, tacks: NDArray[np.uint64], data: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which readouts have the camera's values: bool, shape (n,).

    Args:
        truth: of the camera, of any time.
        walk: the camera's.
        tacks: of the readouts, shape (n,).
        data: amplitudes [mV], shape (n, 32, 64); NaN for absent modules.
    """
    away = tacks.astype(np.int64) - truth.first_tack
    equal = truth.counts(tacks, walk) * MV_PER_COUNT == data
    as_sent = (equal | np.isnan(data).all(axis=2, keepdims=True)).all(axis=(1, 2))
    found: NDArray[np.bool_] = as_sent & (away >= 0) & (away % truth.step == 0)
    return found
