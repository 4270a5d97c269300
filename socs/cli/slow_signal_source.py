"""Where ``socs slow-signal`` has readouts from: a file, or a builder that publishes them."""

from __future__ import annotations

import argparse
import queue
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from socs.cli.extras import extra
from socs.errors import ConfigError, SocsError
from socs.options import seconds, whole
from socs.slow_signal.pixels import ORDERS, pixel_order

if TYPE_CHECKING:
    from socs.slow_signal.listen import SSReadoutListener

SECOND = 1_000_000_000  # ns
LIVE = "tcp://"
SILENCE = 5.0  # s without readouts until that is told


class Shown(NamedTuple):
    """A readout as it is shown.

    Attributes:
        number: of the readout.
        tack: of the readout [ns].
        cpu_ns: UTC [ns since 1970]; 0 if that is not known.
        amplitudes: (32, 64), NaN where nothing was measured [mV].
    """

    number: int
    tack: int
    cpu_ns: int
    amplitudes: NDArray[np.floating[Any]]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which modules are there: (32,)."""
        there: NDArray[np.bool_] = ~np.isnan(self.amplitudes).all(axis=1)
        return there


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what both files and streams have: which of the readouts."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a file, also while it is being written, or the publisher of a builder, such as "
        "tcp://127.0.0.101:5555; tcp://0.0.0.0:PORT waits for publishers of mode `remote`",
    )
    chosen = parser.add_argument_group("which readouts")
    chosen.add_argument(
        "--start",
        type=int,
        metavar="N",
        help="begin with this one, from 0; -1 is the last one of a file (default: the first)",
    )
    chosen.add_argument(
        "--stop", type=int, metavar="N", help="end before this one (default: after the last)"
    )
    chosen.add_argument(
        "--step", type=int, metavar="N", help="take each N-th; -1: backwards (default: 1)"
    )
    chosen.add_argument("--count", type=whole(1), metavar="N", help="take N at most (default: all)")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="fail if a publisher sends nothing for so long [s] (default: wait)",
    )


def add_mapping(parser: argparse.ArgumentParser) -> None:
    """Add the order of pixels."""
    parser.add_argument(
        "--mapping",
        choices=list(ORDERS),
        default="raw",
        help="how the pixels of a module are numbered: as they are sent (raw), as in the fast data"
        " (ssl2asic_ch), or by row and column (ssl2colrow) (default: %(default)s)",
    )


def is_live(source: str) -> bool:
    """Is ``source`` a publisher?"""
    return source.startswith(LIVE)


@contextmanager
def opened(args: argparse.Namespace, mapping: str = "raw") -> Iterator[Iterator[Shown]]:
    """The readouts that the options of :func:`add_source` ask for, pixels in the order ``mapping``.

    Raises:
        ConfigError: libraries are missing, or a setting is wrong.
        PeerError: the file cannot be read.
        SocsError: a publisher has sent nothing for too long.
    """
    if args.step == 0:
        raise ConfigError("--step must not be 0")
    readouts = _of_stream(args, mapping) if is_live(args.source) else _of_file(args, mapping)
    with closing(readouts):
        yield islice(readouts, args.count)


def _of_file(args: argparse.Namespace, mapping: str) -> Generator[Shown, None, None]:
    with extra("slow-signal"):
        from socs.slow_signal.store import SSDataReader  # noqa: PLC0415
    with SSDataReader(args.source, mapping) as reader:
        for data in reader.read(args.start, args.stop, args.step):
            cpu_ns = int(reader.cpu_t_s) * SECOND + int(reader.cpu_t_ns)
            yield Shown(int(reader.iro), int(reader.time), cpu_ns, data)


def _of_stream(args: argparse.Namespace, mapping: str) -> Generator[Shown, None, None]:
    start, stop, step = args.start or 0, args.stop, args.step or 1
    if min(start, stop or 0) < 0 or step < 0:
        raise ConfigError("--start, --stop and --step of a stream cannot be below 0")
    with closing(_received(args.source, mapping, args.timeout)) as received:
        yield from islice(received, start, stop, step)


def _received(endpoint: str, mapping: str, timeout: float | None) -> Generator[Shown, None, None]:
    host, port = address_of(endpoint)
    with extra("slow-signal"):
        from socs.slow_signal.listen import SSReadoutListener  # noqa: PLC0415
    order = pixel_order(mapping)
    listener = SSReadoutListener(port, host)
    listener.start()
    try:
        while (readout := _next(listener, endpoint, timeout)) is not None:
            cpu_ns = readout.cpu_t_s * SECOND + readout.cpu_t_ns
            yield Shown(
                readout.readout_number,
                readout.readout_timestamp,
                cpu_ns,
                readout.data[:, order],
            )
    finally:
        listener.close()
        for number, what in (
            (listener.malformed, "messages that were no readouts"),
            (listener.dropped, "readouts that came faster than they were taken, and were dropped"),
        ):
            if number:
                tell(f"{endpoint}: {number} {what}")


def _next(listener: SSReadoutListener, endpoint: str, timeout: float | None) -> Any:
    """The next readout. Long silence is told."""
    first = SILENCE if timeout is None else min(SILENCE, timeout)
    try:
        return listener.get_readout(timeout=first)
    except queue.Empty:
        pass
    rest = None if timeout is None else timeout - first
    if rest is None or rest > 0:
        tell(f"no readouts from {endpoint} for {first:g} s; waiting, Ctrl-C ends this")
        try:
            readout = listener.get_readout(timeout=rest)
        except queue.Empty:
            pass
        else:
            tell(f"readouts from {endpoint} again")
            return readout
    raise SocsError(f"no readouts from {endpoint} for {timeout:g} s; does a builder publish there?")


def address_of(endpoint: str) -> tuple[str, int]:
    """Host and port of ``tcp://host:port``.

    Raises:
        ConfigError: it is not of this form.
    """
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.path or parts.query:
        raise ConfigError(f"{endpoint} is no address of a publisher, such as tcp://127.0.0.1:5555")
    return host, port


def tell(line: str) -> None:
    """Say ``line`` on standard error."""
    print(f"socs: {line}", file=sys.stderr, flush=True)
