"""The directory of the archive: nothing is replaced, nothing lost, and no name is half a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from socs.archive import storage as storage_module
from socs.archive.paths import Place
from socs.archive.storage import NOT_PLACED, Storage
from socs.db.fingerprint import SMALL
from socs.errors import FileNotReady, StorageUnavailable

RENAME = storage_module._rename
PLACE = Place("15687", "crate1/1568700001_take_iv/outputs", "iv 'x'\n😀.npy")


def md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    (tmp_path / "archive").mkdir()
    return Storage(tmp_path / "archive", "archiver")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def staged(storage: Storage, data: bytes, name: str = "part-1") -> str:
    part = f"{storage.staging(PLACE.timecode)}/{name}"
    Path(part).write_bytes(data)
    return part


def put(storage: Storage, data: bytes, place: Place = PLACE) -> str:
    part = staged(storage, data)
    path = storage.put(part, place, md5(data))
    assert not os.path.lexists(part)
    return path


def files(storage: Storage) -> dict[str, bytes]:
    """All files of the archive, by their relative paths."""
    root = Path(storage.data_dir)
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def raising(number: int) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    return fail


# -- names ----------------------------------------------------------------------------------------


def test_a_copy_gets_its_name(storage: Storage) -> None:
    path = put(storage, b"data")
    assert path == f"{storage.data_dir}/{PLACE.path()}" == storage.path(PLACE)
    assert files(storage) == {PLACE.path(): b"data"}
    assert storage.find(PLACE, md5(b"data")) == (path, 4)


def test_other_contents_get_a_number(storage: Storage) -> None:
    contents = [b"one", b"two", b"other length", b""]
    paths = [put(storage, data) for data in contents]
    assert paths == [storage.path(PLACE, number) for number in range(4)]
    assert paths[2].endswith(".npy.2")
    assert files(storage) == {PLACE.path(n): data for n, data in enumerate(contents)}
    for path, data in zip(paths, contents, strict=True):
        assert storage.find(PLACE, md5(data)) == (path, len(data))
        assert storage.find(PLACE, md5(data), len(data)) == (path, len(data))
    assert storage.find(PLACE, md5(b"fourth")) is None


def test_the_same_contents_are_adopted_under_whatever_number(storage: Storage) -> None:
    paths = [put(storage, data) for data in (b"one", b"two")]
    before = os.stat(paths[1]).st_ino
    assert put(storage, b"two") == paths[1]
    assert os.stat(paths[1]).st_ino == before
    assert len(files(storage)) == 2


def test_a_name_that_a_killed_archiver_gave_is_found_again(storage: Storage) -> None:
    """Killed between giving the name and taking the temporary one away."""
    part = staged(storage, b"data")
    path = Path(storage.path(PLACE))
    path.parent.mkdir(parents=True)
    os.link(part, path)
    assert storage.find(PLACE, md5(b"data")) == (str(path), 4)
    assert put(storage, b"data") == str(path)
    assert files(storage) == {PLACE.path(): b"data"}


def test_nothing_is_found_where_nothing_is(storage: Storage) -> None:
    assert storage.find(PLACE, md5(b"data")) is None
    assert os.listdir(storage.data_dir) == []


def test_there_is_a_last_number(storage: Storage, monkeypatch) -> None:
    monkeypatch.setattr(storage_module, "MOST_OF_ONE_NAME", 3)
    for number in range(3):
        put(storage, b"%d" % number)
    assert storage.find(PLACE, md5(b"2")) == (storage.path(PLACE, 2), 1)
    with pytest.raises(FileNotReady, match="3 other files have the name") as caught:
        put(storage, b"3")
    assert caught.value.cause == NOT_PLACED
    assert storage.find(PLACE, md5(b"3")) is None
    assert files(storage).keys() == {
        *(PLACE.path(number) for number in range(3)),
        "15687/.suprsync-archiver/part-1",
    }


# -- what else may be there -----------------------------------------------------------------------


def make_link(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(b"data")
    path.symlink_to("elsewhere")


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


THINGS: dict[str, Callable[[Path], object]] = {
    "link": make_link,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "directory": Path.mkdir,
    "pipe": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("data", [b"data", b""])
@pytest.mark.parametrize("thing", THINGS)
def test_what_is_no_file_keeps_its_name(storage: Storage, thing: str, data: bytes) -> None:
    path = Path(storage.path(PLACE))
    path.parent.mkdir(parents=True)
    THINGS[thing](path)
    before = path.lstat()
    assert storage.find(PLACE, md5(data)) is None
    assert put(storage, data) == storage.path(PLACE, 1)
    assert storage.find(PLACE, md5(data)) == (storage.path(PLACE, 1), len(data))
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (
        before.st_ino,
        before.st_mode,
        before.st_size,
    )


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_file_that_cannot_be_read_keeps_its_name(
    storage: Storage, monkeypatch, number: int
) -> None:
    """A bad block of the archive's disk must not hold up all that comes after it."""
    put(storage, b"once")
    with monkeypatch.context() as patch:
        patch.setattr(storage_module, "md5_of", raising(number))
        assert storage.find(PLACE, md5(b"once")) is None
        assert put(storage, b"data") == storage.path(PLACE, 1)
    assert files(storage) == {PLACE.path(): b"once", PLACE.path(1): b"data"}


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_file_where_a_directory_belongs_is_in_the_way_of_these_files_only(
    storage: Storage, depth: int
) -> None:
    part = staged(storage, b"data")
    obstacle = Path(storage.data_dir, *PLACE.path().split("/")[: depth + 1])
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.write_text("in the way")
    for act in (storage.find, lambda where, digest: storage.put(part, where, digest)):
        with pytest.raises(FileNotReady, match="crate1") as caught:
            act(PLACE, md5(b"data"))
        assert caught.value.cause == NOT_PLACED
    assert obstacle.read_text() == "in the way"
    elsewhere = Place(PLACE.timecode, "crate2/x/outputs", PLACE.name)
    assert storage.put(part, elsewhere, md5(b"data")) == storage.path(elsewhere)


def test_a_file_where_a_timecode_belongs_is_in_the_way_of_that_timecode_only(
    storage: Storage,
) -> None:
    Path(storage.data_dir, "15687").write_text("in the way")
    for act in (lambda: storage.staging("15687"), lambda: storage.find(PLACE, md5(b"data"))):
        with pytest.raises(FileNotReady, match="15687") as caught:
            act()
        assert caught.value.cause == NOT_PLACED
    assert storage.staging("15688")


def test_a_link_to_a_directory_is_followed(storage: Storage, tmp_path: Path) -> None:
    """An operator moved a publisher's files to another disk."""
    other = tmp_path / "other"
    other.mkdir()
    Path(storage.data_dir, "15687").mkdir()
    Path(storage.data_dir, "15687/crate1").symlink_to(other)
    path = put(storage, b"data")
    assert path == storage.path(PLACE)
    assert (other / "1568700001_take_iv/outputs" / PLACE.name).read_bytes() == b"data"


@pytest.mark.parametrize(("directory", "name"), [("\ud800", "x"), ("a\0b", "x"), ("a", "a\0b")])
def test_names_that_no_file_can_have(storage: Storage, directory: str, name: str) -> None:
    part = staged(storage, b"data")
    place = Place("15687", directory, name)
    for act in (storage.find, lambda where, digest: storage.put(part, where, digest)):
        with pytest.raises(FileNotReady) as caught:
            act(place, md5(b"data"))
        assert caught.value.cause == NOT_PLACED


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.EXDEV])
def test_names_that_a_file_server_refuses(storage: Storage, monkeypatch, number: int) -> None:
    part = staged(storage, b"data")
    for name in ("link", "open", "rename"):
        monkeypatch.setattr(os, name, raising(number))
    monkeypatch.setattr(storage_module, "_rename", raising(number))
    with pytest.raises(FileNotReady, match="crate1") as caught:
        storage.put(part, PLACE, md5(b"data"))
    assert caught.value.cause == NOT_PLACED


# -- how much is read -----------------------------------------------------------------------------


def test_files_of_another_size_are_not_read(storage: Storage, monkeypatch) -> None:
    for data in (b"1", b"22", b"333"):
        put(storage, data)
    read: list[int] = []
    real = storage_module.md5_of
    monkeypatch.setattr(
        storage_module, "md5_of", lambda d, size, tick: read.append(size) or real(d, size, tick)
    )
    assert storage.find(PLACE, md5(b"22"), 2) == (storage.path(PLACE, 1), 2)
    put(storage, b"4444")
    assert read == [2]


def test_comparing_large_files_shows_signs_of_life(tmp_path: Path) -> None:
    ticks: list[None] = []
    storage = Storage(tmp_path, "archiver", tick=lambda: ticks.append(None))
    data = os.urandom(4 * SMALL)
    put(storage, data)
    assert not ticks
    put(storage, data)
    assert len(ticks) >= 4
    storage.find(PLACE, md5(data))
    assert len(ticks) >= 8


# -- what is kept on the disk ---------------------------------------------------------------------

PLACING = """
import sys
from pathlib import Path
from socs.archive.paths import Place
from socs.archive.storage import Storage
storage = Storage(sys.argv[1], "archiver")
part = Path(storage.staging("15687"), "part")
part.write_bytes(b"data")
place = Place("15687", "crate1/1568700001_take_iv/outputs", "iv")
digest = bytes.fromhex("8d777f385d3dfec8815d20f7496026dc")
print("begin", flush=True)
if sys.argv[2] == "put":
    storage.put(str(part), place, digest)
else:
    assert storage.find(place, digest)
print("end", flush=True)
"""


def calls_of(directory: Path, act: str) -> list[str]:
    """What PLACING asks of the system; directories as names, relative to the archive."""
    trace = directory / "trace"
    (directory / "archive").mkdir(exist_ok=True)
    subprocess.run(
        [
            *(
                "strace",
                "-f",
                "-y",
                "-o",
                trace,
                "-e",
                "trace=mkdir,mkdirat,link,linkat,fsync,write",
            ),
            *(sys.executable, "-c", PLACING, directory / "archive", act),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    text = trace.read_text()
    lines = text[text.index('"begin') : text.rindex('"end')].splitlines()[1:-1]
    return [line.replace(f"{directory}/archive/", "").split(maxsplit=1)[1] for line in lines]


def test_names_reach_the_disk_before_they_count(tmp_path: Path) -> None:
    calls = calls_of(tmp_path, "put")
    made = [number for number, call in enumerate(calls) if call.startswith("mkdir")]
    assert len(made) == 3  # the timecode's is there
    parents = ["15687>", "15687/crate1>", "15687/crate1/1568700001_take_iv>"]
    for number, parent in zip(made, parents, strict=True):
        assert calls[number + 1].startswith("fsync(")
        assert parent in calls[number + 1]
    (linked,) = (number for number, call in enumerate(calls) if call.startswith("link"))
    assert linked > made[-1]
    assert "1568700001_take_iv/outputs>" in calls[linked + 1]
    assert calls[linked + 1].startswith("fsync(")


def test_a_name_that_is_adopted_reaches_the_disk_too(tmp_path: Path) -> None:
    calls_of(tmp_path, "put")
    for act in ("find", "put"):
        calls = calls_of(tmp_path, act)
        assert calls[-1].startswith("fsync(")
        assert "1568700001_take_iv/outputs>" in calls[-1]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_name_that_does_not_reach_the_disk_does_not_count(
    storage: Storage, monkeypatch, number: int
) -> None:
    part = staged(storage, b"data")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", raising(number))
        with pytest.raises(StorageUnavailable, match=os.strerror(number)):
            storage.put(part, PLACE, md5(b"data"))
    assert put(storage, b"data") == storage.path(PLACE)
    assert files(storage).keys() == {PLACE.path()}


def test_file_systems_that_cannot_flush_directories_will_do(storage: Storage, monkeypatch) -> None:
    monkeypatch.setattr(os, "fsync", raising(errno.EINVAL))
    assert put(storage, b"data") == storage.path(PLACE)


# -- permissions ----------------------------------------------------------------------------------


def modes(path: str, above: str) -> list[int]:
    """Permissions of the directories from ``path`` up to, and without, ``above``."""
    found = []
    while path != above:
        found.append(os.stat(path).st_mode & 0o7777)
        path = os.path.dirname(path)
    return found


@pytest.mark.usefixtures("umask")
def test_modes_of_directories_do_not_depend_on_who_starts_the_archiver(storage: Storage) -> None:
    path = put(storage, b"data")
    assert modes(os.path.dirname(path), storage.data_dir) == [0o775] * 4
    assert modes(storage.staging("15687"), storage.data_dir) == [0o775] * 2


def test_modes_of_directories_are_a_setting(storage: Storage) -> None:
    other = Storage(storage.data_dir, "archiver", directory_mode=0o750)
    path = put(other, b"data")
    assert modes(os.path.dirname(path), storage.data_dir) == [0o750] * 4


def test_directories_that_are_there_keep_their_modes(storage: Storage) -> None:
    Path(storage.data_dir, "15687").mkdir(mode=0o700)
    path = put(storage, b"data")
    assert modes(os.path.dirname(path), storage.data_dir) == [0o775] * 3 + [0o700]


def test_the_mode_of_a_file_is_that_of_its_copy(storage: Storage) -> None:
    assert storage.file_mode == 0o664
    part = staged(storage, b"data")
    os.chmod(part, 0o640)
    path = storage.put(part, PLACE, md5(b"data"))
    assert os.stat(path).st_mode & 0o7777 == 0o640


def test_directories_inherit_the_group_where_the_archive_says_so(storage: Storage) -> None:
    os.chmod(storage.data_dir, 0o2775)
    path = put(storage, b"data")
    assert modes(os.path.dirname(path), storage.data_dir) == [0o2775] * 4


def test_file_systems_without_permissions_will_do(storage: Storage, monkeypatch) -> None:
    monkeypatch.setattr(os, "chmod", raising(errno.EPERM))
    assert put(storage, b"data") == storage.path(PLACE)


# -- without hard links ---------------------------------------------------------------------------


@pytest.fixture(params=["rename", "placeholder"])
def linkless(request, storage: Storage, monkeypatch) -> Storage:
    """An archive on a file system without hard links; with RENAME_NOREPLACE and without."""
    monkeypatch.setattr(os, "link", raising(errno.EPERM))
    if request.param == "placeholder":
        monkeypatch.setattr(storage_module, "_rename", raising(errno.EINVAL))
    return storage


def test_without_links_nothing_is_replaced_either(linkless: Storage) -> None:
    assert [put(linkless, data) for data in (b"one", b"two", b"one")] == [
        linkless.path(PLACE),
        linkless.path(PLACE, 1),
        linkless.path(PLACE),
    ]
    assert files(linkless) == {PLACE.path(): b"one", PLACE.path(1): b"two"}


def test_without_links_an_empty_directory_is_not_replaced(linkless: Storage) -> None:
    os.makedirs(linkless.path(PLACE))
    assert put(linkless, b"data") == linkless.path(PLACE, 1)


def test_without_links_a_rename_that_fails_leaves_nothing(linkless: Storage, monkeypatch) -> None:
    part = staged(linkless, b"data")
    with monkeypatch.context() as patch:
        if storage_module._rename is RENAME:
            patch.setattr(storage_module, "_rename", raising(errno.EIO))
        patch.setattr(os, "rename", raising(errno.EIO))
        with pytest.raises(StorageUnavailable, match=r"cannot write .*crate1.*/iv(.|\n)* error"):
            linkless.put(part, PLACE, md5(b"data"))
    assert files(linkless) == {"15687/.suprsync-archiver/part-1": b"data"}
    assert linkless.put(part, PLACE, md5(b"data")) == linkless.path(PLACE)


# -- an archive that goes away --------------------------------------------------------------------


def test_a_copy_that_vanished_is_told_as_ours(storage: Storage) -> None:
    part = staged(storage, b"data")
    os.unlink(part)
    with pytest.raises(StorageUnavailable, match="part-1: No such file"):
        storage.put(part, PLACE, md5(b"data"))


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "archive", "archiver")
    for act in (storage.check, storage.free, lambda: storage.staging("15687")):
        with pytest.raises(StorageUnavailable, match=r"archive is not a directory \(is it mounted"):
            act()
    assert storage.timecodes() == []
    assert storage.clean() == 0
    assert not (tmp_path / "archive").exists()
    (tmp_path / "archive").write_text("")
    with pytest.raises(StorageUnavailable, match="is not a directory"):
        storage.find(PLACE, md5(b""))


def test_an_archive_that_is_made_anew_under_our_feet(storage: Storage) -> None:
    put(storage, b"before")
    part = staged(storage, b"data")
    shutil.rmtree(storage.data_dir)
    with pytest.raises(StorageUnavailable, match="is it mounted"):
        storage.put(part, PLACE, md5(b"data"))
    os.mkdir(storage.data_dir)
    assert put(storage, b"data") == storage.path(PLACE)
    assert files(storage) == {PLACE.path(): b"data"}


@pytest.mark.parametrize("gone", ["15687", "15687/crate1/1568700001_take_iv/outputs"])
def test_a_directory_that_is_taken_away_is_made_again(storage: Storage, gone: str) -> None:
    os.unlink(put(storage, b"before"))
    part = staged(storage, b"data")
    shutil.rmtree(f"{storage.data_dir}/{gone}")
    with pytest.raises(StorageUnavailable, match="No such file"):
        storage.put(part, PLACE, md5(b"data"))
    assert put(storage, b"data") == storage.path(PLACE)


def namespace() -> list[str] | None:
    """The command that lets its program mount file systems of its own; None where none can."""
    command = ["unshare", "--mount"]
    if os.geteuid() != 0:
        command += ["--map-root-user"]
    probe = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return command if subprocess.run(probe, capture_output=True).returncode == 0 else None
    except OSError:
        return None


IN_NAMESPACE = """
import errno, hashlib, json, os, subprocess, sys
from socs.archive.paths import Place
from socs.archive.storage import Storage
from socs.errors import SocsError

def mount(*options):
    subprocess.run(["mount", *options, sys.argv[1]], check=True)

def put(name, data=b"data", publisher="crate1"):
    place = Place("15687", f"{publisher}/1568700001_take_iv/outputs", name)
    try:
        part = f"{storage.staging('15687')}/part-{name}"
        with storage.translated(part), open(part, "wb") as file:
            file.write(data)
        said.append(storage.put(part, place, hashlib.md5(data).digest()))
    except SocsError as error:
        said.append(f"{type(error).__name__}: {error}")
        try:
            os.unlink(part)
        except OSError:
            pass

said = []
storage = Storage(sys.argv[1], "archiver")
"""


def in_namespace(program: str, directory: Path) -> list[str]:
    """Run ``program`` with a file system of its own at ``directory``; what it ``said``."""
    command = namespace()
    if command is None:
        pytest.skip("needs root, or user namespaces, to mount a file system of its own")
    directory.mkdir()
    done = subprocess.run(
        [
            *(*command, sys.executable, "-c"),
            f"{IN_NAMESPACE}{program}\nprint(json.dumps(said))",
            str(directory),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_a_full_disk_is_told_and_forgotten_when_there_is_room(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    said = in_namespace(
        """
mount("-t", "tmpfs", "-o", "size=1m", "none")
put("first")
put("large", bytes(2 << 20))
with open(f"{sys.argv[1]}/ballast", "wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)): pass
    except OSError as error:
        assert error.errno == errno.ENOSPC
said.append(storage.free())
put("second")
os.unlink(f"{sys.argv[1]}/ballast")
put("second")
said.append(storage.free())
""",
        archive,
    )
    outputs = f"{archive}/15687/crate1/1568700001_take_iv/outputs"
    part = f"StorageUnavailable: cannot write {archive}/15687/.suprsync-archiver/part"
    assert said[0] == f"{outputs}/first"
    assert said[1] == f"{part}-large: No space left on device"
    assert said[2] == 0
    assert said[3] == f"{part}-second: No space left on device"
    assert said[4] == f"{outputs}/second"
    assert 500_000 < said[5] < 1 << 20


def test_a_disk_without_room_for_names_is_told_and_forgotten(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    said = in_namespace(
        """
mount("-t", "tmpfs", "-o", "nr_inodes=16", "none")
put("first")
ballast = []
try:
    while True:
        ballast.append(f"{sys.argv[1]}/ballast-{len(ballast)}")
        os.mkdir(ballast[-1])
except OSError as error:
    assert error.errno == errno.ENOSPC
    ballast.pop()
os.rmdir(ballast.pop())  # room for the copy, not for the name
put("second", publisher="crate2")
for path in ballast:
    os.rmdir(path)
put("second", publisher="crate2")
""",
        archive,
    )
    assert said[1] == (
        f"StorageUnavailable: cannot write {archive}/15687/crate2/1568700001_take_iv/outputs/second"
        ": No space left on device"
    )
    assert said[2] == f"{archive}/15687/crate2/1568700001_take_iv/outputs/second"


def test_a_disk_that_becomes_read_only_is_told_and_forgotten(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    said = in_namespace(
        """
mount("-t", "tmpfs", "none")
put("first")
mount("-o", "remount,ro")
put("second")
said.append(storage.find(Place("15687", "crate1/1568700001_take_iv/outputs", "first"),
                         hashlib.md5(b"data").digest()))
mount("-o", "remount,rw")
put("second")
""",
        archive,
    )
    outputs = f"{archive}/15687/crate1/1568700001_take_iv/outputs"
    assert said == [
        f"{outputs}/first",
        f"StorageUnavailable: --data-dir {archive} is mounted read-only",
        [f"{outputs}/first", 4],
        f"{outputs}/second",
    ]


def test_a_part_of_the_archive_that_is_read_only_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    said = in_namespace(
        """
mount("-t", "tmpfs", "none")
put("first")
below = f"{sys.argv[1]}/15687/crate2"
os.mkdir(below)
subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", below], check=True)
put("second", publisher="crate2")
put("third")
""",
        archive,
    )
    assert said[1] == (
        f"StorageUnavailable: cannot write {archive}/15687/crate2/1568700001_take_iv/outputs/second"
        ": Read-only file system"
    )
    assert said[2].endswith("outputs/third")


def test_a_publisher_on_another_file_system_is_refused_for_itself(tmp_path: Path) -> None:
    """No file gets its name there at once; the others go on."""
    archive = tmp_path / "archive"
    said = in_namespace(
        """
mount("-t", "tmpfs", "none")
put("first")
below = f"{sys.argv[1]}/15687/crate2"
os.mkdir(below)
subprocess.run(["mount", "-t", "tmpfs", "none", below], check=True)
put("second", publisher="crate2")
put("third")
""",
        archive,
    )
    assert said[1].startswith("FileNotReady: ")
    assert said[1].endswith("outputs/second: Invalid cross-device link")
    assert said[2].endswith("outputs/third")


# -- several at once ------------------------------------------------------------------------------

CONTENDER = """
import errno, hashlib, mmap, os, sys
from socs.archive import storage as module
from socs.archive.paths import Place
from socs.archive.storage import Storage

data_dir, meeting, me, rounds, way = sys.argv[1:]
me, rounds = int(me), int(rounds)
parent = os.getppid()

def refuse(*_, **__):
    raise OSError(errno.EPERM, "refused")

if way != "link":
    os.link = refuse
if way == "placeholder":
    module._rename = refuse

storage = Storage(data_dir, f"archiver-{me}")
with open(meeting, "r+b") as file:
    reached = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
for number in range(rounds):
    data = b"%d" % number if number % 2 else b"%d of %d" % (number, me)
    place = Place("15687", f"crate1/{number // 5}_x/outputs", f"file-{number}")
    part = f"{storage.staging('15687')}/part-{number}"
    with open(part, "wb") as file:
        file.write(data)
    reached[me] = number + 1
    while reached[1 - me] <= number:  # both begin in the same instant
        os.sched_yield()
        if os.getppid() != parent:
            sys.exit("the test has gone")
    print(storage.put(part, place, hashlib.md5(data).digest()))
"""


@pytest.mark.parametrize(("way", "rounds"), [("link", 1000), ("rename", 300), ("placeholder", 300)])
def test_two_processes_that_give_the_same_names(tmp_path: Path, way: str, rounds: int) -> None:
    """In odd rounds both have the same contents, in even ones others."""
    archive, meeting = tmp_path / "archive", tmp_path / "meeting"
    archive.mkdir()
    meeting.write_bytes(bytes(16))
    outputs = [tmp_path / "0", tmp_path / "1"]
    processes = []
    try:
        for me, output in enumerate(outputs):
            command = [sys.executable, "-c", CONTENDER, archive, meeting, str(me), str(rounds), way]
            with output.open("wb") as file:
                processes.append(subprocess.Popen(command, stdout=file))
        assert [process.wait(100) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    answers = zip(*(output.read_text().splitlines() for output in outputs), strict=True)
    expected: dict[str, bytes] = {}
    for number, (one, other) in enumerate(answers):
        path = f"{archive}/15687/crate1/{number // 5}_x/outputs/file-{number}"
        if number % 2 and way != "placeholder":
            assert one == other == path
            expected[path] = b"%d" % number
        elif number % 2:  # without any call that does it, a file may be there twice
            assert {one, other} <= {path, f"{path}.1"}
            expected |= {one: b"%d" % number, other: b"%d" % number}
        else:
            assert {one, other} == {path, f"{path}.1"}
            expected |= {one: b"%d of 0" % number, other: b"%d of 1" % number}
    found = {str(path): path.read_bytes() for path in archive.rglob("*") if path.is_file()}
    assert found == expected


# -- what is left over ----------------------------------------------------------------------------


def test_cleaning_takes_away_what_is_ours_and_nothing_else(storage: Storage) -> None:
    kept = put(storage, b"data")
    for instance in ("archiver", "archiver-2", "arch"):
        other = Storage(storage.data_dir, instance)
        for timecode in ("15687", "15688"):
            staging = Path(other.staging(timecode))
            (staging / "part-1").write_bytes(b"")
            (staging / "deeper").mkdir()
            (staging / "deeper" / "part-2").write_bytes(b"")
    assert storage.clean("15688") == 2
    assert storage.clean("15689") == 0
    left = files(storage)
    assert storage.clean() == 2
    assert storage.clean() == 0
    gone = {f"15687/.suprsync-archiver/{name}" for name in ("part-1", "deeper/part-2")}
    assert files(storage).keys() == left.keys() - gone
    assert len(gone & left.keys()) == 2
    assert os.path.exists(kept)
    assert put(storage, b"data") == kept  # the directory for temporary names is made again


def test_cleaning_follows_no_links(storage: Storage, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    Path(storage.data_dir, "15687").mkdir()
    Path(storage.data_dir, "15687/.suprsync-archiver").symlink_to(precious)
    Path(storage.staging("15688"), "link").symlink_to(precious)
    assert storage.clean() == 0
    assert (precious / "file").exists()


def test_leaving_takes_an_empty_directory_only(storage: Storage) -> None:
    part = staged(storage, b"data")
    storage.leave("15687")
    assert os.path.exists(part)
    os.unlink(part)
    storage.leave("15687")
    storage.leave("15688")
    assert os.listdir(f"{storage.data_dir}/15687") == []
    assert put(storage, b"data") == storage.path(PLACE)


def test_timecodes_are_the_five_digits(storage: Storage) -> None:
    for name in ("15688", "15687", "1568", "156877", "lost+found", "1568x"):
        os.mkdir(f"{storage.data_dir}/{name}")
    assert storage.timecodes() == ["15687", "15688"]
