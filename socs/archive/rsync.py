"""How rsync is told to pull files over ssh, and what it says. Pure: nothing is run here.

Checked against rsync 3.2.7. Names go to it on its standard input, ended by NUL bytes, and on in
its protocol: the shell over there sees options and a slash, so a name may hold anything. In what
it says, it writes each byte of a name that cannot be printed as ``\\#`` and three octal digits.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator

import msgspec

from socs.errors import ConfigError

PARTIAL = ".socs-partial"  # directory beside each file, where rsync keeps what came of it
COMPLETE = {0, 23, 24}  # exit codes of a call that came to its end; 23, 24: but not all files did
TIMED_OUT = 30
MISUSED = {1, 2, 4}  # exit codes for options that it, or the far side, does not take
CONNECT_TIMEOUT = 10  # s
KEEPALIVE = 5  # s between questions to a silent host; three without an answer end the connection
MAX_PATH = 3500  # bytes; Linux and rsync take 4095, with our directory in front

# Options that delete at the source, which is for `prune` alone, or bring nothing.
_REFUSED = {"--remove-source-files", "--remove-sent-files", "--dry-run", "-n", "--list-only"}
_ESCAPED = re.compile(rb"\\#([0-7]{3})")
_FAILED = re.compile(r'rsync: (?P<act>[^"]*)"(?P<path>.*)"\)?(?: failed)?: .* \((?P<errno>\d+)\)')
_ITEM = re.compile(r"(?P<changes>[<>ch.*][fdLDS].{9}) (?P<path>.*)", re.DOTALL)
_OTHERS = (
    ("missing", re.compile(r'(?:file has vanished|symlink has no referent): "(?P<path>.*)"')),
    ("not_regular", re.compile(r'skipping non-regular file "(?P<path>.*)"')),
    ("unverified", re.compile(r"ERROR: (?P<path>.*) failed verification -- .*")),
)
_GONE = {errno.ENOENT, errno.ENOTDIR}
# Of the far side's file server: the file itself is not to blame.
_DETACHED = {errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT}
_CHATTER = re.compile(
    r"rsync error: |rsync: connection unexpectedly closed|rsync: .*\bwrite\b.*Broken pipe"
    r"|Warning: Permanently added"
)


class Rsync(msgspec.Struct, frozen=True):
    """Where the files are, and how rsync is to bring them.

    Args:
        host: as ssh knows it.
        user, port: those of ssh's configuration, unless given.
        key: path of a private key for ssh.
        ssh_options: further arguments of ssh; they overrule ours.
        options: further ones of rsync, each in one word; ours overrule them.
        bandwidth_limit: KiB/s.
        timeout: s of silence after which a call is given up.

    Raises:
        ConfigError: one of them is not what it should be.
    """

    host: str
    user: str | None = None
    port: int | None = None
    key: str | None = None
    ssh_options: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    bandwidth_limit: int | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        for option, text in (("--host", self.host), ("--user", self.user)):
            if text is not None and not re.fullmatch(r"[^-\s/][^\s/]*", text):
                raise ConfigError(f"{option} {text!r} cannot be one")
        for name in self.options:
            if not name.startswith("-") or name in {"-", "--"}:
                raise ConfigError(f"--rsync-options: write {name!r} as --name=value")
            if name in _REFUSED:
                raise ConfigError(f"--rsync-options: {name} is not for archiving")
        if self.timeout < 1:
            raise ConfigError(f"the time-out of rsync must be 1 s or more, not {self.timeout}")
        if self.bandwidth_limit is not None and self.bandwidth_limit < 1:
            raise ConfigError(f"a bandwidth of {self.bandwidth_limit} KiB/s brings nothing")

    @property
    def address(self) -> str:
        """``[user@]host``, for rsync and for people."""
        host = f"[{self.host}]" if ":" in self.host and self.host[0] != "[" else self.host
        return host if self.user is None else f"{self.user}@{host}"

    def pulling(self, directory: str) -> list[str]:
        """The command that brings files below ``directory``, each with its whole path.

        A file gets its name there when it is whole. Of an interrupted one the part is kept under
        :data:`PARTIAL`, and used by the next call.
        """
        limit = [] if self.bandwidth_limit is None else [f"--bwlimit={self.bandwidth_limit}"]
        ours = ["--chmod=D700,F600", "--force", f"--partial-dir={PARTIAL}", *limit]
        return self._command(ours, directory, self.timeout)

    def comparing(self, directory: str, *, checksum: bool, timeout: float) -> list[str]:
        """The command that transfers nothing and says, for :func:`items`, what it would do.

        Args:
            directory: as for :meth:`pulling`.
            checksum: look at the contents, not at size and time.
            timeout: s; while a file is read at the source, nothing comes.
        """
        ours = ["--dry-run", "-ii", "--out-format=%i %n", *(["--checksum"] if checksum else [])]
        return self._command(ours, directory, timeout)

    def shell(self) -> str:
        """The command that rsync starts to get there, as it takes it apart again.

        A host that does not answer is given up well before ``timeout``: silence for that long
        then means that the host answers, but that rsync is stuck there.
        """
        interval = max(1, min(KEEPALIVE, int(self.timeout / 6)))
        words = ["ssh", *self.ssh_options, "-o", "BatchMode=yes"]
        words += ["-o", f"ConnectTimeout={CONNECT_TIMEOUT}", "-o", "ServerAliveCountMax=3"]
        words += ["-o", f"ServerAliveInterval={interval}"]
        words += [] if self.port is None else ["-p", str(self.port)]
        words += [] if self.key is None else ["-o", "IdentitiesOnly=yes", "-i", self.key]
        return " ".join(map(_quoted, words))

    def _command(self, ours: list[str], directory: str, timeout: float) -> list[str]:
        return [
            *("rsync", *self.options),
            *("--copy-links", "--times", "--omit-dir-times", "--no-implied-dirs", *ours),
            # No -s: rrsync, which restricts a key, does not take it. The shell there sees only /.
            *("--files-from=-", "--from0", f"--timeout={round(timeout)}"),
            *("-e", self.shell(), f"{self.address}:/", f"{directory}/"),
        ]


def _quoted(word: str) -> str:
    """``word`` as one word for rsync, which knows doubled quotes and no backslashes."""
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else "'" + word.replace("'", "''") + "'"


def names(paths: Iterable[str]) -> bytes:
    """Absolute ``paths`` as rsync reads them from its input."""
    return b"".join(os.fsencode(path[1:]) + b"\0" for path in paths)


class Message(msgspec.Struct, frozen=True):
    """What rsync says of one file: ``path`` is absolute.

    ``kind`` is ``missing``, ``not_regular``, ``unverified`` (what came is not what was sent),
    ``detached`` (its file server is away) or ``error``, that of the system being ``errno``.
    """

    kind: str
    path: str
    errno: int = 0


def messages(output: bytes) -> Iterator[Message]:
    """The lines of ``output`` that are about one file."""
    for line in output.split(b"\n"):
        message = _message(line)
        if message is not None:
            yield message


def _message(line: bytes) -> Message | None:
    text = os.fsdecode(line)
    failed = _FAILED.match(text)
    if failed is not None:
        number = int(failed["errno"])
        kind = "missing" if number in _GONE else "detached" if number in _DETACHED else "error"
        return Message(kind, path_said(failed["path"]), number)
    for kind, pattern in _OTHERS:
        other = pattern.match(text)
        if other is not None:
            return Message(kind, path_said(other["path"]))
    return None


def items(output: bytes) -> dict[str, str]:
    """``{absolute path: changes}`` of what :meth:`Rsync.comparing` lists, as ``>fc........``."""
    found = {}
    for line in output.split(b"\n"):
        item = _ITEM.match(os.fsdecode(line))
        if item is not None:
            found[path_said(item["path"])] = item["changes"]
    return found


def same(changes: str | None) -> bool:
    """Does this item of :func:`items` say that the contents need not be transferred?"""
    return changes is not None and changes.startswith(".f")


def last_words(output: bytes) -> str:
    """Why a call failed, as ssh or rsync put it; without what is about single files."""
    lines = [line for line in output.split(b"\n") if _message(line) is None]
    texts = [os.fsdecode(line).strip() for line in lines]  # ssh ends its own with CR LF
    telling = [text for text in texts if text and not _CHATTER.match(text)]
    return "; ".join((telling or list(filter(None, texts)) or ["it said nothing"])[-2:])


def path_said(text: str) -> str:
    """The absolute path that rsync means by ``text`` in its messages."""
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 255]), os.fsencode(text))
    path = os.fsdecode(raw)
    return path if path.startswith("/") else f"/{path}"
