import argparse
from pathlib import Path

import pytest
import yaml

from socs.errors import ConfigError
from socs.slow_signal.options import add_options, builder_settings
from socs.slow_signal.settings import (
    CustomPublisherSettings,
    StreamSettings,
    configuration,
    read_configuration,
)

# The example of SSDAQ's documentation, with every key in it.
SEED = """
SSFileWriter:
  file_enumerator: date #enumerates with timestamp
  file_prefix: SlowSignalData
  folder: /tmp/
  ip: 127.0.0.101
  port: 5555
ReadoutFileWriterDaemon:
  stdout: '/tmp/ssdaq_writer.log'
  stderr: '/tmp/ssdaq_writer.log'
ReadoutAssemblerDaemon:
  stdout: '/tmp/ssdaq.log'
  stderr: '/tmp/ssdaq.log'
  set_taskset: true
  core_id: 0
ReadoutAssembler:
  SSReadoutAssembler:
    listen_ip: 0.0.0.0
    listen_port: 2009
    relaxed_ip_range: false
    buffer_length: 1000
    readout_tw: !!float 1.e7 #nano seconds
    buffer_time: !!float 4e9
  ReadoutPublishers:
    ZMQReadoutPublisherLocal:
      ip: 127.0.0.101
      port: 5551
    ZMQReadoutPublisherOutbound:
      ip: 141.34.29.161
      port: 9999
      mode: outbound
    ZMQReadoutPublisherRemote:
      ip: 141.34.229.11
      port: 9999
      mode: remote
"""


def test_the_documented_example(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SEED)
    found = read_configuration(path)
    stream = found.stream
    assert (stream.listen_ip, stream.listen_port) == ("0.0.0.0", 2009)
    assert stream.relaxed_ip_range is False
    assert stream.assembler.buffer_length == 1000
    assert (stream.assembler.readout_tw, stream.assembler.buffer_time) == (1e7, 4e9)
    assert [(p.name, p.ip, p.port, p.mode) for p in stream.publishers] == [
        ("ZMQReadoutPublisherLocal", "127.0.0.101", 5551, "local"),
        ("ZMQReadoutPublisherOutbound", "141.34.29.161", 9999, "outbound"),
        ("ZMQReadoutPublisherRemote", "141.34.229.11", 9999, "remote"),
    ]
    assert stream.writer is None
    writer = found.writer
    assert (writer.file_enumerator, writer.file_prefix) == ("date", "SlowSignalData")
    assert (writer.folder, writer.ip, writer.port) == ("/tmp/", "127.0.0.101", 5555)
    assert found.assembler_daemon.set_taskset is True
    assert found.assembler_daemon.stdout == "/tmp/ssdaq.log"
    assert found.writer_daemon.stderr == "/tmp/ssdaq_writer.log"


def test_every_value_of_the_file_is_taken() -> None:
    keys = {
        "listen_ip": "10.0.0.1",
        "listen_port": 17000,
        "relaxed_ip_range": True,
        "buffer_length": 200,
        "readout_tw": "5.1e7",
        "buffer_time": "1e9",  # which YAML takes for a text
        "flush_time": 2,
        "expected_modules": [1, 2],
        "allow": ["10.0.0.0/8"],
        "receive_buffer": 1_000_000,
    }
    stream = configuration({"ReadoutAssembler": {"SSReadoutAssembler": keys}}).stream
    for name, value in keys.items():
        taken = getattr(stream, name)
        assert taken == (float(value) if name in ("readout_tw", "buffer_time") else value)
    assert stream.assembler.buffer_time == 1e9
    assert stream.assembler.patience == 2
    assert stream.assembler.expected_modules == [1, 2]
    files = {
        "file_enumerator": None,
        "file_prefix": "a",
        "folder": "/b",
        "filesize_lim": 12.5,
        "layout": "ssdaq",
        "flush_every": 3,
        "sync_every": 4,
    }
    writer = configuration({"SSFileWriter": files}).writer
    assert {name: getattr(writer, name) for name in files} == files
    daemon = {"core_id": 1, "log_level": "DEBUG"}
    assert configuration({"ReadoutAssemblerDaemon": daemon}).assembler_daemon.core_id == 1


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert read_configuration(path).stream == StreamSettings(publishers=[])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("Extra: {}", ["Extra", "SSFileWriter"]),
        ("SSFileWriter: {file_prefiks: a}", ["SSFileWriter", "file_prefiks", "file_prefix"]),
        ("ReadoutAssembler: {Other: {}}", ["ReadoutAssembler", "Other"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {tw: 1}}", ["SSReadoutAssembler", "tw"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {listen_port: x}}", ["listen_port", "x"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {listen_port: 1.5}}", ["listen_port", "whole"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {listen_port: .inf}}", ["listen_port", "whole"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {relaxed_ip_range: 1}}", ["relaxed_ip_range"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {listen_ip: 1}}", ["listen_ip", "text"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {readout_tw: -1}}", ["readout_tw", "-1"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {readout_tw: true}}", ["readout_tw", "True"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {readout_tw: null}}", ["readout_tw", "None"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {allow: 10.0.0.1}}", ["allow", "list"]),
        ("ReadoutAssembler: {SSReadoutAssembler: {expected_modules: 3}}", ["expected_modules"]),
        ("ReadoutAssembler: {ReadoutPublishers: {a: {ip: 1.2.3.4}}}", ["ReadoutPublishers", "a"]),
        ("ReadoutAssemblerDaemon: {set_taskset: 3}", ["ReadoutAssemblerDaemon", "set_taskset"]),
        ("ReadoutFileWriterDaemon: [1]", ["ReadoutFileWriterDaemon", "keys"]),
        ("[1]", ["keys"]),
        ("a: [", ["YAML"]),
        ("a: !!python/name:os.system", ["YAML"]),
    ],
)
def test_what_nobody_knows_is_refused_and_named(tmp_path: Path, change, names) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(change)
    with pytest.raises(ConfigError) as error:
        read_configuration(path)
    for name in [str(path), *names]:
        assert name in str(error.value)


CUSTOM = """
ReadoutAssembler:
  ReadoutPublishers:
    a: {ip: 127.0.0.1, port: 1}
    b: {class: package.module.Class, ip: somewhere, more: [1]}
"""


def test_publishers_with_a_class_come_apart_from_ours() -> None:
    chosen = configuration(yaml.safe_load(CUSTOM))
    assert [each.name for each in chosen.stream.publishers] == ["a"]
    assert chosen.custom_publishers == [
        CustomPublisherSettings("b", "package.module.Class", {"ip": "somewhere", "more": [1]})
    ]


def test_the_agent_refuses_publishers_with_a_class(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CUSTOM)
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group())
    args = parser.parse_args(["--config", str(tmp_path / "config.yaml")])
    with pytest.raises(ConfigError, match="ReadoutPublishers: b: class is for control-ssdaq"):
        builder_settings(args)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        read_configuration(tmp_path / "absent.yaml")


def test_the_example_holds_every_key_that_ssdaq_has() -> None:
    """So that the test above looks at all of them."""
    content = yaml.safe_load(SEED)
    assembler = content["ReadoutAssembler"]["SSReadoutAssembler"]
    assert assembler.keys() == {
        *("listen_ip", "listen_port", "relaxed_ip_range"),
        *("buffer_length", "readout_tw", "buffer_time"),
    }
