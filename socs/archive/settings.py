"""What a site configures for the archiver, and the options it does it with."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from socs.archive.copier import HANG, ROOM, Copier
from socs.archive.moving import Mover
from socs.archive.other_machine import add_ssh_options, host_and_user, sources_at
from socs.archive.pull import Pull
from socs.archive.rsync import Rsync
from socs.archive.selection import ALL, ARCHIVE_NAMES
from socs.archive.sources import Sources
from socs.archive.storage import DIRECTORY_MODE, FILE_MODE, RESERVED, Storage
from socs.dataroots import DataRoots
from socs.db.pysmurf_files_manager import MAX_COPY_ATTEMPTS
from socs.errors import ConfigError
from socs.options import octal, parse_bool, seconds, whole

LEASE = 300.0  # s
MOST_PER_BATCH = 10_000  # files: databases limit how many ids a statement can name


@dataclass(frozen=True)
class ArchiveSettings:
    """What a site configures. Times are in seconds.

    Attributes:
        instance_id: of this archiver.
        targets: instance ids of the agents that registered the files.
        data_dir: directory of the archive, absolute.
        roots: directories below which registered files may be read.
        archive_name: ``timestreams``, ``smurf`` (all others), or ``all``.
        max_copy_attempts: after so many failed attempts a file comes to rest.
        files_per_batch: files claimed at a time.
        poll_interval: time between two looks for new files.
        retry_wait: time until the second attempt at a file; doubles with each.
        workers: processes that copy, for each data root; large files have as many again.
        hang: time without a sign of life after which a process that copies is given up.
        lease: time for which a claim on a file holds without being renewed.
        file_mode: permissions of archived files.
        directory_mode: permissions of directories made.
        host: machine that the files are on; None for this one.
        user: to log in there.
        ssh_port: of its SSH server.
        ssh_key: private key file.
        rsync_options: further options of rsync.
        bandwidth_limit: of rsync [KiB/s].
        create_table: create the table of the copies if it is missing.
        prune_policy: YAML file that says what may be deleted where it was written.
    """

    instance_id: str
    targets: Sequence[str]
    data_dir: str
    roots: Sequence[str]
    archive_name: str = ALL
    max_copy_attempts: int = MAX_COPY_ATTEMPTS
    files_per_batch: int = 200
    poll_interval: float = 5.0
    retry_wait: float = 10.0
    workers: int = 2
    hang: float = HANG
    lease: float = LEASE
    file_mode: int = FILE_MODE
    directory_mode: int = DIRECTORY_MODE
    host: str | None = None
    user: str | None = None
    ssh_port: int | None = None
    ssh_key: str | None = None
    rsync_options: Sequence[str] = ()
    bandwidth_limit: int | None = None
    create_table: bool = True
    prune_policy: str | None = None

    def __post_init__(self) -> None:
        if self.instance_id in RESERVED:
            raise ConfigError(f"instance id {self.instance_id}: the archive uses this name itself")
        if not self.targets:
            raise ConfigError("--target names no agent whose files are to be archived")
        if not Path(self.data_dir).is_absolute() or Path(self.data_dir) == Path("/"):
            raise ConfigError(f"--data-dir {self.data_dir}: give an absolute path below /")
        DataRoots(self.roots)
        if self.files_per_batch > MOST_PER_BATCH:
            raise ConfigError(f"--files-per-batch {self.files_per_batch}: at most {MOST_PER_BATCH}")
        own = Path(self.data_dir).resolve()
        for root in self.roots if self.host is None else ():
            source = Path(root).resolve()
            if own == source or source in own.parents or own in source.parents:
                raise ConfigError(
                    f"--data-dir {self.data_dir} and --data-root {root}: one is within the other"
                )

    def storage(self) -> Storage:
        """The archive."""
        return Storage(
            self.data_dir,
            self.instance_id,
            file_mode=self.file_mode,
            directory_mode=self.directory_mode,
        )

    def mover(self, storage: Storage, report: Callable[[str], None] = lambda text: None) -> Mover:
        """What brings the files there, from this machine or from ``host``; ``report`` logs."""
        if self.host is None:
            return Copier(
                storage,
                DataRoots(self.roots),
                workers=self.workers,
                room=max(ROOM, 2 * self.files_per_batch),
                hang=self.hang,
            )
        return Pull(
            storage,
            host=self.host,
            user=self.user,
            port=self.ssh_port,
            key=self.ssh_key,
            roots=self.roots,
            rsync_options=self.rsync_options,
            bandwidth_limit=self.bandwidth_limit,
            files_per_batch=self.files_per_batch,
            report=report,
        )

    def sources(self) -> Sources:
        """What deletes files where they were written: on this machine, or on ``host``."""
        rsync = None
        if self.host is not None:
            rsync = Rsync(
                host=self.host,
                user=self.user,
                port=self.ssh_port,
                key=self.ssh_key,
                options=tuple(self.rsync_options),
                bandwidth_limit=self.bandwidth_limit,
            )
        return sources_at(rsync, self.roots, self.data_dir)


def archive_settings(args: argparse.Namespace) -> ArchiveSettings:
    """The settings in parsed options.

    Raises:
        ConfigError: one is missing or wrong; the message names it.
    """
    for option, value in (("--target", args.target), ("--data-dir", args.data_dir)):
        if not value:
            raise ConfigError(f"{option} is not set; the archiver needs it")
    host, user = host_and_user(args)
    try:
        rsync_options = shlex.split(args.rsync_options)
    except ValueError as error:
        raise ConfigError(f"--rsync-options {args.rsync_options!r}: {error}") from error
    return ArchiveSettings(
        instance_id=args.instance_id,
        targets=args.target,
        data_dir=args.data_dir,
        roots=args.data_root,
        archive_name=args.archive_name,
        max_copy_attempts=args.max_copy_attempts,
        files_per_batch=args.files_per_batch,
        poll_interval=args.poll_interval,
        retry_wait=args.retry_wait,
        workers=args.workers,
        file_mode=args.file_mode,
        directory_mode=args.directory_mode,
        host=host,
        user=user,
        ssh_port=args.ssh_port,
        ssh_key=args.ssh_key,
        rsync_options=rsync_options,
        bandwidth_limit=args.bandwidth_limit,
        create_table=args.create_table,
        prune_policy=args.prune_policy,
    )


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that :func:`archive_settings` reads."""
    _add_what(group)
    _add_how(group)
    add_ssh_options(group)
    _add_rsync(group)


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--target",
        nargs="+",
        default=[],
        metavar="INSTANCE-ID",
        help="instance ids of the agents whose registered files are archived, e.g. pysmurf-monitor",
    )
    group.add_argument("--data-dir", metavar="DIR", help="directory of the archive")
    group.add_argument(
        "--data-root",
        nargs="+",
        default=["/data"],
        metavar="DIR",
        help="directories below which registered files may be read (default /data); on this "
        "machine, give each file server one, for one that hangs holds up its own files only",
    )
    group.add_argument(
        "--archive-name",
        choices=ARCHIVE_NAMES,
        default=ALL,
        help="which files: timestreams, smurf (all others), or all (default %(default)s)",
    )
    group.add_argument(
        "--create-table",
        type=parse_bool,
        default=True,
        metavar="BOOL",
        help="create the table of the copies if it is missing (default true)",
    )
    group.add_argument(
        "--mode",
        choices=["idle", "init", "run"],
        default="run",
        help="run: archive from the start (default); idle, init: when the process run is started",
    )
    group.add_argument(
        "--prune-policy",
        metavar="FILE",
        help="YAML file: what the task delete_local may delete where it was written (default: all "
        "but tunes, IVs and channel assignments, 30 days after it was archived)",
    )


def _add_how(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-copy-attempts",
        type=whole(1),
        default=MAX_COPY_ATTEMPTS,
        metavar="N",
        help="failed attempts after which a file comes to rest (default %(default)s)",
    )
    group.add_argument(
        "--retry-wait",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="time until the second attempt at a file [s]; doubles with each (default %(default)s)",
    )
    group.add_argument(
        "--files-per-batch",
        type=whole(1),
        default=200,
        metavar="N",
        help="files claimed at a time, and with --host per call of rsync (default %(default)s)",
    )
    group.add_argument(
        "--poll-interval",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="time between two looks for new files [s] (default %(default)s)",
    )
    group.add_argument(
        "--workers",
        type=whole(1),
        default=2,
        metavar="N",
        help="processes that copy, for each data root; large files have as many again "
        "(default %(default)s)",
    )
    group.add_argument(
        "--file-mode",
        type=octal,
        default=FILE_MODE,
        metavar="MODE",
        help=f"permissions of archived files (default {FILE_MODE:o})",
    )
    group.add_argument(
        "--directory-mode",
        type=octal,
        default=DIRECTORY_MODE,
        metavar="MODE",
        help=f"permissions of new directories in the archive (default {DIRECTORY_MODE:o})",
    )


def _add_rsync(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bandwidth-limit", type=whole(1), metavar="KIB/S", help="limit of rsync [KiB/s]"
    )
    group.add_argument(
        "--rsync-options",
        default="",
        metavar="OPTIONS",
        help="further options of rsync in one text: --rsync-options='--compress --sockopts=...'",
    )
