"""rsync as the one that deletes: only what equals a file here, and without a shell over there.

rsync deletes a file at the source, given ``--remove-source-files``, when what it is to make of it
here is there already. With ``--checksum`` that is so for files of the same contents. Of any other
it would make a new copy here before; but it has no place to write that to (:data:`NOWHERE`),
fails, and leaves the file at the source alone. Whether the rsync of this machine really works so
is tried out with three files before any other is deleted.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable
from typing import NamedTuple

from socs.archive.rsync import COMPLETE, Rsync, items, last_words, messages, names, path_said, same
from socs.archive.rsync_call import Call
from socs.errors import ConfigError, StorageUnavailable

NOWHERE = "/proc"  # a directory in which nobody, not even root, can make a file
LOOK = 1.0  # s

_COMMON = ("--no-implied-dirs", "--ignore-missing-args")
# Links and devices are listed. When it comes to removing, rsync does not know them.
_LISTING = ("--dry-run", "-ii", "--out-format=%i %n", "--links", "-D", *_COMMON)
_REMOVING = ("--remove-source-files", "--checksum", "--existing", f"--temp-dir={NOWHERE}", *_COMMON)
_NOT_REMOVED = re.compile(r"sender failed to \S+ (.*): (.*) \(\d+\)$", re.MULTILINE)


class Said(NamedTuple):
    """What rsync says of absolute paths at the source.

    Attributes:
        kinds: ``f`` for a file, ``d``, ``L`` for a link, ``D`` or ``S``; not of missing ones.
        equal: files whose contents are those of the same path here.
        troubles: why a path cannot be looked at.
        refused: why a file was not removed.
    """

    kinds: dict[str, str]
    equal: set[str]
    troubles: dict[str, str]
    refused: dict[str, str]


class Deleter:
    """Looks at files on another machine, and deletes some.

    Raises:
        ConfigError: there is no rsync here.
    """

    def __init__(self, rsync: Rsync) -> None:
        if shutil.which("rsync") is None:
            raise ConfigError("rsync not found: apt install rsync")
        self._rsync = rsync
        self.address = rsync.address

    def list(self, paths: Iterable[str]) -> Said:
        """What is at ``paths``; also what is in those that end with a slash.

        Raises:
            StorageUnavailable: the machine cannot be reached.
        """
        with tempfile.TemporaryDirectory(prefix="socs-prune-") as empty:
            return self._say(_LISTING, paths, empty)

    def compare(self, paths: Iterable[str], tree: str) -> Said:
        """Which of ``paths`` have the contents that are below the directory ``tree`` here.

        Raises:
            StorageUnavailable: the machine cannot be reached.
        """
        return self._say((*_LISTING, "--checksum"), paths, tree)

    def remove(self, paths: Collection[str], tree: str) -> Said:
        """Delete those of ``paths`` that have the contents that are below ``tree`` here.

        Afterwards :meth:`list` tells which are left.

        Raises:
            StorageUnavailable: the machine cannot be reached; some may be deleted.
        """
        return self._say(_REMOVING, paths, tree)

    def _say(self, options: Iterable[str], paths: Iterable[str], tree: str) -> Said:
        # Names travel in the protocol; the shell there sees options and a slash.
        command = ["rsync", *options, "--files-from=-", "--from0"]
        command += ["-e", self._rsync.shell(), f"{self.address}:/", f"{tree}/"]
        code, said = _call(command, names(paths))
        if code not in COMPLETE:
            raise StorageUnavailable(f"rsync from {self.address}: {last_words(said)}")
        found = items(said)
        troubles = {m.path: os.strerror(m.errno) for m in messages(said) if m.errno}
        gone = {m.path for m in messages(said) if m.kind == "missing"}
        refused = _NOT_REMOVED.findall(os.fsdecode(said))  # a name has no line ends here
        return Said(
            kinds={path.rstrip("/"): changes[1] for path, changes in found.items()},
            equal={path for path, changes in found.items() if same(changes)},
            troubles={path: why for path, why in troubles.items() if path not in gone},
            refused={path_said(path): why for path, why in refused},
        )


def try_out(place: str) -> None:
    """See, in the empty directory ``place``, that rsync deletes what is equal and nothing else.

    Raises:
        ConfigError: it does not; the message says what to do instead.
    """
    pairs = {"equal": (b"1", b"1"), "other": (b"1", b"2"), "emptied": (b"", b"2")}
    for name, pair in pairs.items():
        for side, content in zip(("there", "here"), pair, strict=True):
            os.makedirs(f"{place}/{side}", exist_ok=True)
            with open(f"{place}/{side}/{name}", "wb") as file:
                file.write(content)
    command = ["rsync", *_REMOVING, "--files-from=-", "--from0"]
    _call([*command, f"{place}/there/", f"{place}/here/"], names(f"/{name}" for name in pairs))
    as_before = []
    for name, pair in pairs.items():
        with open(f"{place}/here/{name}", "rb") as file:
            as_before.append(file.read() == pair[1])
    if sorted(os.listdir(f"{place}/there")) != ["emptied", "other"] or not all(as_before):
        raise ConfigError(
            "the rsync of this machine does not delete only what it finds equal; run `socs files "
            "prune` on the machine that has the files, without --host"
        )


def _call(command: list[str], text: bytes) -> tuple[int, bytes]:
    """Exit code of ``command``, and all that it said.

    Raises:
        StorageUnavailable: no process can be started.
    """
    try:
        with Call(command, text) as call:
            while not call.wait(LOOK):
                pass
            return call.code, call.said()
    except OSError as error:
        raise StorageUnavailable(f"cannot start rsync: {error.strerror}") from error
