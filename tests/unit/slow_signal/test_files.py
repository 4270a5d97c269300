"""Files of each layout: what is written is read, under all the names that the peers have for it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tables

from socs.errors import ConfigError, FileNotReady, Malformed, StorageUnavailable
from socs.slow_signal import pixels
from socs.slow_signal.layout import MV_PER_COUNT, Readouts, millivolts
from socs.slow_signal.readout import SSReadout
from socs.slow_signal.store import SSDataReader, SSDataWriter, formats, recover
from socs.slow_signal.store.hdf5_files import NativeFile
from tests.camera_data import BEGIN, random_walk, without

COUNT = 700  # more than a batch of any layout
ASIC = pixels.ORDERS["ssl2asic_ch"]


@pytest.fixture(scope="module")
def readouts() -> Readouts:
    readouts = random_walk(COUNT)
    readouts[5] = without(readouts[5:6], 0x7FFFFFFE)[0]
    readouts[64] = without(readouts[64:65], 0)[0]
    return readouts


@pytest.fixture(scope="module", params=formats.LAYOUTS)
def path(request, readouts: Readouts, tmp_path_factory) -> Path:
    """A complete file of each layout."""
    path = tmp_path_factory.mktemp(request.param) / "x.hdf5"
    with SSDataWriter(path, {"site": "Teneriffa"}, layout=request.param) as writer:
        writer.write_readouts(readouts)
    return path


@pytest.fixture
def reader(path: Path):
    with SSDataReader(path, mapping="raw") as reader:
        yield reader


def as_in(layout: str, readouts: Readouts) -> Readouts:
    """``readouts`` with what the layout has of them."""
    some = readouts.copy()
    if layout == "seed":
        some["cpu_ns"] = 0
    if layout == "ssdaq":
        some["tacks"] = 0
    return some


# -- reading --------------------------------------------------------------------------------------


def test_readouts_come_back(reader: SSDataReader, readouts: Readouts) -> None:
    assert len(reader) == reader.n_readouts == COUNT
    assert reader.readouts().tobytes() == as_in(reader.layout, readouts).tobytes()
    assert reader.readouts(60, -600).tobytes() == as_in(reader.layout, readouts)[60:100].tobytes()


def test_columns_come_back(reader: SSDataReader, readouts: Readouts) -> None:
    expected = as_in(reader.layout, readouts)
    for name in ("number", "tack", "cpu_ns", "present", "tacks", "counts"):
        np.testing.assert_array_equal(reader.column(name), expected[name])
        np.testing.assert_array_equal(reader.column(name, 63, 130), expected[name][63:130])
        assert reader.column(name, 9, 9).shape == expected[name][:0].shape
    amplitudes = millivolts(readouts).astype(np.float32)
    np.testing.assert_array_equal(reader.column("amplitudes", 1, 70), amplitudes[1:70])
    for theirs, ours in (("iro", "number"), ("ro_time", "tack"), ("time_stamps", "tacks")):
        np.testing.assert_array_equal(reader.column(theirs), expected[ours])
    with pytest.raises(ConfigError, match="no column 'amp'"):
        reader.column("amp")


@pytest.mark.parametrize(
    "picked",
    [
        slice(None),
        slice(10, 20),
        slice(None, None, -1),
        slice(690, 3, -65),
        slice(3, 690, 65),
        slice(-3, 5000),
        slice(5, 5),
        [3, -1, 3, 511, 512],
        np.array([0, 699], np.uint16),
        [],
    ],
    ids=str,
)
def test_any_choice_of_readouts(path: Path, readouts: Readouts, picked) -> None:
    expected = millivolts(readouts).astype(np.float32)
    with SSDataReader(path, mapping="ssl2asic_ch") as reader:
        np.testing.assert_array_equal(reader[picked], expected[picked][:, :, ASIC])
        if isinstance(picked, slice):
            seen = [data.copy() for data in reader.read(picked.start, picked.stop, picked.step)]
            np.testing.assert_array_equal(np.array(seen).reshape(-1, 32, 64), reader[picked])


def test_readouts_at_random(reader: SSDataReader, readouts: Readouts) -> None:
    expected = millivolts(readouts).astype(np.float32)
    for number in np.random.default_rng(1).integers(-COUNT, COUNT, 50):
        np.testing.assert_array_equal(reader[number], expected[number])
        assert reader.iro == readouts["number"][number]
    with pytest.raises(IndexError, match="700 of 700"):
        reader[COUNT]
    with pytest.raises(IndexError):
        reader[[0, -COUNT - 1]]
    for wrong in (1.0, "1", None, [0.5], [[1]]):
        with pytest.raises(TypeError):
            reader[wrong]


def test_a_mask_picks_readouts(reader: SSDataReader, readouts: Readouts) -> None:
    mask = readouts["number"] % 100 == 0
    np.testing.assert_array_equal(reader[mask], millivolts(readouts[mask]).astype(np.float32))


def test_attributes_are_those_of_the_readout_at_hand(path: Path, readouts: Readouts) -> None:
    with SSDataReader(path, "ssl2colrow") as reader:
        assert reader.iro is None
        assert reader.data is None
        assert reader.ssreadout is None
        expected = as_in(reader.layout, readouts)
        for row, data in zip(expected, reader, strict=True):
            raw = millivolts(row.reshape(1))[0]
            np.testing.assert_array_equal(reader.raw_data, raw.astype(np.float32))
            np.testing.assert_array_equal(reader.raw_readout, reader.raw_data)
            np.testing.assert_array_equal(data, reader.raw_data[:, reader.map])
            np.testing.assert_array_equal(data, reader.data)
            assert reader.iro == reader.readout_number == row["number"]
            assert reader.time == reader.readout_time == row["tack"]
            assert (reader.readout_timestamps == row["tacks"]).all()
            assert divmod(int(row["cpu_ns"]), 10**9) == (reader.cpu_t_s, reader.cpu_t_ns)
            assert reader.cpu_t == reader.cpu_t_s + reader.cpu_t_ns * 1e-9
        readout = reader.ssreadout
        assert isinstance(readout, SSReadout)
        again, residues = readout.to_rows()
        assert again.tobytes() == expected[-1].tobytes()
        assert residues is None


def test_pixels_are_in_the_order_of_the_layout_unless_told_otherwise(path: Path) -> None:
    with SSDataReader(path) as reader:
        asic = reader.layout == "ssdaq"
        assert reader.map.tolist() == pixels.ORDERS["ssl2asic_ch" if asic else "raw"].tolist()
    with SSDataReader(path, mapping=[3, 1]) as reader:
        assert reader[0].shape == (32, 2)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConfigError, match="No mapping found with name asic"):
        SSDataReader(path, mapping="asic")
    assert os.listdir("/proc/self/fd") == before


def test_all_data_of_a_module(reader: SSDataReader, readouts: Readouts) -> None:
    amplitudes = millivolts(readouts)[:, 7].astype(np.float32).astype(np.float64)
    data = reader.load_all_data(7)
    np.testing.assert_array_equal(data.amps, amplitudes)
    assert (data.iro == readouts["number"]).all()
    assert (data.time == readouts["tack"]).all()
    assert data.tm == 7
    if reader.layout != "seed":
        assert (data.cpu_t == BEGIN // 10**9 + np.arange(COUNT) * 0.1).all()
    calib = np.arange(64.0)
    calibrated = reader.load_all_data(7, calib=calib, mapping="ssl2asic_ch").amps
    np.testing.assert_array_equal(calibrated, (amplitudes * calib)[:, ASIC])
    np.testing.assert_array_equal(reader.load_all_data(7, 2.0, [5]).amps, 2 * amplitudes[:, [5]])
    with pytest.raises(ConfigError, match="no module 32"):
        reader.load_all_data(32)


def test_a_pandas_table(tmp_path: Path, readouts: Readouts) -> None:
    pytest.importorskip("pandas", reason="comes with the extra analysis")
    path = tmp_path / "x.hdf5"
    with SSDataWriter(path) as writer:
        writer.write_readouts(readouts[:3])
    with SSDataReader(path) as reader:
        table = reader.load_as_pd_table()
    assert list(table.columns) == ["time", "cpu_t", "amp"]
    assert len(table) == 3 * 2048
    row = table.loc[(2, 65)]
    assert row["time"] == readouts["tack"][1]
    assert row["amp"] == np.float32(readouts["counts"][1, 1, 1] * MV_PER_COUNT)


def test_attributes_of_the_file(reader: SSDataReader) -> None:
    assert reader.attrs.site == reader.attrs["site"] == "Teneriffa"
    assert "nothing" not in reader.attrs
    with pytest.raises(AttributeError, match="no attribute nothing"):
        _ = reader.attrs.nothing
    assert "700" in str(reader)


# -- writing --------------------------------------------------------------------------------------


def test_nothing_is_left_beside_a_complete_file(path: Path) -> None:
    assert os.listdir(path.parent) == ["x.hdf5"]


def test_a_file_is_read_while_it_is_written(tmp_path: Path, readouts: Readouts) -> None:
    path = tmp_path / "x.hdf5"
    writer = SSDataWriter(path, {"a": 1}, buffer=10)
    with SSDataReader(path) as reader:
        assert len(reader) == 0
        assert list(reader) == []
        writer.write_readouts(readouts[:12])
        assert len(reader) == 12
        np.testing.assert_array_equal(reader[-1], millivolts(readouts[11:12])[0].astype("f4"))
        writer.write_readouts(readouts[12:15])
        assert len(reader) == 12
        writer.flush()
        assert reader.readouts().tobytes() == readouts[:15].tobytes()
        np.testing.assert_array_equal(reader[13], millivolts(readouts[13:14])[0].astype("f4"))
        with SSDataReader(tmp_path / "x.hdf5.part") as other:
            assert len(other) == 15
            assert other.attrs.a == 1
        assert not path.exists()
        writer.close()
        assert reader.readouts(14, 15).tobytes() == readouts[14:15].tobytes()
    with SSDataReader(tmp_path / "x.hdf5.part") as reader:
        assert len(reader) == 15


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_a_file_of_nothing(tmp_path: Path, layout: str) -> None:
    SSDataWriter(tmp_path / "x.hdf5", layout=layout).close()
    with SSDataReader(tmp_path / "x.hdf5") as reader:
        assert reader.n_readouts == 0
        assert list(reader.read()) == []
        assert reader[:].shape == (0, 32, 64)
        assert reader.column("tack").shape == (0,)
        assert reader.load_all_data(0).amps.shape == (0, 64)


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_amplitudes_between_counts_come_back(tmp_path: Path, layout: str) -> None:
    chance = np.random.default_rng(1)
    amplitudes = chance.random((200, 32, 64))
    amplitudes[3] = 7 * MV_PER_COUNT
    amplitudes[70:140] *= 1e5
    amplitudes[7, 1] = np.nan
    amplitudes[8, 1, 1] = np.nan
    with SSDataWriter(tmp_path / "x.hdf5", layout=layout) as writer:
        for number, data in enumerate(amplitudes):
            writer.write_readout(SSReadout(number * 10, number, data))
        with SSDataReader(tmp_path / "x.hdf5", "raw") as reader:
            np.testing.assert_array_equal(reader[:192], amplitudes[:192].astype("f4"))
    with SSDataReader(tmp_path / "x.hdf5", "raw") as reader:
        np.testing.assert_array_equal(reader[:], amplitudes.astype("f4"))
        np.testing.assert_array_equal(reader[150], amplitudes[150].astype("f4"))


def test_residues_may_begin_late_and_take_no_room_before(tmp_path: Path) -> None:
    sizes = []
    for odd in (None, 1500):
        path = tmp_path / f"{odd}.hdf5"
        readouts = random_walk(1600)
        with SSDataWriter(path) as writer:
            for i in range(1600):
                residues = np.full((1, 32, 64), 0.01, "f4") if i == odd else None
                writer.write_readouts(readouts[i : i + 1], residues)
        sizes.append(path.stat().st_size)
        with SSDataReader(path) as reader:
            expected = millivolts(readouts)
            if odd:
                expected[odd] += np.float32(0.01)
            np.testing.assert_array_equal(reader[:], expected.astype("f4"))
    assert sizes[1] - sizes[0] < 20_000


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_telescope_data(tmp_path: Path, layout: str) -> None:
    with SSDataWriter(tmp_path / "x.hdf5", layout=layout) as writer:
        writer.write_tel_data(1.5, -2.5, 3.25, 3, 250_000_000)
        writer.write_readouts(random_walk(2))
        writer.write_tel_data(1.6, -2.6, 4.25, 4, 250_000_000)
        with SSDataReader(tmp_path / "x.hdf5") as reader:
            before = reader.telescope()
    with SSDataReader(tmp_path / "x.hdf5") as reader:
        rows = reader.telescope()
    assert rows.tobytes() == before.tobytes()
    assert rows["ra"].tolist() == [1.5, 1.6]
    assert rows["dec"].tolist() == [-2.5, -2.6]
    assert rows["db_t_s"].tolist() == [3, 4]
    writer = SSDataWriter(tmp_path / "y.hdf5", tel_table=False)
    with pytest.raises(ConfigError, match="tel_table"):
        writer.write_tel_data(0, 0, 0, 0, 0)
    writer.close()


def test_no_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"x\.hdf5 exists"):
        SSDataWriter(path)
    path.unlink()
    with SSDataWriter(path) as writer:
        writer.write_readouts(random_walk(1))
        with pytest.raises(ConfigError, match="being written"):
            SSDataWriter(path)
        path.write_text("mine")  # somebody else was faster
    assert path.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["x.1.hdf5", "x.hdf5"]
    with SSDataReader(tmp_path / "x.1.hdf5") as reader:
        assert len(reader) == 1


def test_settings_that_are_wrong_are_told(tmp_path: Path) -> None:
    for settings in ({"layout": "newest"}, {"buffer": 0}, {"attrs": {"a": {}}}):
        with pytest.raises(ConfigError):
            SSDataWriter(tmp_path / "x.hdf5", **settings)
    with pytest.raises(StorageUnavailable, match="No such file"):
        SSDataWriter(tmp_path / "missing" / "x.hdf5")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_other_filters(tmp_path: Path, layout: str) -> None:
    filters = tables.Filters(1, "zlib", shuffle=True)
    with SSDataWriter(tmp_path / "x.hdf5", {}, filters, layout=layout) as writer:
        writer.write_readouts(random_walk(70))
    with SSDataReader(tmp_path / "x.hdf5") as reader:
        assert (reader.column("counts") == random_walk(70)["counts"]).all()
    with tables.open_file(str(tmp_path / "x.hdf5")) as file:
        for leaf in file.walk_nodes("/", "Leaf"):
            assert leaf.filters.complib == "zlib"


# -- layouts to the byte --------------------------------------------------------------------------

TITLE = "CHEC-S Slow signal monitor data"
CAMERA, TACKS = "(32, 64)", "(32, 2)"
COLUMNS = {
    "seed": [
        *(("data", "float32", (32, 64)), ("readout_number", "uint64", ())),
        *(("ro_time", "uint64", ()), ("time_stamps", "uint64", (32, 2))),
    ],
    "ssdaq": [
        *(("cpu_t", "float64", ()), ("cpu_t_ns", "uint64", ()), ("cpu_t_s", "uint64", ())),
        *(("data", "float32", (32, 64)), ("iro", "uint64", ()), ("time", "uint64", ())),
    ],
}


@pytest.mark.parametrize(("layout", "row"), [("seed", 8720), ("ssdaq", 8232)])
def test_the_peers_tables_are_theirs(tmp_path: Path, layout: str, row: int) -> None:
    with SSDataWriter(tmp_path / "x.hdf5", layout=layout) as writer:
        writer.write_readouts(random_walk(2))
    with tables.open_file(str(tmp_path / "x.hdf5")) as file:
        assert file.title == TITLE
        assert file.root.SlowSignal._v_title == "Slow signal data"
        table = file.root.SlowSignal.readout
        assert table.title == "Slow signal readout"
        dtype = table.dtype
        assert dtype.itemsize == row
        assert [(n, dtype[n].base.name, dtype[n].shape) for n in dtype.names] == COLUMNS[layout]
        for filters in (file.filters, file.root.SlowSignal._v_filters, table.filters):
            assert (filters.complib, filters.complevel) == ("bzip2", 9)
            assert filters.shuffle
            assert filters.fletcher32
        assert table.chunkshape == (15,)
        if layout == "seed":
            assert table.attrs.ssdata_version == 1
            assert "tel_table" not in file.root.SlowSignal
        else:
            assert table.attrs.ss_data_version == 0
            assert table.attrs.ssl2asic_ch.dtype == np.uint64
            assert table.attrs.ssl2asic_ch.tolist() == ASIC.tolist()
            assert isinstance(table.attrs.ssdaq_version, str)
            telescope = file.root.SlowSignal.tel_table
            assert telescope.colnames == ["db_t", "db_t_ns", "db_t_s", "dec", "ra"]
            assert telescope.title == "Telescope data"


def test_the_native_layout_is_as_documented(tmp_path: Path) -> None:
    """Read by the recipe in the file's own attribute, without our reader."""
    readouts = random_walk(200)
    with SSDataWriter(tmp_path / "x.hdf5") as writer:
        writer.write_readouts(readouts)
    with tables.open_file(str(tmp_path / "x.hdf5")) as file:
        group = file.root.SlowSignal
        attributes = group.readout.attrs
        assert (attributes.format, attributes.format_version) == ("socs slow signal", 1)
        for name in ("counts", "tacks"):
            stored = group[name][:]
            signed = (stored >> 1).astype("i8") ^ -(stored & 1).astype("i8")
            for start in range(0, 200, attributes.block):
                signed[start] = stored[start].astype("i8")
                block = signed[start : start + attributes.block].cumsum(axis=0)
                expected = readouts[name][start : start + attributes.block]
                assert (block.astype(expected.dtype) == expected).all()
        assert (group.readout.col("number") == readouts["number"]).all()
        assert (group.readout.col("cpu_ns") == readouts["cpu_ns"]).all()
        assert attributes.mv_per_count == MV_PER_COUNT
        for name in ("ssl2asic_ch", "ssl2colrow"):
            assert (attributes[name] == pixels.ORDERS[name]).all()
        assert "residues" not in group


def test_files_of_the_oldest_version_are_read(tmp_path: Path) -> None:
    readouts = random_walk(20)
    rows = np.zeros(20, formats.OLDEST.row)
    rows["data"], rows["ev_time"] = millivolts(readouts), readouts["tack"]
    rows["time_stamps"] = readouts["tacks"]
    with tables.open_file(str(tmp_path / "x.hdf5"), "w") as file:
        group = file.create_group("/", "SlowSignal")
        file.create_table(group, "readout", rows)
    with SSDataReader(tmp_path / "x.hdf5") as reader:
        assert reader.layout == "oldest"
        assert (reader.column("tacks") == readouts["tacks"]).all()
        assert (reader.column("counts") == readouts["counts"]).all()
        assert [int(reader.time) for _ in reader] == readouts["tack"].tolist()


# -- what is no file of readouts ------------------------------------------------------------------


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "x.hdf5", tmp_path, tmp_path / "x.hdf5.journal"):
        with pytest.raises(FileNotReady, match="cannot read"):
            SSDataReader(path)


def test_files_of_other_kinds_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    path.write_text("no HDF5")
    with pytest.raises(Malformed):
        SSDataReader(path)
    with tables.open_file(str(path), "w") as file:
        file.create_array("/", "x", [1])
    with pytest.raises(Malformed):
        SSDataReader(path)
    with tables.open_file(str(path), "w") as file:
        file.create_table(file.create_group("/", "SlowSignal"), "readout", np.zeros(1, "i4,i4"))
    with pytest.raises(Malformed, match="no file of readouts"):
        SSDataReader(path)
    for name, value in (("ss_data_version", 0), ("ss_data_version", 9), ("format", "other")):
        with tables.open_file(str(path), "r+") as file:
            file.root.SlowSignal.readout.attrs[name] = value
        with pytest.raises(Malformed):
            SSDataReader(path)


def test_a_native_file_must_be_whole(tmp_path: Path, readouts: Readouts) -> None:
    path = tmp_path / "x.hdf5"
    with SSDataWriter(path) as writer:
        writer.write_readouts(readouts)
    for node in ("counts", "tacks"):
        copy = tmp_path / f"{node}.hdf5"
        copy.write_bytes(path.read_bytes())
        with tables.open_file(str(copy), "r+") as file:
            file.root.SlowSignal[node].truncate(COUNT - 1)
        with pytest.raises(Malformed, match="700 readouts, but"):
            SSDataReader(copy)
        with tables.open_file(str(copy), "r+") as file:
            file.remove_node(f"/SlowSignal/{node}")
        with pytest.raises(Malformed):
            SSDataReader(copy)


def test_pickled_attributes_are_not_looked_at(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "x.hdf5"
    copy.write_bytes(path.read_bytes())
    touched = tmp_path / "touched"

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(touched),)

    with tables.open_file(str(copy), "r+") as file:
        file.root.SlowSignal.readout.attrs.program = Program()
    with SSDataReader(copy) as reader:
        assert "program" not in reader.attrs
        assert reader.attrs.site == "Teneriffa"
        assert len(reader[:3]) == 3
    assert not touched.exists()


# -- what a crash leaves --------------------------------------------------------------------------


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_what_was_flushed_is_recovered(tmp_path: Path, readouts: Readouts, layout: str) -> None:
    path = tmp_path / "x.hdf5"
    writer = SSDataWriter(path, {"a": 1}, layout=layout, buffer=100)
    writer.write_readouts(readouts[:350])
    writer.write_tel_data(1.0, 2.0, 3.0, 3, 0)
    writer.write_readouts(readouts[350:360])  # not flushed
    assert recover(tmp_path) == []  # it is being written
    writer._file.close()
    done = recover(tmp_path)
    assert [(d.path, d.readouts, d.layout, d.recovered) for d in done] == [
        (str(path), 350, layout, True)
    ]
    assert done[0].size == path.stat().st_size
    assert os.listdir(tmp_path) == ["x.hdf5"]
    with SSDataReader(path) as reader:
        assert reader.readouts().tobytes() == as_in(layout, readouts)[:350].tobytes()
        assert reader.attrs[formats.RECOVERED]
        assert reader.attrs.a == 1
        assert len(reader.telescope()) == 1
    assert recover(tmp_path) == []


def test_an_unfinished_hdf5_file_is_made_again(tmp_path: Path, readouts: Readouts, monkeypatch):
    """The disk refuses HDF5 for a while, and takes the journal."""
    path = tmp_path / "x.hdf5"

    def refuse(self, readouts, residues) -> None:
        raise OSError(28, "No space left on device")

    writer = SSDataWriter(path)
    with monkeypatch.context() as patch:
        patch.setattr(NativeFile, "_write", refuse)
        writer.write_readouts(readouts)
        assert "No space left" in writer._file.problem
        assert sorted(os.listdir(tmp_path)) == ["x.hdf5.journal"]
        with pytest.raises(StorageUnavailable, match="No space left"):
            writer.close()
        assert sorted(os.listdir(tmp_path)) == ["x.hdf5.journal"]
    writer.close()
    assert os.listdir(tmp_path) == ["x.hdf5"]
    with SSDataReader(path) as reader:
        assert reader.readouts().tobytes() == readouts.tobytes()
        assert formats.RECOVERED not in reader.attrs


def test_a_crash_before_the_journal_is_deleted_makes_no_second_file(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    writer = SSDataWriter(path)
    writer.write_readouts(random_walk(70))
    completed = writer._file.complete()
    writer._file.close()
    assert sorted(os.listdir(tmp_path)) == ["x.hdf5", "x.hdf5.journal"]
    assert recover(tmp_path) == [completed]
    assert os.listdir(tmp_path) == ["x.hdf5"]


def test_nor_does_it_where_the_name_was_taken_meanwhile(tmp_path: Path) -> None:
    writer = SSDataWriter(tmp_path / "x.hdf5")
    writer.write_readouts(random_walk(70))
    (tmp_path / "x.hdf5").write_text("mine")
    completed = writer._file.complete()
    writer._file.close()
    assert completed.path == str(tmp_path / "x.1.hdf5")
    assert recover(tmp_path) == [completed]
    assert sorted(os.listdir(tmp_path)) == ["x.1.hdf5", "x.hdf5"]
    assert (tmp_path / "x.hdf5").read_text() == "mine"


def test_journals_that_are_damaged_are_set_aside(tmp_path: Path) -> None:
    said: list[str] = []
    writer = SSDataWriter(tmp_path / "x.hdf5", buffer=50)
    for start in (0, 50, 100):
        writer.write_readouts(random_walk(150)[start : start + 50])
    writer._file.close()
    journal = tmp_path / "x.hdf5.journal"
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    (tmp_path / "y.hdf5.journal").write_text("no journal")
    (tmp_path / "z.hdf5.journal").write_text("")
    (done,) = recover(tmp_path, tell=said.append)
    assert done.readouts == 50
    names = sorted(os.listdir(tmp_path))
    assert [name.rpartition("-")[0] or name for name in names] == [
        "x.hdf5",
        "x.hdf5.journal.damaged",
        "y.hdf5.journal.damaged",
    ]
    assert (tmp_path / names[1]).read_bytes() == data
    assert "50 readouts" in said[0]
    assert names[2] in said[1]
