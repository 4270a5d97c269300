"""What the UDP receiver is made of, without a network."""

import ctypes
import errno
import mmap
import os
import re
import socket
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from socs.errors import ConfigError
from socs.wire import recvmmsg, udp_socket
from socs.wire.batch import Batch, SenderNetworks
from socs.wire.recvmmsg import (
    HEADER,
    NAME,
    PART,
    DatagramMemory,
    RecvmmsgReader,
    RecvReader,
    make_reader,
)
from socs.wire.udp_socket import KernelDrops, drops_of_table

TEXTS = [b"first", b"", b"third\0", b"\0\xff" * 16]
HOSTS = [0x7F000001, 0x0A010203, 0xC0A800FF, 0xFFFFFFFF]


def make_batch(memory: DatagramMemory | None) -> Batch:
    data = memory.data[: len(TEXTS)] if memory else np.zeros((len(TEXTS), 32), np.uint8)
    data[:] = ord("x")  # what an earlier datagram left there
    for row, text in zip(data, TEXTS, strict=True):
        row[: len(text)] = np.frombuffer(text, np.uint8)
    return Batch(
        data,
        np.array([len(text) for text in TEXTS], np.uint32),
        np.array(HOSTS, np.uint32),
        np.array([4711, 1, 65535, 0], np.uint16),
        1.5,
        memory.memory if memory else None,
    )


@pytest.fixture(params=["receiver's memory", "any array"])
def batch(request) -> Batch:
    return make_batch(DatagramMemory(8, 32) if request.param == "receiver's memory" else None)


class TestBatch:
    def test_datagrams_are_cut_at_their_sizes(self, batch):
        assert len(batch) == 4
        assert batch.datagrams() == TEXTS
        assert [batch.datagram(i) for i in range(4)] == TEXTS

    def test_datagrams_are_copies(self, batch):
        copies = batch.datagrams()
        batch.data[:] = 0
        assert copies == TEXTS

    def test_senders(self, batch):
        assert [batch.sender(i) for i in range(4)] == [
            "127.0.0.1:4711",
            "10.1.2.3:1",
            "192.168.0.255:65535",
            "255.255.255.255:0",
        ]
        assert batch.senders() == list(zip(HOSTS, [4711, 1, 65535, 0], strict=True))

    @pytest.mark.parametrize("mask", range(16))
    def test_only_some(self, batch, mask):
        wanted = [bool(mask >> i & 1) for i in range(4)]
        some = batch.only(np.array(wanted))
        assert some.datagrams() == [text for text, w in zip(TEXTS, wanted, strict=True) if w]
        assert some.hosts.tolist() == [host for host, w in zip(HOSTS, wanted, strict=True) if w]
        assert some.data.shape == (sum(wanted), 32)
        assert some.received == 1.5


class TestSenderNetworks:
    @pytest.mark.parametrize(
        ("allow", "admitted"),
        [
            ([], [True, True, True, True]),
            (["127.0.0.1"], [True, False, False, False]),
            (["127.0.0.0/8", "10.1.0.0/16"], [True, True, False, False]),
            (["10.1.2.2"], [False, False, False, False]),
            (["0.0.0.0/0"], [True, True, True, True]),
            (["255.255.255.255/32", "192.168.0.254/31"], [False, False, True, True]),
        ],
    )
    def test_admits(self, allow, admitted):
        assert SenderNetworks(allow).admits(np.array(HOSTS, np.uint32)).tolist() == admitted

    @pytest.mark.parametrize("wrong", ["10.0.0.0/33", "::1", "here", "", "10.1.2.3/8"])
    def test_malformed_is_named(self, wrong):
        with pytest.raises(ConfigError, match=re.escape(f"allow: {wrong!r} is no IPv4")):
            SenderNetworks(["127.0.0.1", wrong])

    def test_one_text_is_not_a_list_of_letters(self):
        with pytest.raises(ConfigError, match="list of networks"):
            SenderNetworks("10.0.0.0/8")


class TestLayout:
    """The structures of the C library, written down a second time in ctypes' own way."""

    class Header(ctypes.Structure):
        _fields_ = (
            ("name", ctypes.c_void_p),
            ("name_length", ctypes.c_uint32),
            ("parts", ctypes.c_void_p),
            ("part_count", ctypes.c_size_t),
            ("control", ctypes.c_void_p),
            ("control_length", ctypes.c_size_t),
            ("flags", ctypes.c_int),
        )

    class Name(ctypes.Structure):
        _fields_ = (
            ("family", ctypes.c_uint16),
            ("port", ctypes.c_uint16),
            ("host", ctypes.c_uint32),
            ("unused", ctypes.c_char * 8),
        )

    @pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="64-bit layout")
    def test_offsets(self):
        def offsets(structure):
            return {name: getattr(structure, name).offset for name, _ in structure._fields_}

        def of(dtype):
            return {name: offset for name, (_, offset) in dtype.fields.items()}

        size = ctypes.sizeof(self.Header)
        assert of(HEADER) == offsets(self.Header) | {"length": size}
        assert HEADER.itemsize == size + 8  # unsigned int, padded
        assert of(NAME) == offsets(self.Name)
        assert (NAME.itemsize, PART.itemsize) == (16, 16)


def resident() -> int:
    """Real memory of this process [bytes]."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_memory_costs_nothing_until_it_is_written_to():
    before = resident()
    many = [DatagramMemory(256, 65536) for _ in range(16)]  # 256 MiB
    assert resident() - before < 8 << 20
    for memory in many:
        memory.data[:, :300] = 1  # a page per row, 16 MiB in all; with huge pages it would be 256
    assert resident() - before < 32 << 20


class TestReading:
    def test_an_interrupted_call_is_made_again(self, monkeypatch):
        def fails_with(number):
            ctypes.set_errno(number)
            return -1

        answers = iter([0, errno.EINTR, errno.EINTR, 5, errno.EAGAIN, errno.ENOBUFS])

        def call(*args):
            answer = next(answers)
            return answer if answer in (0, 5) else fails_with(answer)

        monkeypatch.setattr(recvmmsg, "_load", lambda: call)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            reader = RecvmmsgReader(sock, DatagramMemory(8, 8))
            assert reader.read() == 5
            assert reader.read() == 0
            with pytest.raises(OSError, match=os.strerror(errno.ENOBUFS)):
                reader.read()

    def test_an_error_between_datagrams_loses_none(self):
        class Sock:
            answers: ClassVar = [
                (3, [], 0, ("127.0.0.1", 1)),
                OSError(errno.ENOBUFS, "no room"),
                OSError(errno.ENOBUFS, "no room"),
                (4, [], socket.MSG_TRUNC, ("127.0.0.2", 2)),
                BlockingIOError(),
            ]

            def recvmsg_into(self, buffers):
                answer = self.answers.pop(0)
                if isinstance(answer, OSError):
                    raise answer
                return answer

        buffers = DatagramMemory(8, 8)
        reader = RecvReader(Sock(), buffers)
        assert reader.read() == 1
        assert buffers.headers["length"][0] == 3
        with pytest.raises(OSError, match="no room"):
            reader.read()
        assert reader.read() == 1
        assert buffers.headers[["length", "flags"]][0].item() == (4, socket.MSG_TRUNC)
        assert buffers.names[["host", "port"]][0].item() == (0x7F000002, 2)


class TestChoiceOfMethod:
    @pytest.fixture
    def sock(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            yield sock

    @pytest.mark.parametrize(
        ("what", "value"),
        [
            ("platform.machine", lambda: "s390x"),
            ("sys.platform", "darwin"),
            ("ctypes.CDLL", lambda *args, **kwargs: object()),
        ],
    )
    def test_falls_back_by_itself(self, monkeypatch, sock, what, value):
        monkeypatch.setattr(f"socs.wire.recvmmsg.{what}", value)
        assert make_reader(sock, DatagramMemory(2, 8), "auto").method == "recv"
        with pytest.raises(ConfigError, match="recvmmsg"):
            make_reader(sock, DatagramMemory(2, 8), "recvmmsg")

    def test_falls_back_when_the_system_refuses_the_call(self, monkeypatch, sock):
        def refuse(*args):
            ctypes.set_errno(errno.ENOSYS)  # as from a system call filter
            return -1

        monkeypatch.setattr(recvmmsg, "_load", lambda: refuse)
        assert isinstance(make_reader(sock, DatagramMemory(2, 8), "auto"), RecvReader)

    def test_unknown(self, sock):
        with pytest.raises(ConfigError, match="method: 'fast' is none of auto, recvmmsg, recv"):
            make_reader(sock, DatagramMemory(2, 8), "fast")


class TestKernelDrops:
    def test_differences_across_the_wrap_of_32_bits(self, monkeypatch):
        counts = iter([0xFFFFFFF0, 0xFFFFFFF0, 0x10, 0x11])
        monkeypatch.setattr(udp_socket, "drops_of_socket", lambda sock: next(counts))
        drops = KernelDrops(None)
        assert [drops.new() for _ in range(4)] == [0xFFFFFFF0, 0, 0x20, 1]

    def test_table_is_asked_when_the_socket_does_not_tell(self, monkeypatch):
        monkeypatch.setattr(udp_socket, "drops_of_socket", lambda sock: None)
        monkeypatch.setattr(udp_socket, "drops_of_table", lambda sock: 7)
        assert KernelDrops(None).new() == 7

    def test_no_count_is_to_be_had(self, monkeypatch):
        monkeypatch.setattr(udp_socket, "drops_of_socket", lambda sock: None)
        monkeypatch.setattr(udp_socket, "drops_of_table", lambda sock: None)
        assert KernelDrops(None).new() == 0

    def test_table(self, tmp_path):
        table = tmp_path / "udp"
        head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt ...\n"
        line = "  {}: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            inode = os.fstat(sock.fileno()).st_ino
            text = line.format(1) + f" {inode + 1} 2 0000000000000000 5\n"
            table.write_text(head + text)
            assert drops_of_table(sock, table) is None
            table.write_text(head + text + line.format(2) + f" {inode} 2 0000000000000000 42\n")
            assert drops_of_table(sock, table) == 42
            assert drops_of_table(sock, tmp_path / "none") is None
