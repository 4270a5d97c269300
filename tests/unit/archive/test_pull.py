"""What rsync is told, what it says, and the tree that it writes into; without running it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socs.archive.pull import checked_roots, source_of
from socs.archive.rsync import (
    PARTIAL,
    Message,
    Rsync,
    items,
    last_words,
    messages,
    names,
    same,
)
from socs.archive.staged import Tree
from socs.errors import ConfigError, FileNotReady, NotAllowed

# -- command lines --------------------------------------------------------------------------------


def words_of(shell: str) -> list[str]:
    """The words of ``-e`` as rsync(1) describes them: quotes, doubled for one of their kind."""
    words, word, quote, index = [], "", "", 0
    while index < len(shell):
        character = shell[index]
        if quote and character == quote and shell[index + 1 : index + 2] == quote:
            word += quote
            index += 1
        elif character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        elif character == " " and not quote:
            words, word = [*words, word], ""
        else:
            word += character
        index += 1
    return [*words, word]


def test_command_that_pulls() -> None:
    rsync = Rsync(
        host="smurf-srv1",
        user="cryo",
        port=2222,
        key="/home/o'brien/my key",
        ssh_options=("-o", 'UserKnownHostsFile="/a b"'),
        options=("--compress", "--partial-dir=elsewhere"),
        bandwidth_limit=500,
    )
    command = rsync.pulling("/archive/17000/.s/pull")
    assert command[0] == "rsync"
    assert command[-2:] == ["cryo@smurf-srv1:/", "/archive/17000/.s/pull/"]
    wanted = {"--copy-links", "--times", "--files-from=-", "--from0", "--timeout=60"}
    assert wanted | {"--bwlimit=500", "--force"} <= set(command)
    assert not any(word.startswith("--delete") or word == "--inplace" for word in command)
    ours, theirs = (
        command.index(f"--partial-dir={PARTIAL}"),
        command.index("--partial-dir=elsewhere"),
    )
    assert theirs < ours, "the last one counts"
    assert words_of(command[command.index("-e") + 1]) == [
        *("ssh", "-o", 'UserKnownHostsFile="/a b"', "-o", "BatchMode=yes"),
        *("-o", "ConnectTimeout=10", "-o", "ServerAliveCountMax=3", "-o", "ServerAliveInterval=5"),
        *("-p", "2222", "-o", "IdentitiesOnly=yes", "-i", "/home/o'brien/my key"),
    ]


def test_command_that_compares_transfers_nothing() -> None:
    rsync = Rsync(host="h", timeout=6)
    command = rsync.comparing("/tree", checksum=True, timeout=99.7)
    assert {"--dry-run", "--checksum", "--timeout=100", "-ii", "--out-format=%i %n"} <= set(command)
    assert "--checksum" not in rsync.comparing("/tree", checksum=False, timeout=1)
    assert "ServerAliveInterval=1" in words_of(command[command.index("-e") + 1])


@pytest.mark.parametrize(
    ("host", "user", "address"),
    [
        ("h", None, "h"),
        ("::1", "u", "u@[::1]"),
        ("[fe80::1]", None, "[fe80::1]"),
        ("h.x", "a@b", "a@b@h.x"),
    ],
)
def test_address(host: str, user: str | None, address: str) -> None:
    assert Rsync(host=host, user=user).address == address


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": "-x"},
        {"host": "a b"},
        {"host": "a/b"},
        {"user": "-x"},
        {"user": "a/b"},
        {"options": ("--remove-source-files",)},
        {"options": ("--remove-sent-files",)},
        {"options": ("--dry-run",)},
        {"options": ("100",)},
        {"options": ("--",)},
        {"bandwidth_limit": 0},
        {"timeout": 0.5},
    ],
)
def test_what_is_no_host_user_or_option_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Rsync(**{"host": "h", **wrong})


def test_names_are_relative_to_the_far_root() -> None:
    assert names(["/a/b c", "/-x\n", "/\udcff"]) == b"a/b c\0-x\n\0\xff\0"


# -- messages -------------------------------------------------------------------------------------

SENDER = "rsync: [sender] "


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # As rsync 3.2.7 said them.
        (
            SENDER + 'link_stat "/d/missing" failed: No such file or directory (2)',
            Message("missing", "/d/missing", errno.ENOENT),
        ),
        (
            SENDER + 'link_stat "/d/f/x" failed: Not a directory (20)',
            Message("missing", "/d/f/x", errno.ENOTDIR),
        ),
        (
            SENDER + 'link_stat "/d/loop" failed: Too many levels of symbolic links (40)',
            Message("error", "/d/loop", errno.ELOOP),
        ),
        (
            SENDER + 'readlink_stat("/d/loop") failed: Too many levels of symbolic links (40)',
            Message("error", "/d/loop", errno.ELOOP),
        ),
        (
            SENDER + 'send_files failed to open "/d/secret": Permission denied (13)',
            Message("error", "/d/secret", errno.EACCES),
        ),
        (
            SENDER + 'read errors mapping "/d/disk": Input/output error (5)',
            Message("error", "/d/disk", errno.EIO),
        ),
        (
            SENDER + 'link_stat "/d/nfs" failed: Stale file handle (116)',
            Message("detached", "/d/nfs", errno.ESTALE),
        ),
        (
            'rsync: [receiver] write failed on "/a/pull/d/x": No space left on device (28)',
            Message("error", "/a/pull/d/x", errno.ENOSPC),
        ),
        (
            'rsync: [receiver] mkstemp "/a/.x.gH2u1L" failed: Read-only file system (30)',
            Message("error", "/a/.x.gH2u1L", errno.EROFS),
        ),
        # Older versions do not say who speaks.
        (
            'rsync: link_stat "/d/x" failed: No such file or directory (2)',
            Message("missing", "/d/x", errno.ENOENT),
        ),
        ('file has vanished: "/d/x"', Message("missing", "/d/x")),
        ('symlink has no referent: "/d/x"', Message("missing", "/d/x")),
        ('skipping non-regular file "d/fifo"', Message("not_regular", "/d/fifo")),
        (
            "ERROR: d/x failed verification -- update discarded.",
            Message("unverified", "/d/x"),
        ),
        # The language of the far side does not matter.
        (
            SENDER + 'link_stat "/d/x" failed: Datei oder Verzeichnis nicht gefunden (2)',
            Message("missing", "/d/x", errno.ENOENT),
        ),
        # Names that look like something else.
        (
            SENDER + 'link_stat "/d/"x" failed: y (13)" failed: No such file or directory (2)',
            Message("missing", '/d/"x" failed: y (13)', errno.ENOENT),
        ),
        (
            SENDER + r'link_stat "/d/a\#012b\#303\#274\#134#012" failed: No such file (2)',
            Message("missing", "/d/a\nbü\\#012", errno.ENOENT),
        ),
    ],
)
def test_message(line: str, message: Message) -> None:
    assert list(messages(f"before\n{line}\nafter\n".encode())) == [message]


@pytest.mark.parametrize(
    "line",
    [
        "rsync error: some files/attrs were not transferred (see previous errors) (code 23)",
        "rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]",
        "rsync: [Receiver] Failed to exec nossh: No such file or directory (2)",
        "WARNING: d/x failed verification -- update discarded (will try again).",
        "ssh: connect to host h port 22: Connection refused",
        'Welcome to "h"',
    ],
)
def test_line_that_is_not_about_a_file(line: str) -> None:
    assert list(messages(line.encode())) == []


@given(st.binary(max_size=300))
@example(b'rsync: "')
@example(b'rsync: [x] y "\\#777" failed: z (99999999999999999999)')
@example(b'skipping non-regular file "')
def test_any_output_can_be_read(output: bytes) -> None:
    assert all(message.path.startswith("/") for message in messages(output))
    assert all(path.startswith("/") for path in items(output))
    assert last_words(output)


def escaped(name: bytes) -> bytes:
    """As rsync writes a name in the locale C."""
    out = b""
    for index, byte in enumerate(name):
        octal = name[index + 1 : index + 5]
        literal = byte == 0x5C and len(octal) == 4 and octal[:1] == b"#" and octal[1:].isdigit()
        printable = 0x20 <= byte < 0x7F or byte == 0x09
        out += b"\\#%03o" % byte if literal or not printable else bytes([byte])
    return out


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and b"/" not in name))
@example(b"\\#012")
@example(b'" failed: No such file or directory (2)')
def test_any_name_is_found_again(name: bytes) -> None:
    path = os.fsdecode(b"/d/" + name)
    line = b'rsync: [sender] link_stat "/d/%s" failed: Permission denied (13)' % escaped(name)
    assert list(messages(line)) == [Message("error", path, errno.EACCES)]
    assert items(b">fc........ d/%s" % escaped(name)) == {path: ">fc........"}


def test_items_of_a_comparison() -> None:
    output = b""">fcst...... d/other
.f          d/same
.f..t...... d/touched
>f+++++++++ d/new\\#012line
cd+++++++++ d/
rsync error: some files/attrs were not transferred (code 23) at main.c(1874)
"""
    found = items(output)
    assert found == {
        "/d/other": ">fcst......",
        "/d/same": ".f         ",
        "/d/touched": ".f..t......",
        "/d/new\nline": ">f+++++++++",
        "/d/": "cd+++++++++",
    }
    assert [path for path, changes in found.items() if same(changes)] == ["/d/same", "/d/touched"]
    assert not same(found.get("/d/gone"))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            b"ssh: connect to host h port 22: Connection refused\r\n"
            b"rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n"
            b"rsync error: unexplained error (code 255) at io.c(232) [Receiver=3.2.7]\n",
            "ssh: connect to host h port 22: Connection refused",
        ),
        (
            b"Warning: Permanently added 'h' (ED25519) to the list of known hosts.\r\n"
            b"Warning: Identity file /k not accessible: No such file or directory.\n"
            b"u@h: Permission denied (publickey).\r\n"
            b"rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n",
            "Warning: Identity file /k not accessible: No such file or directory.; "
            "u@h: Permission denied (publickey).",
        ),
        (
            b'rsync: [sender] link_stat "/x" failed: No such file or directory (2)\n'
            b"rsync: [generator] write error: Broken pipe (32)\n"
            b"rsync error: error in rsync protocol data stream (code 12) at io.c(232)\n",
            "rsync: [generator] write error: Broken pipe (32); "
            "rsync error: error in rsync protocol data stream (code 12) at io.c(232)",
        ),
        (b"", "it said nothing"),
    ],
)
def test_last_words(output: bytes, words: str) -> None:
    assert last_words(output) == words


# -- paths ----------------------------------------------------------------------------------------

ROOTS = checked_roots(["/data", "/data/nfs/", "//other/./x"])


def test_roots() -> None:
    assert ROOTS == ("/data/nfs", "/other/x", "/data")


@pytest.mark.parametrize("wrong", [[], [""], ["/"], ["//"], ["data"], ["/data/../etc"]])
def test_wrong_roots(wrong: list[str]) -> None:
    with pytest.raises(ConfigError, match="--data-root"):
        checked_roots(wrong)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/data/a", ("/data/a", "/data")),
        ("/data//./a/", ("/data/a", "/data")),
        ("/data/nfs/a", ("/data/nfs/a", "/data/nfs")),
        ("/data/nfs", ("/data/nfs", "/data")),
        ("/data/...", ("/data/...", "/data")),
        ("/other/x/\udcff", ("/other/x/\udcff", "/other/x")),
    ],
)
def test_source(path: str, found: tuple[str, str]) -> None:
    assert source_of(path, ROOTS) == found


@pytest.mark.parametrize(
    "path",
    ["", "a", "/data", "/database", "/data/../data/a", "/data/a\0", "/data/\ud800", "/etc/x"],
)
def test_path_outside(path: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        source_of(path, ROOTS)
    assert caught.value.cause == "attempts_outside_roots"


def test_path_that_is_too_long_for_rsync() -> None:
    with pytest.raises(FileNotReady) as caught:
        source_of("/data" + "/ü" * 1500, ROOTS)
    assert caught.value.cause == "attempts_unreadable"


@given(st.text(alphabet=st.sampled_from("/.a\0\n"), max_size=20))
def test_no_source_leads_out_of_its_root(path: str) -> None:
    try:
        source, root = source_of(path, ["/a"])
    except NotAllowed:
        return
    assert source.startswith(f"{root}/")
    assert os.path.normpath(source) == source


# -- the tree -------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(str(tmp_path / "pull"))


def put(path: str, data: bytes) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def test_seal(tree: Tree) -> None:
    put(tree.path("/d/a"), b"data").chmod(0o600)
    assert tree.seal("/d/a", 0o640) == (hashlib.md5(b"data").digest(), 4)
    assert stat.S_IMODE(os.stat(tree.path("/d/a")).st_mode) == 0o640


def test_link_is_not_sealed(tree: Tree, tmp_path: Path) -> None:
    outside = put(str(tmp_path / "outside"), b"data")
    put(tree.path("/d/a"), b"").unlink()
    os.symlink(outside, tree.path("/d/a"))
    with pytest.raises(OSError, match="symbolic"):
        tree.seal("/d/a", 0o777)
    assert tree.kind("/d/a") == stat.S_IFLNK


def test_what_a_killed_rsync_was_writing_becomes_the_part(tree: Tree) -> None:
    unfinished = put(f"{tree.directory}/d/.a.x1Y2z3", b"12345")
    hidden = put(f"{tree.directory}/d/.h.x1Y2z3", b"123")  # of `.h` or of `h`
    other = put(f"{tree.directory}/d/.b.x1Y2z3", b"12345")
    assert tree.bytes(["/d/a", "/d/.h", "/d/none"]) == {"/d/a": 5, "/d/.h": 3}
    tree.resume(["/d/a", "/d/.h"])
    assert not unfinished.exists()
    assert not hidden.exists()
    assert other.exists()
    assert Path(tree.partial("/d/a")).read_bytes() == b"12345"
    assert tree.partial("/d/a") == f"{tree.directory}/d/{PARTIAL}/a"
    assert Path(tree.partial("/d/.h")).read_bytes() == b"123"
    assert tree.bytes(["/d/a", "/d/.h"]) == {"/d/a": 5, "/d/.h": 3}


@pytest.mark.parametrize(("unfinished", "kept"), [(b"12", b"part"), (b"longer", b"longer")])
def test_the_larger_part_is_kept(tree: Tree, unfinished: bytes, kept: bytes) -> None:
    put(tree.partial("/d/a"), b"part")
    put(f"{tree.directory}/d/.a.x1Y2z3", unfinished)
    tree.resume(["/d/a"])
    assert Path(tree.partial("/d/a")).read_bytes() == kept
    assert os.listdir(f"{tree.directory}/d") == [PARTIAL]


def test_drop_takes_all_there_is_and_prune_the_directories(tree: Tree, tmp_path: Path) -> None:
    put(tree.path("/d/e/a"), b"1")
    put(tree.partial("/d/e/a"), b"1")
    put(f"{tree.directory}/d/e/.a.x1Y2z3", b"22")
    other = put(tree.path("/d/b"), b"1")
    tree.drop("/d/e/a")
    tree.drop("/d/none/x")
    tree.prune(["/d/e/a"])
    assert [path for path in Path(tree.directory).rglob("*") if path.is_file()] == [other]
    assert not (Path(tree.directory) / "d/e").exists()
    other.unlink()
    tree.prune(["/d/b"])
    assert os.listdir(tmp_path) == []


def test_prune_takes_a_directory_that_came_instead_of_a_file(tree: Tree, tmp_path: Path) -> None:
    Path(tree.path("/d/a")).mkdir(parents=True)
    tree.prune(["/d/a"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 300, "a/b", "none/b"])
def test_names_that_cannot_be_here_are_not_here(tree: Tree, name: str) -> None:
    put(tree.path("/d/a"), b"")
    source = f"/d/{name}"
    assert tree.kind(source) == 0
    assert tree.bytes([source]) == {}
    tree.resume([source])
    tree.remove(source)
    tree.drop(source)
    tree.prune([source])
    assert tree.kind("/d/a") == stat.S_IFREG


def test_what_was_asked_for_is_not_forgotten(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("/d/wanted", "/d/e/unwanted"):
        put(tree.partial(source), b"part")
    written = os.stat(tree.partial("/d/wanted")).st_ctime_ns

    def asked() -> bool:
        tree.resume(["/d/wanted"])
        return os.stat(tree.partial("/d/wanted")).st_ctime_ns > written + 50_000_000

    deadline = time.monotonic() + 10
    while not asked():
        assert time.monotonic() < deadline
    between = written / 1e9 + 0.04
    assert os.stat(tree.partial("/d/e/unwanted")).st_ctime < between
    assert tree.forget(between) == 1
    assert os.path.exists(tree.partial("/d/wanted"))
    assert os.listdir(f"{tree.directory}/d") == [PARTIAL]
    assert tree.forget(time.time() + 60) == 1
    assert not os.path.exists(tree.directory)


def test_another_copy(tree: Tree) -> None:
    put(tree.path("/d/a"), b"data")
    copy = tree.another("/d/a")
    assert tree.another("/d/a") == copy
    assert Path(copy).read_bytes() == b"data"
    assert not copy.startswith(f"{tree.directory}/")
    assert os.stat(copy).st_ino != os.stat(tree.path("/d/a")).st_ino
