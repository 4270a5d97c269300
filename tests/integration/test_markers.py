"""Day-complete markers, with both databases, as a reader downstream finds them."""

import os
import random
import threading
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from socs.archive import markers as module
from socs.archive import timecodes
from socs.archive.markers import LATE, Markers
from socs.archive.paths import SMURF, TIMESTREAMS, file_of, place_of
from socs.archive.storage import STAGING, Storage
from socs.archive.timecodes import TIMECODE, Timecodes
from socs.db import claims, copies
from socs.db import pysmurf_files_manager as files
from socs.db.claims import Archived, Failure
from socs.db.engine import Database
from socs.errors import StorageUnavailable

DAY = 17000
BEGIN, END = DAY * TIMECODE, (DAY + 1) * TIMECODE
LATER = END + 2 * TIMECODE + 7.5  # by then the next timecode is over as well
KEYS = {  # as SupRsync writes them
    "timecode": int,
    "num_files": int,
    "subdirs": list,
    "finalized_at": float,
    "finalized_until": float,
    "archive_name": str,
    "instance_id": str,
}


def read_like_downstream(data_dir: Path) -> list[dict]:
    """All markers, in the way of the data packaging: whatever is there is opened."""
    found = []
    for timecode in sorted(os.listdir(data_dir)):
        assert 0 <= int(timecode) < 100_000
        if "suprsync" not in os.listdir(data_dir / timecode):
            continue
        base = data_dir / timecode / "suprsync"
        for agent in os.listdir(base):
            for name in os.listdir(base / agent):
                with open(base / agent / name) as file:
                    info = yaml.safe_load(file)
                for subdir in info["subdirs"]:
                    assert subdir != "suprsync"
                assert info["archive_name"] in ("smurf", "timestreams")
                found.append(info)
        for stream_id in os.listdir(data_dir / timecode):
            os.listdir(data_dir / timecode / stream_id)  # directories, all of them
    return found


class Site:
    """An archive with its tables, and an archiver that works without copying."""

    def __init__(self, tmp_path: Path, database: Database) -> None:
        self.database = database
        self.data_dir = tmp_path / "archive"
        self.data_dir.mkdir()
        self.storage = Storage(self.data_dir, "archiver")
        self.markers = self.restarted()

    def restarted(self, **settings) -> Markers:
        return Markers(self.storage, self.database, ["monitor"], 5, **settings)

    def register(self, number: int = 1, **values) -> None:
        row = {
            "action": "tune",
            "timestamp": files.utc_text(BEGIN + 50.0),
            "action_timestamp": BEGIN + 40,
            "plot": False,
            "pub_id": "crate1slot2",
            "instance_id": "monitor",
            "copied": False,
            "failed_copy_attempts": 0,
            "md5sum": bytes(16),
        } | values
        with self.database.begin() as connection:
            for n in range(number):
                row["path"] = values.get("path", f"/data/{n}.npy")
                files.add_entries(connection, [files.row_of(row)])

    def register_stream(self, stream_id: str = "ufm_mv1", name: str = "0.g3", **values) -> None:
        path = f"/data/timestreams/{DAY}/{stream_id}/{name}"
        self.register(action="timestreams", path=path, **values)

    def archive(self) -> list[str]:
        """Archive all that is to be; the paths."""
        archived = []
        with self.database.begin() as connection:
            rows = claims.claim(
                *(connection, "archiver", ["monitor", "another"]),
                **{"limit": 10**6, "now": 1e10, "until": 2e10, "max_attempts": 5},
            )
            places = [place_of(file_of(row)) for row in rows]
            for row, place in zip(rows, places, strict=True):
                path = Path(self.storage.path(place, row["id"]))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                archived.append(Archived(row["id"], str(path), 0))
            claims.settle(connection, "archiver", archived, [], 1e10)
        for place in places:
            self.markers.touched(place.timecode, place.archive_name)
        return [item.path for item in archived]

    def set_state(self, state: str, **values) -> None:
        """The last row that was registered comes into ``state``."""
        with self.database.begin() as connection:
            newest = connection.execute(sa.select(sa.func.max(files.table.c.id))).scalar()
            values = {"file_id": newest, "state": state} | values
            connection.execute(copies.table.insert(), [values])

    def read(self) -> list[dict]:
        return read_like_downstream(self.data_dir)


@pytest.fixture
def site(tmp_path, files_env):
    database = Database(files_env)
    copies.create_table(database)
    yield Site(tmp_path, database)
    database.close()


def test_a_complete_day_is_told_as_suprsync_tells_it(site):
    site.register(3)
    site.register(2, pub_id="crate1slot3", plot=True)
    site.archive()
    (marker,) = site.markers.update(LATER)
    (read,) = site.read()
    assert {key: type(read[key]) for key in KEYS} == KEYS
    assert read == {
        "timecode": DAY,
        "num_files": 5,
        "subdirs": ["crate1slot2", "crate1slot3"],
        "finalized_at": LATER,
        "finalized_until": LATER,
        "archive_name": "smurf",
        "instance_id": "archiver",
        "not_archived": 0,
    }
    name = f"{int(LATER)}_smurf_{DAY}_finalized.yaml"
    path = site.data_dir / str(int(LATER // TIMECODE)) / "suprsync" / "archiver" / name
    assert path.is_file()
    assert path.stat().st_mode & 0o777 == 0o664
    assert marker.name == name
    assert not (site.data_dir / str(DAY) / f"{STAGING}archiver").exists()


def test_archives_are_told_apart(site):
    site.register(2)
    site.register_stream("ufm_mv1")
    site.register_stream("ufm_mv2")
    site.register_stream("ufm_mv2", "1.g3")
    site.archive()
    site.markers.update(LATER)
    told = {info["archive_name"]: (info["num_files"], info["subdirs"]) for info in site.read()}
    assert told == {SMURF: (2, ["crate1slot2"]), TIMESTREAMS: (3, ["ufm_mv1", "ufm_mv2"])}


def test_files_of_one_archive_do_not_hold_back_the_other(site):
    site.register()
    site.register_stream()
    site.archive()
    site.register_stream("late", timestamp=files.utc_text(LATER - 10))
    site.markers.update(LATER)
    until = {info["archive_name"]: info["finalized_until"] for info in site.read()}
    assert until[SMURF] == LATER
    assert until.get(TIMESTREAMS, LATER - 11) == LATER - 11


def test_a_day_is_told_early_when_the_next_has_files(site):
    site.register()
    site.archive()
    assert site.markers.update(END + LATE) == []
    site.storage.directory(str(DAY + 1), "suprsync", "another")  # a marker is no file of that day
    site.storage.staging(str(DAY + 1))
    assert site.markers.update(END + LATE) == []
    site.register(timestamp=files.utc_text(END + 1.0))
    site.archive()
    assert site.markers.update(END + LATE - 1) == []
    assert [marker.timecode for marker in site.markers.update(END + LATE)] == [DAY]


def test_nobody_asks_the_tables_about_a_day_that_lasts(site):
    site.register()
    site.archive()
    assert site.markers.update(END - 1) == []
    with site.database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE socs_copies_v1")
    assert site.markers.update(END) == []
    with pytest.raises(StorageUnavailable):
        site.markers.update(LATER)


ON_THEIR_WAY = [None, copies.COPYING, copies.WAITING]


@pytest.mark.parametrize("state", ON_THEIR_WAY)
def test_files_on_their_way_hold_up_their_day_and_archive(site, state):
    site.register(2)
    site.register_stream()
    site.archive()
    site.register(pub_id="last", failed_copy_attempts=4)
    if state:
        site.set_state(state, due=0.0)
    assert [marker.archive_name for marker in site.markers.update(LATER)] == [TIMESTREAMS]
    assert site.markers.update(LATER + 60) == []
    site.archive()
    (marker,) = site.markers.update(LATER + 120)
    assert (marker.num_files, marker.subdirs) == (3, ["crate1slot2", "last"])


def test_files_of_other_days_or_agents_hold_up_nothing(site):
    site.register(2)
    site.archive()
    for timestamp in (BEGIN - 1e-6, END):
        site.register(timestamp=files.utc_text(timestamp))
    site.register(instance_id="another")
    (marker,) = site.markers.update(LATER)
    assert marker.finalized_until == pytest.approx(BEGIN - 1 - 1e-6, abs=1e-6)


def test_files_of_other_agents_are_told_by_other_archivers(site):
    site.register(2)
    site.register(3, instance_id="another", pub_id="theirs")
    site.archive()
    (marker,) = site.markers.update(LATER)
    assert (marker.num_files, marker.subdirs) == (2, ["crate1slot2"])


@pytest.mark.parametrize("state", [*copies.AT_REST, copies.IGNORED, "given up"])
def test_files_at_rest_hold_up_nothing_and_are_counted(site, state):
    site.register(2)
    site.archive()
    site.register(failed_copy_attempts=5)
    if state in copies.STATES:
        site.set_state(state)
    site.markers.update(LATER)
    (read,) = site.read()
    assert (read["num_files"], read["not_archived"]) == (2, 1)


def test_late_files_make_a_new_marker_and_nothing_else_does(site):
    site.register()
    site.archive()
    assert len(site.markers.update(LATER)) == 1
    assert site.markers.update(LATER + 60) == []
    site.markers.touched(str(DAY), SMURF)  # adopted: there is nothing new
    assert site.markers.update(LATER + 120) == []
    site.register(2)
    site.archive()
    (marker,) = site.markers.update(LATER + 180)
    assert marker.num_files == 3
    assert sorted(info["num_files"] for info in site.read()) == [1, 3]


def test_a_restart_repeats_nothing(site):
    site.register(2)
    site.register_stream()
    site.archive()
    site.markers.update(LATER)
    before = sorted(site.data_dir.rglob("*.yaml"))
    assert len(before) == 2
    assert site.restarted().update(LATER + 60) == []
    assert sorted(site.data_dir.rglob("*.yaml")) == before


def test_a_restart_makes_up_for_what_was_not_told(site):
    site.register(2)
    site.archive()
    site.markers.update(LATER)
    site.register()
    site.register_stream()
    site.archive()  # and killed
    told = {marker.archive_name: marker.num_files for marker in site.restarted().update(LATER + 60)}
    assert told == {SMURF: 3, TIMESTREAMS: 1}
    assert site.restarted().update(LATER + 120) == []


def test_a_restart_leaves_days_long_past_alone(site):
    site.register()
    site.archive()
    long_after = END + module.LOOK_BACK * TIMECODE
    assert site.restarted().update(long_after) == []
    assert len(site.restarted().update(long_after - TIMECODE)) == 1


def test_an_archiver_tells_of_its_own_archive_only(site):
    site.register()
    site.register_stream()
    site.archive()
    markers = site.restarted(archive_names=[TIMESTREAMS])
    markers.touched(str(DAY), SMURF)
    (marker,) = markers.update(LATER)
    assert marker.archive_name == TIMESTREAMS


def test_nothing_is_opened_for_writing_where_readers_look(site, monkeypatch):
    opened = []

    def spy(path, mode="r", **kwargs):
        if mode != "r":
            opened.append(Path(path))
            assert site.read() == []
        return open(path, mode, **kwargs)

    monkeypatch.setattr(module, "open", spy, raising=False)
    site.register()
    site.archive()
    assert len(site.markers.update(LATER)) == 1
    (path,) = opened
    assert path.parent.name == f"{STAGING}archiver"
    assert path.parent.parent.name == str(DAY)
    assert not path.exists()


def test_a_reader_never_meets_half_a_marker(site):
    days = 60
    for day in range(days):
        when = BEGIN - day * TIMECODE
        site.register(timestamp=files.utc_text(when + 1.0), pub_id=f"crate{day}" * 20)
        part = Path(site.storage.staging(str(DAY - day))) / "part-1-2-ab"
        part.write_bytes(b"\0" * 100)  # what a copier has at work
    site.archive()
    failures, seen = [], []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(len(site.read()))
            except Exception as error:
                failures.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        told = 0
        for minute in range(days):
            told += len(site.markers.update(LATER + 60 * minute))
    finally:
        done.set()
        reader.join()
    assert failures == []
    assert told == days == len(site.read())
    assert seen == sorted(seen)


def test_what_stands_in_the_way_is_named_and_the_day_is_told_later(site):
    site.register()
    site.archive()
    blocked = site.data_dir / str(int(LATER // TIMECODE)) / "suprsync"
    blocked.parent.mkdir()
    blocked.touch()
    with pytest.raises(StorageUnavailable, match=str(blocked)):
        site.markers.update(LATER)
    blocked.unlink()
    assert len(site.markers.update(LATER)) == 1


def test_without_the_archive_nothing_is_forgotten(site):
    site.register()
    site.archive()
    away = site.data_dir.rename(site.data_dir.with_name("away"))
    with pytest.raises(StorageUnavailable, match=str(site.data_dir)):
        site.markers.update(LATER)
    away.rename(site.data_dir)
    assert len(site.markers.update(LATER)) == 1


def test_a_marker_that_somebody_broke_is_written_again(site):
    site.register()
    site.archive()
    site.markers.update(LATER)
    (path,) = site.data_dir.rglob("*.yaml")
    path.write_text("[nonsense")
    assert len(site.restarted().update(LATER + 60)) == 1


@pytest.mark.parametrize(
    "name", ["yes", "017", "1e3", "a: b", "- a", "ü\N{GRINNING FACE}", "a b\n", "#", "'\"", "~"]
)
def test_any_name_of_a_publisher_reaches_the_reader(site, name):
    site.register(pub_id=name)
    site.archive()
    site.markers.update(LATER)
    (read,) = site.read()
    assert read["subdirs"] == [name]


def odd_row(chance: random.Random) -> dict:
    """A row as other programs may have written it."""
    number = chance.randrange(10**6)
    when = BEGIN + chance.choice([-1, 0, 1, TIMECODE - 1, TIMECODE, 2 * TIMECODE])
    paths = [
        f"/data/{number}.npy",
        f"/data/{when}_{number}.txt",
        f"/data/timestreams/{when // TIMECODE}/stream/{number}.g3",
        f"/data/{DAY}/{DAY}//stream/./{number}",
        f"/data/{DAY}/./{number}",
        f"{DAY}/stream/.{number}\n",
        f"/data/stream/{number}.g3",
        f"/data/abcde/stream/{number}.g3",
        f"/data/{DAY}/outputs/deep/{number}",
    ]
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    times = [None, when, when + 0.5, 0, 10**9 - 1, 10**9, 10**10 - 1, 10**10]
    seconds = chance.choice(times)
    moment = None if seconds is None else epoch + timedelta(seconds=seconds)
    return {
        "path": chance.choice(paths),
        "action": chance.choice([None, "tune", "timestreams"]),
        "timestamp": moment and moment.replace(tzinfo=None).isoformat(" ", "microseconds"),
        "action_timestamp": chance.choice([None, when, 0, -(10**15)]),
        "pub_id": chance.choice([None, "crate1slot2"]),
    }


def test_no_row_that_belongs_into_a_day_is_overlooked(site, monkeypatch):
    monkeypatch.setattr(timecodes, "PAGE", 7)
    chance = random.Random(1)
    for _ in range(300):
        site.register(**odd_row(chance), failed_copy_attempts=chance.choice([0, 1, 4, 5, 7]))
    tables = Timecodes(str(site.data_dir), ["monitor"], 5)
    with site.database.read() as connection:
        awaited: dict[str, set[str]] = {}
        at_rest: dict[str, Counter] = {}
        for row in connection.execute(sa.select(files.table)).mappings():
            place = place_of(file_of(row))
            names = awaited.setdefault(place.timecode, set())
            left = at_rest.setdefault(place.timecode, Counter())
            if row["failed_copy_attempts"] >= 5:
                left[place.archive_name] += 1
            else:
                names.add(place.archive_name)
        assert len(awaited) > 5
        for timecode, names in awaited.items():
            for name in (SMURF, TIMESTREAMS):
                assert tables.awaits(connection, timecode, name) == (name in names)
                assert tables.at_rest(connection, timecode, name) == at_rest[timecode][name]


def test_all_rows_at_rest_are_counted_page_by_page(site, monkeypatch):
    monkeypatch.setattr(timecodes, "PAGE", 3)
    site.register(7, failed_copy_attempts=5)
    site.register_stream(failed_copy_attempts=5)
    tables = Timecodes(str(site.data_dir), ["monitor"], 5)
    with site.database.read() as connection:
        assert tables.at_rest(connection, str(DAY), SMURF) == 7
        assert tables.at_rest(connection, str(DAY), TIMESTREAMS) == 1
        assert tables.at_rest(connection, str(DAY + 1), SMURF) == 0
        assert not tables.awaits(connection, str(DAY), SMURF)


def test_what_lies_there_without_having_been_copied_is_not_told(site):
    site.register()
    site.archive()
    path = f"{site.data_dir}/{DAY}/somebody/1_x/outputs/file"
    site.register(path=path, failed_copy_attempts=5)
    (marker,) = site.markers.update(LATER)
    assert (marker.num_files, marker.subdirs) == (1, ["crate1slot2"])


def test_files_that_failed_in_the_end_are_told_as_such(site):
    site.register(3)
    with site.database.begin() as connection:
        rows = claims.claim(
            *(connection, "archiver", ["monitor"]),
            **{"limit": 9, "now": LATER, "until": LATER + 300, "max_attempts": 5},
        )
        gone = [Failure(rows[0]["id"], copies.MISSING, 5, "attempts_missing", "it is gone")]
        wait = [Failure(rows[1]["id"], copies.WAITING, 1, "attempts_missing", "", due=LATER + 9)]
        path = site.storage.path(place_of(file_of(rows[2])))
        claims.settle(
            connection, "archiver", [Archived(rows[2]["id"], path, 1)], [*gone, *wait], LATER
        )
    site.markers.touched(str(DAY), SMURF)
    assert site.markers.update(LATER) == []
    with site.database.begin() as connection:
        connection.execute(
            copies.table.update()
            .where(copies.table.c.state == copies.WAITING)
            .values(state=copies.FAILED)
        )
    (marker,) = site.markers.update(LATER + 60)
    assert (marker.num_files, marker.not_archived) == (1, 2)
