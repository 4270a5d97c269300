"""What a source of announcements really did, for comparing with what a monitor says."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socs.closing import Closing

LISTS = {"announced": ".md5", "unannounced": ".unannounced.md5"}  # beside the truth file


@dataclass
class Truth:
    """What was sent and written.

    Attributes:
        sent: messages that left at least once, by type.
        dropped: messages that took a sequence number and never left, by type.
        duplicated: messages that left twice, by type.
        announced: md5 (hex) by path, of files whose announcement left.
        unannounced: the same, of files whose announcement was dropped.
        bytes_written: sum of the sizes of all files.
        finished: whether the source has ended by itself, and this is all.
    """

    sent: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    duplicated: Counter[str] = field(default_factory=Counter)
    announced: dict[str, str] = field(default_factory=dict)
    unannounced: dict[str, str] = field(default_factory=dict)
    bytes_written: int = 0
    finished: bool = False

    @property
    def messages(self) -> int:
        """Sequence numbers used."""
        return self.sent.total() + self.dropped.total()

    @property
    def datagrams(self) -> int:
        """Datagrams handed to the network."""
        return self.sent.total() + self.duplicated.total()

    def record_file(self, path: str, md5: str, *, announced: bool) -> None:
        """Note a file that was written."""
        (self.announced if announced else self.unannounced)[path] = md5


class TruthFile(Closing):
    """Keeps a :class:`Truth` in files, which hold something whole whenever they are looked at.

    ``FILE`` is JSON: the counts, and ``files`` with the number of entries in each list. The lists
    of paths grow without limit, so they are files of their own, to which is only added, in the
    format of ``md5sum -c``: ``FILE.md5`` for announced files, ``FILE.unannounced.md5`` for the
    others. A list holds at least as many entries as the JSON says.

    Args:
        path: the JSON file; it and the lists are begun anew.
        about: constants to put into the JSON.
    """

    def __init__(self, path: Path, truth: Truth, about: dict[str, Any]) -> None:
        self._path, self._truth, self._about = path, truth, about
        self._lists = {
            name: path.with_name(path.name + ending).open("w") for name, ending in LISTS.items()
        }
        self._listed = dict.fromkeys(LISTS, 0)
        self.save()

    def save(self) -> None:
        """Write what is new; the lists of ``truth`` are empty after it."""
        truth = self._truth
        for name, files in (("announced", truth.announced), ("unannounced", truth.unannounced)):
            self._lists[name].writelines(f"{md5}  {path}\n" for path, md5 in files.items())
            self._lists[name].flush()
            self._listed[name] += len(files)
            files.clear()
        content = {
            **self._about,
            "sent": dict(truth.sent),
            "dropped": dict(truth.dropped),
            "duplicated": dict(truth.duplicated),
            "messages": truth.messages,
            "datagrams": truth.datagrams,
            "files": self._listed,
            "bytes_written": truth.bytes_written,
            "finished": truth.finished,
        }
        unfinished = self._path.with_name(self._path.name + ".part")
        unfinished.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(unfinished, self._path)

    def close(self) -> None:
        """Write the rest."""
        self.save()
        for stream in self._lists.values():
            stream.close()


def read_truth(path: Path) -> Truth:
    """What a source has written so far with ``--truth``.

    Raises:
        OSError: there is no such file (yet).
    """
    content = json.loads(path.read_text())
    truth = Truth(
        Counter(content["sent"]),
        Counter(content["dropped"]),
        Counter(content["duplicated"]),
        bytes_written=content["bytes_written"],
        finished=content["finished"],
    )
    for name, files in (("announced", truth.announced), ("unannounced", truth.unannounced)):
        with path.with_name(path.name + LISTS[name]).open() as stream:
            for _ in range(content["files"][name]):
                md5, _, file = stream.readline().rstrip("\n").partition("  ")
                files[file] = md5
    return truth
