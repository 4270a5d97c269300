"""What a site configures for the slow signal, from a program or a YAML file.

The file has the sections of SSDAQ; keys that are only ours come beside them::

    ReadoutAssembler:
      SSReadoutAssembler: listen_ip, listen_port, relaxed_ip_range, buffer_length, readout_tw,
                          buffer_time, packet_debug_stream_file; flush_time, expected_modules,
                          allow, receive_buffer
      ReadoutPublishers:  <name>: ip, port, mode; layout, high_water_mark
                          or class, and what that takes
    SSFileWriter:         file_enumerator, file_prefix, folder, ip, port; filesize_lim, layout,
                          flush_every, sync_every
    ReadoutAssemblerDaemon, ReadoutFileWriterDaemon: stdout, stderr, set_taskset, core_id, log_level
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from socs.errors import ConfigError, naming
from socs.slow_signal.layout import MODULES
from socs.slow_signal.publish import PublisherSettings, publishers_from
from socs.slow_signal.store import SSFileWriter
from socs.slow_signal.windows import AssemblerSettings

MAX_CONFIG = 1 << 20  # bytes of a configuration file

S = TypeVar("S")


@dataclass(frozen=True)
class WriterSettings:
    """The files of a writer, see :class:`.SSFileWriter`; and where a writer of its own listens.

    Attributes:
        file_enumerator, file_prefix, folder, filesize_lim, layout, flush_every, sync_every: of the
            files.
        ip, port: of the publisher that a writer in a process of its own listens to.
    """

    file_enumerator: str | None = "date"
    file_prefix: str = "SlowSignalData"
    folder: str = "/tmp/"  # noqa: S108  as in SSDAQ
    ip: str = "127.0.0.101"
    port: int = 5555
    filesize_lim: float | None = None
    layout: str = "native"
    flush_every: float = 1.0
    sync_every: float = 10.0

    def writer(self, **more: Any) -> SSFileWriter:
        """A writer of these files, not started; ``more`` are other arguments of it.

        Raises:
            ConfigError: a setting is wrong.
        """
        return SSFileWriter(
            self.file_prefix,
            self.folder,
            self.file_enumerator,
            layout=self.layout,
            filesize_lim=self.filesize_lim,
            flush_every=self.flush_every,
            sync_every=self.sync_every,
            **more,
        )


@dataclass(frozen=True)
class DaemonSettings:
    """How a program runs in the background.

    Attributes:
        stdout, stderr: files that get its output.
        set_taskset: keep it on one processor core.
        core_id: which one.
        log_level: of its log.
    """

    stdout: str = "/dev/null"
    stderr: str = "/dev/null"
    set_taskset: bool = False
    core_id: int = 0
    log_level: str = "INFO"


@dataclass(frozen=True)
class StreamSettings:
    """Everything that a :class:`.SlowSignalStream` needs.

    Attributes:
        listen_ip, listen_port: where modules send to; port 0 takes a free one.
        relaxed_ip_range: take module numbers beyond 31 modulo 32 instead of refusing them.
        readout_tw, buffer_time, buffer_length, flush_time, expected_modules: see
            :class:`.AssemblerSettings`.
        allow: networks whose senders are heard; empty for all.
        receive_buffer: bytes asked of the kernel for the socket.
        packet_debug_stream_file: gets a line for each readout in each packet
            (:mod:`.packet_log`); None for no such file.
        publishers: where readouts are published.
        writer: files to write; None for none.

    Raises:
        ConfigError: a setting of the assembler is wrong; the message names it.
    """

    listen_ip: str = "0.0.0.0"  # noqa: S104  as in SSDAQ
    listen_port: int = 2009
    relaxed_ip_range: bool = False
    readout_tw: float = 1e7
    buffer_time: float = 4e9
    buffer_length: int = 1000
    flush_time: float | None = None
    expected_modules: Collection[int] = range(MODULES)
    allow: Sequence[str] = ()
    receive_buffer: int = 32 << 20
    packet_debug_stream_file: str | None = None
    publishers: Sequence[PublisherSettings] = ()
    writer: WriterSettings | None = None
    assembler: AssemblerSettings = field(init=False)

    def __post_init__(self) -> None:
        settings = AssemblerSettings(
            self.readout_tw,
            self.buffer_time,
            self.buffer_length,
            self.flush_time,
            self.expected_modules,
        )
        object.__setattr__(self, "assembler", settings)


@dataclass(frozen=True)
class CustomPublisherSettings:
    """A publisher that somebody has written, for ``control-ssdaq``.

    Attributes:
        name: unique among publishers.
        class_name: ``package.module.Class``; made with ``name`` and the arguments.
        arguments: the other keys.
    """

    name: str
    class_name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """A configuration file.

    Attributes:
        stream: section ``ReadoutAssembler``; its ``writer`` is None.
        writer: section ``SSFileWriter``.
        assembler_daemon, writer_daemon: sections with these names.
        sections: the names of those that are there.
        custom_publishers: those of ``ReadoutPublishers`` that have a ``class``.
    """

    stream: StreamSettings
    writer: WriterSettings
    assembler_daemon: DaemonSettings
    writer_daemon: DaemonSettings
    sections: Collection[str]
    custom_publishers: Sequence[CustomPublisherSettings] = ()


def read_configuration(path: Path) -> Configuration:
    """The configuration in the YAML file ``path``.

    Raises:
        ConfigError: it cannot be read, or says what nobody knows; the message names that.
    """
    try:
        with path.open("rb") as stream:
            content = yaml.safe_load(stream.read(MAX_CONFIG))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    with naming(str(path)):
        return configuration(content or {})


def configuration(content: Any) -> Configuration:
    """What ``content``, as a YAML file has it, says. What it leaves out is as by default.

    Raises:
        ConfigError: a section or key is unknown, or a value is wrong; the message names it.
    """
    roa, dw = "ReadoutAssemblerDaemon", "ReadoutFileWriterDaemon"
    sections = _keys("", content, {"ReadoutAssembler", "SSFileWriter", roa, dw})
    parts = _keys(
        "ReadoutAssembler",
        sections.get("ReadoutAssembler"),
        {"SSReadoutAssembler", "ReadoutPublishers"},
    )
    named = _keys("ReadoutPublishers", parts.get("ReadoutPublishers"), None)
    publishers = {str(name): keys for name, keys in named.items()}
    custom = [
        name for name, keys in publishers.items() if isinstance(keys, Mapping) and "class" in keys
    ]
    return Configuration(
        _section(
            "SSReadoutAssembler",
            parts.get("SSReadoutAssembler"),
            StreamSettings,
            _ASSEMBLER,
            publishers=publishers_from(
                {name: keys for name, keys in publishers.items() if name not in custom}
            ),
        ),
        _section("SSFileWriter", sections.get("SSFileWriter"), WriterSettings, _WRITER),
        _section(roa, sections.get(roa), DaemonSettings, _DAEMON),
        _section(dw, sections.get(dw), DaemonSettings, _DAEMON),
        tuple(sections),
        [_custom_publisher(name, publishers[name]) for name in custom],
    )


def _custom_publisher(name: str, keys: Mapping[str, Any]) -> CustomPublisherSettings:
    class_name = keys["class"]
    if not isinstance(class_name, str) or "." not in class_name:
        raise ConfigError(
            f"ReadoutPublishers: {name}: class: {class_name!r} is not as package.module.Class"
        )
    arguments = {key: value for key, value in keys.items() if key != "class"}
    return CustomPublisherSettings(name, class_name, arguments)


# -- values ---------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _number(value: Any) -> float:
    """YAML takes 1e7 for a text, as it has no point."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("is no number")
    try:
        return float(value)
    except ValueError as error:
        raise ValueError("is no number") from error


def _whole(value: Any) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError("is no whole number")
    return int(number)


def _whole_numbers(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise ValueError("is no list")
    return [_whole(each) for each in value]


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("is no list")
    return [_text(each) for each in value]


_ASSEMBLER = {
    "listen_ip": _text,
    "listen_port": _whole,
    "relaxed_ip_range": _flag,
    "readout_tw": _number,
    "buffer_time": _number,
    "buffer_length": _whole,
    "flush_time": _number,
    "expected_modules": _whole_numbers,
    "allow": _texts,
    "receive_buffer": _whole,
    "packet_debug_stream_file": _text,
}
_WRITER = {
    "file_enumerator": _text,
    "file_prefix": _text,
    "folder": _text,
    "ip": _text,
    "port": _whole,
    "filesize_lim": _number,
    "layout": _text,
    "flush_every": _number,
    "sync_every": _number,
}
_DAEMON = {
    "stdout": _text,
    "stderr": _text,
    "set_taskset": _flag,
    "core_id": _whole,
    "log_level": _text,
}
_MAY_BE_NONE = {"flush_time", "file_enumerator", "filesize_lim", "packet_debug_stream_file"}


def _keys(name: str, content: Any, known: Collection[str] | None) -> Mapping[str, Any]:
    """``content``, a mapping or nothing, if it has only ``known`` keys (None: any).

    Raises:
        ConfigError: it is none, or has others.
    """
    where = f"{name}: " if name else ""
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}{content!r} has no keys")
    unknown = [] if known is None else [str(key) for key in content if key not in known]
    if unknown:
        raise ConfigError(
            f"{where}unknown: {', '.join(unknown)}; known are {', '.join(sorted(known or ()))}"
        )
    return content


def _section(name: str, content: Any, made: type[S], known: Mapping[str, Any], **more: Any) -> S:
    """Settings ``made`` of the keys of a section.

    Raises:
        ConfigError: a key is unknown, or its value wrong.
    """
    values: dict[str, Any] = {}
    for key, value in _keys(name, content, known).items():
        if value is None and key in _MAY_BE_NONE:
            values[key] = None
            continue
        try:
            values[key] = known[key](value)
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"{name}: {key}: {value!r} {error}") from error
    with naming(name):
        return made(**values, **more)
