"""Many files as one data set: lazily, in threads, and on a cluster of processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pytest

from socs.errors import ConfigError, FileNotReady
from socs.slow_signal import pixels
from socs.slow_signal.layout import Readouts, millivolts
from socs.slow_signal.store import SSDataWriter, dataset, open_dataset
from tests.camera_data import random_walk, without

SIZES = {"native": 130, "seed": 70, "ssdaq": 50}  # readouts
TOTAL = sum(SIZES.values())


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    """Threads of dask would outlive the tests."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def readouts() -> Readouts:
    readouts = random_walk(TOTAL)
    readouts[100] = without(readouts[100:101], 0xFFFF)[0]
    return readouts


@pytest.fixture(scope="module")
def folder(tmp_path_factory, readouts: Readouts) -> Path:
    folder = tmp_path_factory.mktemp("files")
    start = 0
    for layout, count in SIZES.items():
        with SSDataWriter(folder / f"{layout}.hdf5", layout=layout) as writer:
            writer.write_readouts(readouts[start : start + count])
        start += count
    return folder


def test_all_files_are_one_data_set(folder: Path, readouts: Readouts) -> None:
    data = open_dataset(str(folder / "*.hdf5"), chunk=40)
    assert dict(data.sizes) == {"readout": TOTAL, "module": 32, "pixel": 64, "tack_kind": 2}
    assert data.amplitude.chunks[0] == (40, 40, 40, 10, 40, 30, 40, 10)
    np.testing.assert_array_equal(data.amplitude.values, millivolts(readouts).astype("f4"))
    for name in ("number", "tack", "present"):
        np.testing.assert_array_equal(data[name].values, readouts[name])
    expected = readouts["cpu_ns"].copy()
    expected[130:200] = 0  # in the seed's layout there is no time
    np.testing.assert_array_equal(data.time.values.astype("i8"), expected)
    assert (data.module_tacks.values[:200] == readouts["tacks"][:200]).all()


def test_nothing_is_read_before_it_is_needed(folder: Path, monkeypatch) -> None:
    read = []
    real = dataset.read_column
    monkeypatch.setattr(
        dataset, "read_column", lambda *args: (read.append(args[1:4]), real(*args))[1]
    )
    data = open_dataset([folder / "native.hdf5"], chunk=50)
    assert read == []
    data.amplitude[60].compute()
    assert sorted(read) == [("cpu_ns", 50, 100), ("data", 50, 100)]
    assert data.nbytes > 0


def test_pixels_in_another_order(folder: Path, readouts: Readouts) -> None:
    data = open_dataset(folder / "ssdaq.hdf5", mapping="ssl2asic_ch")
    order = pixels.ORDERS["ssl2asic_ch"]
    expected = millivolts(readouts[-50:]).astype("f4")[:, :, order]
    np.testing.assert_array_equal(data.amplitude.values, expected)
    assert open_dataset(folder / "ssdaq.hdf5", mapping=[1, 2]).sizes["pixel"] == 2


ANALYSIS = """
import sys
import numpy as np
from distributed import Client, LocalCluster
from socs.slow_signal import open_dataset

if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None)
    with cluster, Client(cluster):
        data = open_dataset(sys.argv[1], chunk=40)
        mean = data.amplitude.mean("readout").values
        brightest = data.amplitude.max(("module", "pixel")).values
    np.savez(sys.argv[2], mean=mean, brightest=brightest)
"""


def test_a_cluster_computes_it_unchanged(folder: Path, readouts: Readouts, tmp_path: Path) -> None:
    program, results = tmp_path / "analysis.py", tmp_path / "results.npz"
    program.write_text(ANALYSIS)
    command = [sys.executable, program, folder / "*.hdf5", results]
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    amplitudes = millivolts(readouts).astype("f4")
    with np.load(results) as found:
        expected = np.nanmean(amplitudes, axis=0)
        np.testing.assert_allclose(found["mean"], expected, rtol=1e-5)
        np.testing.assert_array_equal(found["brightest"], np.nanmax(amplitudes, axis=(1, 2)))


def test_files_that_are_not_there_are_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no file is called"):
        open_dataset(str(folder / "nothing*"))
    with pytest.raises(FileNotReady):
        open_dataset([folder / "nothing.hdf5"])
    with pytest.raises(ConfigError, match="mapping"):
        open_dataset(str(folder / "*"), mapping="asic")


def test_without_the_extra_its_name_is_told(folder: Path) -> None:
    program = f"""
import sys
sys.modules["xarray"] = None
from socs.errors import ConfigError
from socs.slow_signal import open_dataset
try:
    open_dataset({str(folder / "native.hdf5")!r})
except ConfigError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "socs[analysis]" in done.stdout
