"""Files of lines, whatever kills their writers: no whole line is lost or doubled, none is torn,
and each file is registered once."""

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from socs.attempts import RETRY
from socs.counters import TANGO_FILES, Counters
from socs.db.finished_files import FinishedFiles
from socs.db.spool import Spool
from socs.errors import StorageUnavailable
from socs.problems import Problems
from socs.tango.store.series import KIND, LinesSeries, SeriesSettings

NOW = 1_800_000_000.0
STEPS = st.one_of(
    st.integers(0, 60).map(lambda size: ("append", size)),
    st.sampled_from(["rotate", "tick", "hours", "refuse", "accept"]).map(lambda name: (name, 0)),
    st.integers(0, 30).map(lambda torn: ("kill", torn)),
    st.sampled_from(["before", "after"]).map(lambda when: ("kill when told", when)),
)


class Killed(BaseException):
    """As SIGKILL: nothing here catches it."""


class World:
    """A folder, a spool, and the writers that come and go."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "files"
        self.spool = Spool(directory / "spool")
        self.files = FinishedFiles(self.spool, KIND, clock=lambda: NOW)
        self.written: list[int] = []
        self.time = 0.0
        self.refuses = False
        self.dies = ""
        self.torn = 0
        self.begin()

    def begin(self) -> None:
        self.counters = Counters(TANGO_FILES)
        self.series = LinesSeries(
            SeriesSettings(self.folder, max_bytes=150, max_age=3600.0),
            counters=self.counters,
            on_finished=self.take,
            on_settled=lambda file: self.files.settled(),
            problems=Problems(lambda text: None),
            clock=lambda: NOW + int(self.time),
        )

    def take(self, file) -> None:
        if self.refuses:
            raise StorageUnavailable("no room")
        if self.dies == "before":
            raise Killed
        self.files.finished(file)
        if self.dies == "after":
            raise Killed

    def do(self, step) -> None:
        name, value = step
        self.time += 2 * RETRY
        if name == "append":
            number = len(self.written)
            line = json.dumps({"number": number, "more": "x" * value}).encode()
            assert self.series.append(line, self.time)
            self.written.append(number)
        elif name == "rotate":
            self.series.rotate()
        elif name == "tick":
            self.series.tick(self.time)
        elif name == "hours":
            self.time += 3600.0
            self.series.tick(self.time)
        elif name in ("refuse", "accept"):
            self.refuses = name == "refuse"
        elif name == "kill":
            self.kill(value)
        else:
            self.dies = value
            self.series.rotate()
            try:
                self.series.tick(self.time)
            except Killed:
                self.kill(0)
            self.dies = ""

    def kill(self, torn: int) -> None:
        current = self.series._current
        if current is not None and torn:
            with current.path.open("ab") as file:
                file.write(b'{"number": -1, "more": "torn by SIGKILL"'[:torn])
            self.torn += 1
        for file in (current, *self.series._ended):
            if file is not None:
                file.close()
        self.torn -= self.counters["lines_torn"]
        self.begin()

    def end(self) -> None:
        self.refuses = False
        self.series.tick(self.time + RETRY)
        self.series.close(self.time + 2 * RETRY)


@given(st.lists(STEPS, max_size=25))
def test_no_whole_line_is_lost_or_doubled(steps) -> None:
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        try:
            for step in steps:
                world.do(step)
            world.end()
            found = sorted(world.folder.glob("*")) if world.folder.exists() else []
            assert all(path.suffix == ".jsonl" for path in found)
            lines = [line for path in found for line in path.read_bytes().splitlines()]
            assert sorted(json.loads(line)["number"] for line in lines) == world.written
            assert all(path.read_bytes().endswith(b"\n") for path in found)
            entries = world.spool.take(1000, now=NOW + 1, received_before=NOW + 1)
            assert sorted(entry.file.path for entry in entries) == [str(path) for path in found]
            assert world.spool.streams() == {}
            assert world.torn == world.counters["lines_torn"]
        finally:
            world.spool.close()
