"""What SSDAQ's own classes are asked to do, in a process of their own: ``COMMAND ARGUMENTS``.

Run by the Python that has what SSDAQ needs, with SSDAQ's sources on its path; see
:mod:`tests.ssdaq_peer`. Knows nothing of socs. Arrays go in and out as ``.npz`` files.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import types

import numpy as np
import zmq

if importlib.util.find_spec("MySQLdb") is None:  # wanted for a database of telescopes alone
    sys.modules["MySQLdb"] = types.ModuleType("MySQLdb")

import ssdaq
from ssdaq.utils.daemon import Daemon

IS_SEED = hasattr(ssdaq, "SSReadoutAssembler")  # until 0.6; the newest version is made otherwise
if IS_SEED:
    from ssdaq import SSDataReader, SSDataWriter, SSReadout
    from ssdaq import SSReadoutAssembler as Assembler
    from ssdaq import ZMQReadoutPublisher as Publisher
else:
    from ssdaq.core.publishers import ZMQTCPPublisher as Publisher
    from ssdaq.data import SSReadout
    from ssdaq.data.io import SSDataReader, SSDataWriter
    from ssdaq.receivers import ReadoutAssembler as Assembler

SECOND = 10**9  # ns
END = 1  # TACK of the message, numbered 0, after which nothing comes


def readouts_in(path):
    """SSDAQ's readouts of the arrays in ``path``."""
    arrays = np.load(path)
    number, tack = arrays["number"].tolist(), arrays["tack"].tolist()
    seconds, rest = (column.tolist() for column in np.divmod(arrays["cpu_ns"], SECOND))
    tacks, data = arrays["tacks"], arrays["data"]
    every = range(len(tack))
    if IS_SEED:
        return [SSReadout(tack[i], number[i], data[i], tacks[i]) for i in every]
    return [SSReadout(tack[i], number[i], seconds[i], rest[i], data[i]) for i in every]


def write(path, source):
    """A file of the readouts in ``source``."""
    writer = SSDataWriter(path, attrs={"place": "here"})
    for readout in readouts_in(source):
        writer.write_readout(readout)
    if not IS_SEED:
        writer.write_tel_data(1.5, -2.5, 1700000000.25, 1700000000, 250000000)
    writer.close_file()


def read(path, target):
    """All that the reader tells of a file."""
    reader = SSDataReader(path)
    names = ["readout_number", "readout_time", "readout_timestamps", "raw_readout"]
    if not IS_SEED:
        names = ["iro", "time", "cpu_t_s", "cpu_t_ns", "cpu_t", "raw_data", "data"]
    found = {name: [] for name in names}
    for _ in reader.read():
        for name in names:
            found[name].append(np.array(getattr(reader, name)))
    extra = {"n_readouts": reader.n_readouts}
    if not IS_SEED:
        extra["third"], extra["module"] = reader[3], reader.load_all_data(7).amps
    reader.close_file()
    np.savez(target, **found, **extra)


def listen(port, target):
    """Every message from ``port``, until that which tells the end. Says when it hears something."""
    if IS_SEED:
        listener = ssdaq.SSReadoutListener(ip="127.0.0.1", port=port)
        heard_next = listener.get_readout
        names = ["readout_number", "readout_timestamp", "data", "timestamps"]
    else:
        listener = ssdaq.subscribers.SSReadoutSubscriber(ip="127.0.0.1", port=port)
        heard_next = listener.get_data
        names = ["iro", "time", "cpu_t_s", "cpu_t_ns", "data"]
    listener.start()
    heard, ready = [], False
    while True:
        readout = heard_next()
        number, tack = getattr(readout, names[0]), getattr(readout, names[1])
        if number:
            heard.append(readout)
        elif tack == END:
            break
        elif not ready:
            ready = True
            print("ready", flush=True)
    listener.close()
    listener.join()
    np.savez(target, **{name: [getattr(each, name) for each in heard] for name in names})


def in_folder(folder):
    """Control sockets and pid files, which have fixed names in /tmp, lie in ``folder`` instead."""
    for name in ("bind", "connect"):
        setattr(zmq.Socket, name, elsewhere(getattr(zmq.Socket, name), folder))
    Daemon.__init__ = elsewhere(Daemon.__init__, folder)


def elsewhere(method, folder):
    """``method`` with a path in ``folder`` instead of the one in /tmp."""

    def changed(self, path, *args, **kwargs):
        return method(self, path.replace("/tmp/", folder + "/"), *args, **kwargs)

    return changed


def assemble(udp, port, folder, settings):
    """The assembler, with one publisher."""
    in_folder(folder)
    publishers = [Publisher("127.0.0.1", int(port))]
    Assembler(listen_port=int(udp), publishers=publishers, **json.loads(settings)).run()


def control(folder, *arguments):
    """The command ``control-ssdaq``."""
    in_folder(folder)
    from ssdaq.bin.ssdaq_control import main  # noqa: PLC0415  the newest version's needs more

    sys.argv = ["control-ssdaq", *arguments]
    main()


def rates(path, source, picks):
    """How fast it writes and reads [readouts/s], by the clock and by this process's CPU time."""
    readouts = readouts_in(source)
    chosen = np.random.default_rng(1).integers(0, len(readouts), int(picks))

    def timed(do, count):
        clock, cpu = time.perf_counter(), time.process_time()
        do()
        return count / (time.perf_counter() - clock), count / (time.process_time() - cpu)

    def written():
        writer = SSDataWriter(path)
        for readout in readouts:
            writer.write_readout(readout)
        writer.close_file()

    def in_order():
        for _ in reader.read():
            pass

    def at_random():
        for number in chosen.tolist():
            if IS_SEED:  # has no other way
                next(reader.read(number, number + 1))
            else:
                reader[number]

    result = {"write": timed(written, len(readouts))}
    reader = SSDataReader(path)
    result["read"] = timed(in_order, len(readouts))
    reader.close_file()
    reader = SSDataReader(path)
    result["random"] = timed(at_random, len(chosen))
    reader.close_file()
    print(json.dumps(result))


if __name__ == "__main__":
    known = {each.__name__: each for each in (write, read, listen, assemble, control, rates)}
    known[sys.argv[1]](*sys.argv[2:])
