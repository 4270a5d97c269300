"""Files as a pysmurf session writes them, and messages about them."""

from __future__ import annotations

import hashlib
import os
import random
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from socs.sim.pysmurf_truth import Truth

if TYPE_CHECKING:
    from socs.sim.pysmurf_publisher import Publisher

FILES_PER_SESSION = 5_000  # files in one directory
FILES_PER_ACTION = 10
ACTIONS = ("take_iv", "take_noise_psd", "take_bias_steps", "take_bgmap", "tune")
REGISTERS = (
    ("AMCc.SmurfProcessor.SOStream.open_g3stream", lambda rng: rng.randrange(2)),
    ("AMCc.FpgaTopLevel.AppTop.AppCore.temperature", lambda rng: rng.uniform(40, 60)),
    ("AMCc.SmurfProcessor.SOStream.stream_tag", lambda rng: f"obs_{rng.randrange(100)}"),
    ("AMCc.FpgaTopLevel.AppTop.JesdHealth.Valid", lambda rng: rng.random() < 0.99),
)


@dataclass(frozen=True)
class WrittenFile:
    """A file on disk that can be announced."""

    path: str
    md5: str
    format: str
    timestamp: float
    action: str
    action_ts: int


class FileSource:
    """Writes files as a pysmurf session does, ``ROOT/<date>/<ctime>/outputs/<ts>_<name>.npy``.

    The files are NumPy arrays of random bytes; those too small for NumPy's header are plain random
    bytes with the ending ``.dat``.

    Args:
        publisher: announces them.
        root: directory; made if missing.
        truth: is kept up to date.
        seed: the same seed makes the same contents and register values.
        size: smallest and largest file [bytes].
    """

    def __init__(
        self,
        publisher: Publisher,
        root: Path,
        *,
        truth: Truth,
        seed: int = 0,
        size: tuple[int, int] = (4096, 4096),
    ) -> None:
        self._publisher, self._root, self._truth, self._size = publisher, root, truth, size
        self._random = random.Random(f"contents {seed}")
        self._written = 0
        self._outputs = ""
        self._action_ts = 0

    def write(self) -> WrittenFile:
        """Write one file, without announcing it."""
        number = self._written
        if number % FILES_PER_SESSION == 0:
            self._outputs = self._new_session()
        now = time.time()
        if number % FILES_PER_ACTION == 0:
            self._action_ts = int(now)
        action = ACTIONS[number // FILES_PER_ACTION % len(ACTIONS)]
        size = self._random.randint(*self._size)
        header = npy_header(size)
        content = header + self._random.randbytes(size - len(header))
        format = "npy" if header else "dat"
        path = f"{self._outputs}/{int(now)}_{action}_{number:08d}.{format}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with open(descriptor, "wb", buffering=0) as stream:
            stream.write(content)
        self._written += 1
        self._truth.bytes_written += size
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return WrittenFile(path, md5, format, now, action, self._action_ts)

    def announce(self, file: WrittenFile) -> None:
        """Announce a file that was written."""
        with self._publisher.set_action(file.action, file.action_ts):
            sent = self._publisher.register_file(file.path, "sim", file.format, file.timestamp)
        self._truth.record_file(file.path, file.md5, announced=sent)

    def send_metadata(self) -> None:
        """Send the value of some register."""
        path, value_of = self._random.choice(REGISTERS)
        value = value_of(self._random)
        payload = {"path": path, "value": value, "type": type(value).__name__}
        self._publisher.publish(payload, "metadata")

    def send_session(self) -> None:
        """Send session data and a line for the session's log."""
        self._publisher.publish({"files_written": self._written}, "session_data")
        self._publisher.publish(f"{self._written} files written", "session_log")

    def _new_session(self) -> str:
        ctime = int(time.time())
        while True:
            session = self._root / time.strftime("%Y%m%d", time.gmtime(ctime)) / str(ctime)
            try:
                session.mkdir(parents=True)
            except FileExistsError:  # a session of the same second
                ctime += 1
                continue
            (session / "outputs").mkdir()
            return str(session.absolute() / "outputs")


@lru_cache(maxsize=1024)
def npy_header(size: int) -> bytes:
    """Header of a ``.npy`` file of ``size`` bytes with an array of bytes; empty if it has no room.

    Format version 1.0: magic, version, length of the rest, a dict padded to a multiple of 64 bytes.
    """
    length = 128
    shape = f"({size - length},)"
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    if size < length:
        return b""
    magic = b"\x93NUMPY\x01\x00" + (length - 10).to_bytes(2, "little")
    return magic + text.ljust(length - 11).encode() + b"\n"
