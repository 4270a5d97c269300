"""Nothing outside the roots is ever opened, whatever the path looks like."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from socs.dataroots import MISSING, NOT_REGULAR, OUTSIDE, UNREADABLE, DataRoots
from socs.errors import ConfigError, PeerError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "good.npy").write_text("good")
    (tmp_path / "data-next-door").mkdir()
    (tmp_path / "data-next-door" / "secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    return root


def content(roots: DataRoots, path: object) -> str:
    with roots.opener() as opener:
        descriptor = opener.open(str(path))
        with os.fdopen(descriptor) as file:
            return file.read()


def cause(roots: DataRoots, path: object) -> str:
    with pytest.raises(PeerError) as caught:
        content(roots, path)
    return caught.value.cause


def test_file_below_the_root(tree: Path) -> None:
    assert content(DataRoots([tree]), tree / "sub" / "good.npy") == "good"


def test_several_files_of_one_directory(tree: Path) -> None:
    (tree / "sub" / "second").write_text("second")
    with DataRoots([tree]).opener() as opener:
        for _ in range(2):
            for name in ("good.npy", "second"):
                os.close(opener.open(str(tree / "sub" / name)))


@pytest.mark.parametrize(
    "path",
    [
        "{root}/../secret",
        "{root}/sub/../../secret",
        "{root}-next-door/secret",
        "/etc/passwd",
        "sub/good.npy",
        "",
        "{root}/sub/good.npy\0/../../secret",
        "{root}/\udcff\ud800",
        "/dev/zero",
        "/proc/self/environ",
    ],
)
def test_paths_that_lead_outside(tree: Path, path: str) -> None:
    assert cause(DataRoots([tree]), path.format(root=tree)) == OUTSIDE


def test_links_out_of_the_root(tree: Path) -> None:
    (tree / "link").symlink_to(tree.parent / "secret")
    (tree / "directory").symlink_to(tree.parent)
    roots = DataRoots([tree])
    assert cause(roots, tree / "link") == OUTSIDE
    assert cause(roots, tree / "directory" / "secret") == OUTSIDE


def test_links_inside_the_root(tree: Path) -> None:
    (tree / "link").symlink_to(tree / "sub" / "good.npy")
    (tree / "directory").symlink_to("sub")
    roots = DataRoots([tree])
    assert content(roots, tree / "link") == "good"
    assert content(roots, tree / "directory" / "good.npy") == "good"


def test_root_that_is_itself_a_link(tree: Path) -> None:
    link = tree.parent / "linked-root"
    link.symlink_to(tree)
    assert content(DataRoots([link]), link / "sub" / "good.npy") == "good"
    assert content(DataRoots([link]), tree / "sub" / "good.npy") == "good"


def test_link_swapped_in_after_the_directory_was_checked(tree: Path) -> None:
    with DataRoots([tree]).opener() as opener:
        os.close(opener.open(str(tree / "sub" / "good.npy")))
        (tree / "sub" / "good.npy").unlink()
        (tree / "sub" / "good.npy").symlink_to(tree.parent / "secret")
        with pytest.raises(PeerError) as caught:
            opener.open(str(tree / "sub" / "good.npy"))
    assert caught.value.cause == OUTSIDE


def test_only_regular_files(tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
    roots = DataRoots([tree])
    for path in (tree / "fifo", tree / "socket", tree / "sub", f"{tree}/sub/", f"{tree}/sub/."):
        assert cause(roots, path) == NOT_REGULAR


@pytest.mark.parametrize("name", ["nothing", "no/such/directory/x", "sub/good.npy/x"])
def test_missing_files(tree: Path, name: str) -> None:
    assert cause(DataRoots([tree]), tree / name) == MISSING


def test_name_that_is_too_long(tree: Path) -> None:
    assert cause(DataRoots([tree]), tree / ("x" * 300)) == UNREADABLE


def test_link_that_leads_to_itself(tree: Path) -> None:
    (tree / "loop").symlink_to(tree / "loop")
    assert cause(DataRoots([tree]), tree / "loop") == UNREADABLE


@pytest.mark.parametrize("name", ["with space", "quote'\"", "new\nline", "ünïcode", "-rf"])
def test_unusual_names_work(tree: Path, name: str) -> None:
    (tree / name).write_text("odd")
    assert content(DataRoots([tree]), tree / name) == "odd"


def test_no_descriptor_is_left_open(tree: Path) -> None:
    (tree / "link").symlink_to(tree.parent / "secret")
    before = len(os.listdir("/proc/self/fd"))
    roots = DataRoots([tree])
    content(roots, tree / "sub" / "good.npy")
    for path in (tree / "link", tree / "nothing", tree / "sub"):
        cause(roots, path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("roots", [[], ["relative"], ["/"]])
def test_roots_that_make_no_sense(roots: list[str]) -> None:
    with pytest.raises(ConfigError, match="--data-root"):
        DataRoots(roots)


def test_root_with_nothing_below_it_is_told(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    roots = DataRoots([tree, tmp_path / "empty", tmp_path / "none"])
    assert roots.why_absent(f"{tree}/sub/missing.npy") is None
    for absent in (tmp_path / "empty", tmp_path / "none"):
        said = f"--data-root {absent} is not there, or empty: is it mounted?"
        assert roots.why_absent(f"{absent}/sub/missing.npy") == said
    assert roots.why_absent(f"{tmp_path}/emptyish/missing.npy") is None  # below none of them
