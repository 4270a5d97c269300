"""Snapshots: all that was known is known again; a damaged file is passed over, never believed."""

import os
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socs.db.finished_files import FinishedFiles
from socs.db.spool import Spool
from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.store import finishing, snapshot_file
from socs.epics.store.snapshots import KIND, Snapshots, SnapshotSettings, gather, take_up
from socs.epics.store.statistics import DailyStatistics, StatisticsSettings
from socs.epics.store.trackers import Trackers
from socs.epics.track.hosts import Expected
from socs.errors import ConfigError, FileNotReady, Malformed, StorageUnavailable
from socs.part_files import part_of
from tests.epics_packets import address
from tests.epics_servers import T0
from tests.unit.epics.test_applications import World

A = address("10.0.0.2")


def tracked(world: World, sources: int = 50) -> tuple[Inventory, Trackers]:
    inventory = Inventory(InventoryLimits(names=50, sources=sources), secret=3)
    return inventory, Trackers(world.beacons, world.apps, world.hosts, inventory.sources)


def lived() -> tuple[World, Inventory, Trackers]:
    """A world in which things happened."""
    world = World()
    inventory, state = tracked(world)
    for step in range(5):
        world.beat(T0 + 30 * step, step + 1)
        world.beat(T0 + 30 * step, step + 1, name="other.cmd", port=5070)
        world.alive(T0 + 15 * step, step + 1)
    world.beat(T0 + 150, 1, pid=200, up=0)
    world.hosts.expected[A] = Expected(frozenset({"json:1"}))
    world.judge(T0 + 1000)
    world.tick(T0 + 1000)
    keys = np.array([1 << 16 | 5, 2 << 16 | 6], np.uint64)
    numbers = inventory.sources.numbers(keys, T0)
    amounts = np.array([7, 2**40])
    inventory.sources.add(numbers, amounts, amounts + 1, amounts - 1, T0 + 9)
    return world, inventory, state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


def simple(value: int) -> dict[str, np.ndarray]:
    return {"value": np.full(1000, value), "time": np.array([T0])}


def value_of(columns) -> int:
    return int(columns["value"][0])


def test_all_is_known_again(folder: Path) -> None:
    world, inventory, state = lived()
    snapshots = Snapshots(SnapshotSettings(folder))
    assert snapshots.write(gather(inventory, state, T0 + 1000), T0 + 1000)
    later = World()
    into, again = tracked(later)
    assert snapshots.restore(lambda columns: take_up(columns, into, again)) == T0 + 1000
    assert repr(list(map(vars, later.apps.known.values()))) == repr(
        list(map(vars, world.apps.known.values()))
    )
    assert len(later.apps.known) == 3
    assert later.hosts.told == world.hosts.told != {}
    for name in ("keys", "first", "last", "datagrams", "requests", "invalid", "classed"):
        old = getattr(inventory.sources, name)[: inventory.sources.end]
        assert getattr(into.sources, name)[: into.sources.end].tolist() == old.tolist()


@pytest.mark.parametrize(
    ("number", "kinds"), [(20, []), (0, ["RESTARTED"])], ids=["same start", "restarted meanwhile"]
)
def test_servers_and_what_comes_next(number: int, kinds: list[str]) -> None:
    """A server that restarted while we were away is told, one that did not is not."""
    world = World()
    world.run(T0, T0 + 150)
    inventory, state = tracked(world)
    columns = gather(inventory, state, T0 + 150)
    later = World(since=T0 + 180)
    into, again = tracked(later)
    take_up(columns, into, again)
    (before,), (after,) = world.beacons.servers.values(), later.beacons.servers.values()
    assert repr(vars(after)) == repr(vars(before))
    assert after.state == "ALIVE"
    assert later.tick(T0 + 181) == []
    assert later.beacon(number, T0 + 20.46 + 15 * 11 + 1) == kinds


def inventory_of() -> Inventory:
    return Inventory(InventoryLimits(names=50), secret=4)


def test_what_is_known_again_is_no_event(folder: Path) -> None:
    world, inventory, state = lived()
    columns = gather(inventory, state, T0 + 160)
    later = World()
    _, again = tracked(later)
    take_up(columns, inventory_of(), again)
    later.sight.blind(T0 + 150, T0 + 1000)
    for app in world.apps.known.values():
        assert later.apps.known[app.key].state == app.state
    assert later.tick(T0 + 1001) == []


def test_sources_beyond_the_room_are_left_out() -> None:
    _, inventory, state = lived()
    _, small = tracked(World(), sources=1)
    take_up(gather(inventory, state, T0), inventory_of(), small)
    assert len(small.sources) == 1


# -- files ----------------------------------------------------------------------------------------


def test_the_newest_is_taken_and_the_last_ones_stay(folder: Path) -> None:
    snapshots = Snapshots(SnapshotSettings(folder, keep=3, period=10))
    for n in range(5):
        assert snapshots.due(T0 + 10 * n)
        assert snapshots.write(simple(n), T0 + 10 * n)
        assert not snapshots.due(T0 + 10 * n + 9)
        assert snapshots.restore(value_of) == n
    assert snapshots.due(T0), "the clock was set back"
    assert len(os.listdir(folder)) == 3
    assert snapshots.counters["state_files_written"] == 5
    assert snapshots.counters["state_files_removed"] == 2


def test_two_in_one_second_have_their_order(folder: Path) -> None:
    snapshots = Snapshots(SnapshotSettings(folder, keep=20))
    for n in range(12):
        snapshots.write(simple(n), T0)
    assert snapshots.restore(value_of) == 11


def test_snapshots_of_a_clock_that_was_ahead_are_the_last_ones(folder: Path) -> None:
    """They neither come back at each start, nor take the place of those that are written now."""
    snapshots = Snapshots(SnapshotSettings(folder, keep=3, period=10))
    year = 365 * 86_400.0
    for n in range(3):
        snapshots.write(simple(n), T0 + year + n)
    assert snapshots.restore(value_of, T0) == 2, "there is nothing better"
    for n in range(3, 6):
        assert snapshots.write(simple(n), T0 + n)
        assert snapshots.restore(value_of, T0 + n) == n
    assert snapshots.restore(value_of, T0 - 1.0) == 5, "the clock was set back a little"
    assert len(snapshots.paths()) == 3


def test_no_snapshot_is_none(folder: Path) -> None:
    assert Snapshots(SnapshotSettings(folder)).restore(value_of) is None
    with pytest.raises(FileNotReady):
        snapshot_file.read(folder / "none.npz")


def spoil(data: bytes, how: str) -> bytes:
    middle = len(data) // 2
    return {
        "cut": data[:middle],
        "empty": b"",
        "zeros": data[: middle - 50] + bytes(100) + data[middle + 50 :],
        "end": data[:-1],
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "other": b"not a snapshot at all" * 100,
    }[how]


@pytest.mark.parametrize("how", ["cut", "empty", "zeros", "end", "flipped", "other"])
def test_damaged_snapshot_is_passed_over(folder: Path, how: str) -> None:
    lines: list[str] = []
    snapshots = Snapshots(SnapshotSettings(folder), report=lines.append)
    rng = np.random.default_rng(1)
    for n in range(2):
        columns = simple(n) | {"noise": rng.integers(0, 255, 10_000).astype(np.uint8)}
        snapshots.write(columns, T0 + n)
    newest = snapshots.paths()[0]
    newest.write_bytes(spoil(newest.read_bytes(), how))
    assert snapshots.restore(value_of) == 0
    assert snapshots.counters["state_files_damaged"] == 1
    assert "passed over" in lines[0]


def test_any_changed_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Each byte of a small file, changed: the same columns come back, or none."""
    path = tmp_path / "x.npz"
    columns = {"value": np.arange(20), "text": np.array(["a", "bc"])}
    snapshot_file.write(path, columns)
    data = path.read_bytes()
    noticed = 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            found = snapshot_file.read(path)
        except Malformed:
            noticed += 1
            continue
        for name in columns.keys() & found.keys():
            assert found[name].tolist() == columns[name].tolist()
    assert noticed > len(data) // 2


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.randoms(use_true_random=False))
def test_any_bytes_are_trackers_or_malformed(extra: bytes, random: random.Random) -> None:
    _, inventory, state = lived()
    columns = gather(inventory, state, T0)
    octets = bytearray(columns["trackers"].tobytes())
    for _ in range(random.randrange(4)):
        octets[random.randrange(len(octets))] = random.randrange(256)
    into, again = tracked(World())
    data = random.choice([bytes(octets), bytes(octets) + extra, extra, bytes(octets[:99])])
    columns["trackers"] = np.frombuffer(data, np.uint8)
    with suppress(Malformed):
        take_up(columns, into, again)


@pytest.mark.parametrize("missing", ["trackers", "time", "names", "asked"])
def test_snapshot_without_a_column_does_not_fit(missing: str) -> None:
    _, inventory, state = lived()
    columns = gather(inventory, state, T0)
    del columns[missing]
    with pytest.raises(Malformed):
        take_up(columns, *tracked(World()))


@pytest.mark.parametrize("value", [np.int64(-5), np.uint8(200), np.float64(np.nan), 1j, b"ONLINE"])
def test_states_that_are_none_do_not_fit(value: object) -> None:
    _, inventory, state = lived()
    assert inventory.names.add(b"A:B") >= 0
    columns = gather(inventory, state, T0)
    take_up(columns, *tracked(World()))
    columns["state"] = np.full(columns["state"].shape, value)
    with pytest.raises(Malformed):
        take_up(columns, *tracked(World()))


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", evil=np.array([{}], object))
    with pytest.raises(Malformed, match="pickle"):
        snapshot_file.read(tmp_path / "x.npz")


# -- handing over ---------------------------------------------------------------------------------


def test_each_file_is_registered_once_whatever_crashes(folder: Path, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    files = FinishedFiles(spool, KIND)

    def die(file) -> None:
        files.finished(file)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Snapshots(SnapshotSettings(folder), on_finished=die).write(simple(1), T0)
    (path,) = Snapshots(SnapshotSettings(folder)).paths()
    assert part_of(path).exists()
    again = Snapshots(
        SnapshotSettings(folder),
        on_finished=files.finished,
        on_settled=lambda file: files.settled(),
    )
    assert again.recover()
    assert again.counters["state_files_recovered"] == 1
    assert not part_of(path).exists()
    assert spool.paths() == {str(path)}
    assert sum(spool.counts().values()) == 1
    assert spool.streams() == {}
    spool.close()


def test_refused_file_is_handed_over_later_and_unfinished_ones_go(folder: Path) -> None:
    told: list[str] = []
    willing = False

    def tell(file) -> None:
        if not willing:
            raise StorageUnavailable("spool full")
        told.append(Path(file.path).name)

    lines: list[str] = []
    snapshots = Snapshots(SnapshotSettings(folder), on_finished=tell, report=lines.append)
    assert not snapshots.write(simple(1), T0)
    assert snapshots.problem == "spool full"
    assert snapshots.counters["state_file_errors"] == 1
    (folder / "epics-snapshot-20200101T000000Z.0.npz.part").write_bytes(b"PK half of it")
    willing = True
    assert snapshots.write(simple(2), T0 + 1)
    assert snapshots.problem is None
    assert told == [
        "epics-snapshot-20231114T221320Z.0.npz",
        "epics-snapshot-20231114T221321Z.0.npz",
    ]
    assert sorted(os.listdir(folder)) == told
    assert len(lines) == 1


def test_full_disk_is_a_problem_and_leaves_no_snapshot(folder: Path, monkeypatch) -> None:
    def fail(file) -> None:
        raise OSError(28, "No space left on device")

    snapshots = Snapshots(SnapshotSettings(folder))
    snapshots.write(simple(1), T0)
    monkeypatch.setattr(snapshot_file.os, "fsync", fail)
    assert not snapshots.write(simple(2), T0 + 1)
    assert "No space left" in snapshots.problem
    assert snapshots.restore(value_of) == 1


def test_a_file_server_that_is_gone_is_a_problem(folder: Path, monkeypatch) -> None:
    """It refuses also the question whether a file is there."""

    def fail(path: Path) -> bool:
        raise OSError(116, "Stale file handle")

    snapshots = Snapshots(SnapshotSettings(folder))
    statistics = DailyStatistics(StatisticsSettings(folder))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", fail)
        assert not snapshots.write(simple(1), T0)
        assert not statistics.add({"a": 1}, T0)
    assert "Stale" in snapshots.problem
    assert "Stale" in statistics.problem
    assert snapshots.write(simple(2), T0 + 1)
    assert statistics.add({"a": 1}, T0 + 60)
    statistics.close()
    assert (snapshots.problem, statistics.problem) == (None, None)


def test_file_system_without_links(folder: Path, monkeypatch) -> None:
    def refuse(source, target) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(finishing.os, "link", refuse)
    snapshots = Snapshots(SnapshotSettings(folder))
    assert snapshots.write(simple(3), T0)
    assert snapshots.restore(value_of) == 3
    assert len(os.listdir(folder)) == 1


@pytest.mark.parametrize("wrong", [{"prefix": "../x"}, {"period": 0.0}, {"keep": 0}])
def test_settings_that_cannot_be_meant(wrong, folder: Path) -> None:
    with pytest.raises(ConfigError):
        SnapshotSettings(folder, **wrong)
