"""The options of a builder, and the settings that they and a configuration file make."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from socs.db import options as db_options
from socs.errors import ConfigError
from socs.options import MIB, numbers, parse_bool, seconds, whole
from socs.slow_signal.builder import BuilderSettings
from socs.slow_signal.layout import MODULES
from socs.slow_signal.publish import LOCAL, MODES, PublisherSettings
from socs.slow_signal.readout import MESSAGES
from socs.slow_signal.settings import StreamSettings, WriterSettings, read_configuration
from socs.slow_signal.store import LAYOUTS
from socs.wire.options import add_allow_sender, add_receive_buffer

PUBLISH = "127.0.0.101:5555"
NOWHERE = "none"
CONFIGURED = "of --config, else "  # how the help shows where a default comes from

# Options by the field that they set, if they are given.
_STREAM = {
    "listen_ip": "udp_address",
    "listen_port": "udp_port",
    "allow": "allow_sender",
    "relaxed_ip_range": "relaxed_ip_range",
    "readout_tw": "readout_tw",
    "buffer_time": "buffer_time",
    "buffer_length": "buffer_length",
    "flush_time": "flush_time",
    "expected_modules": "modules",
}
_WRITER = {
    "folder": "folder",
    "file_prefix": "file_prefix",
    "file_enumerator": "file_enumerator",
    "filesize_lim": "filesize_lim",
    "layout": "file_layout",
    "flush_every": "flush_every",
    "sync_every": "sync_every",
}


def builder_settings(args: argparse.Namespace) -> BuilderSettings:
    """The settings in parsed options.

    Raises:
        ConfigError: one is wrong, or the configuration file is; the message names it.
    """
    stream, writer = StreamSettings(), WriterSettings()
    writes = args.folder is not None
    if args.config is not None:
        configured = read_configuration(Path(args.config))
        stream, writer = configured.stream, configured.writer
        if configured.custom_publishers:
            names = ", ".join(each.name for each in configured.custom_publishers)
            raise ConfigError(
                f"{args.config}: ReadoutPublishers: {names}: class is for control-ssdaq alone"
            )
        writes = writes or "SSFileWriter" in configured.sections
    writer = dataclasses.replace(writer, **_given(args, _WRITER))
    changes = _given(args, _STREAM)
    if args.receive_buffer is not None:
        changes["receive_buffer"] = int(args.receive_buffer * MIB)
    if args.publish is not None or not stream.publishers:
        changes["publishers"] = _publishers(args.publish or [PUBLISH], args)
    return BuilderSettings(
        stream=dataclasses.replace(stream, writer=writer if writes else None, **changes),
        writer=writer,
        constants=db_options.row_constants(args),
        roots=tuple(args.data_root),
        pub_id=args.pub_id,
        **db_options.spool_settings(args),
    )


def _given(args: argparse.Namespace, options: dict[str, str]) -> dict[str, Any]:
    found = {field: getattr(args, option) for field, option in options.items()}
    return {field: value for field, value in found.items() if value is not None}


def _publishers(texts: Sequence[str], args: argparse.Namespace) -> list[PublisherSettings]:
    if list(texts) == [NOWHERE]:
        return []
    return [_publisher(text, args) for text in texts]


def _publisher(text: str, args: argparse.Namespace) -> PublisherSettings:
    """What ``[MODE:]IP:PORT`` says.

    Raises:
        ConfigError: it is not of this form.
    """
    found = re.fullmatch(r"(?:([a-z]+):)?([\d.]+):(\d{1,5})", text)
    if found is None:
        raise ConfigError(
            f"--publish {text}: give [MODE:]IP:PORT with MODE {', '.join(MODES)}, or {NOWHERE}"
        )
    mode, ip, port = found.groups()
    return PublisherSettings(
        text, ip, int(port), mode or LOCAL, args.message_layout, args.high_water_mark
    )


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that :func:`builder_settings` reads."""
    group.add_argument(
        "--config",
        metavar="FILE",
        help="configuration of SSDAQ (YAML), of which the sections ReadoutAssembler and "
        "SSFileWriter count; other options come before what it says",
    )
    _add_network(group)
    _add_assembling(group)
    _add_publishing(group)
    _add_files(group)
    _add_table(group)


def _add_network(group: argparse._ArgumentGroup) -> None:
    stream = StreamSettings()
    group.add_argument(
        "--udp-port",
        type=whole(0),
        metavar="PORT",
        help=f"UDP port that modules send to (default: {CONFIGURED}{stream.listen_port})",
    )
    group.add_argument(
        "--udp-address",
        metavar="ADDRESS",
        help=f"IPv4 address to listen on (default: {CONFIGURED}{stream.listen_ip}, all interfaces)",
    )
    add_allow_sender(group, None)
    add_receive_buffer(group, None, f"{CONFIGURED}{stream.receive_buffer // MIB}")
    group.add_argument(
        "--relaxed-ip-range",
        type=parse_bool,
        metavar="BOOL",
        help="take module numbers above 31 modulo 32; a module's number is the last part of its "
        "address modulo 100 (default: false, they are refused)",
    )


def _add_assembling(group: argparse._ArgumentGroup) -> None:
    settings = StreamSettings().assembler
    group.add_argument(
        "--modules",
        type=numbers(MODULES - 1),
        metavar="LIST",
        help="modules that make a readout complete, e.g. 0-15,20 (default: all 32)",
    )
    group.add_argument(
        "--readout-tw",
        type=float,
        metavar="NS",
        help="parts whose TACKs differ by less belong to one readout [ns] (default: "
        f"{CONFIGURED}{settings.readout_tw:.0e}); less than the time between readouts",
    )
    group.add_argument(
        "--buffer-time",
        type=float,
        metavar="NS",
        help="how far TACKs go on until an incomplete readout goes out [ns] (default: "
        f"{CONFIGURED}{settings.buffer_time:.0e})",
    )
    group.add_argument(
        "--buffer-length",
        type=whole(1),
        metavar="N",
        help="most readouts that are put together at once (default: "
        f"{CONFIGURED}{settings.buffer_length})",
    )
    group.add_argument(
        "--flush-time",
        type=seconds,
        metavar="SECONDS",
        help="age at which an incomplete readout goes out however far TACKs are [s] (default: as "
        "long as --buffer-time)",
    )


def _add_publishing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--publish",
        nargs="+",
        metavar="[MODE:]IP:PORT",
        help="where readouts are published over ZMQ; MODE is local or outbound (wait there for "
        "subscribers) or remote (connect to a subscriber that waits there). none: nowhere. "
        f"(default: {CONFIGURED}{PUBLISH})",
    )
    group.add_argument(
        "--message-layout",
        choices=sorted(MESSAGES),
        default="seed",
        help="layout of what --publish sends: seed has 16 912 bytes, ssdaq 16 416 as since SSDAQ "
        "0.9 (default %(default)s)",
    )
    group.add_argument(
        "--high-water-mark",
        type=whole(1),
        default=PublisherSettings("", "", 1).high_water_mark,
        metavar="N",
        help="readouts that may wait for a slow subscriber of --publish (default %(default)s)",
    )


def _add_files(group: argparse._ArgumentGroup) -> None:
    writer = WriterSettings()
    group.add_argument(
        "--folder",
        metavar="DIR",
        help="write readouts to files in this directory (default: that of SSFileWriter in "
        "--config, else no files)",
    )
    group.add_argument(
        "--file-prefix",
        metavar="TEXT",
        help=f"how the names of files begin (default: {CONFIGURED}{writer.file_prefix})",
    )
    group.add_argument(
        "--file-enumerator",
        choices=("date", "order", "none"),
        help="how they go on: UTC, or numbers from 00001 (default: "
        f"{CONFIGURED}{writer.file_enumerator})",
    )
    group.add_argument(
        "--filesize-lim",
        type=float,
        metavar="MIB",
        help=f"begin a new file at this size [MiB]; 0: no limit (default: {CONFIGURED}no limit)",
    )
    group.add_argument(
        "--file-layout",
        choices=sorted(LAYOUTS),
        help=f"layout of the files (default: {CONFIGURED}{writer.layout})",
    )
    group.add_argument(
        "--flush-every",
        type=seconds,
        metavar="SECONDS",
        help="readouts of this time may be lost by a crash of the agent [s] (default: "
        f"{CONFIGURED}{writer.flush_every:g})",
    )
    group.add_argument(
        "--sync-every",
        type=seconds,
        metavar="SECONDS",
        help="readouts of this time may be lost by a crash of the machine [s] (default: "
        f"{CONFIGURED}{writer.sync_every:g})",
    )
    group.add_argument(
        "--data-root",
        nargs="+",
        default=[],
        metavar="DIR",
        help="directories below which the task set_writer may have files written (default: the "
        "folder)",
    )


def _add_table(group: argparse._ArgumentGroup) -> None:
    db_options.add_options(group)
    group.add_argument(
        "--pub-id",
        metavar="TEXT",
        help="publisher id noted in each row, e.g. the name of the camera (default: none)",
    )
