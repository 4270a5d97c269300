"""``socs slow-signal plot``: what is in the pictures."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from socs.cli.main import main, make_parser
from socs.cli.slow_signal_average import Average
from socs.cli.slow_signal_history import History
from socs.cli.slow_signal_plot import _check, _collect
from socs.cli.slow_signal_source import SECOND, Shown
from socs.slow_signal.face import on_face
from socs.slow_signal.layout import MV_PER_COUNT
from socs.slow_signal.pixels import ORDERS
from socs.slow_signal.store import SSDataWriter
from tests.camera_data import BEGIN, random_walk, without
from tests.camera_picture import module_box

image = pytest.importorskip("matplotlib.image", reason="needs the extra plot")
picture = pytest.importorskip("socs.cli.slow_signal_camera_picture")
Figure = pytest.importorskip("matplotlib.figure").Figure
series_picture = pytest.importorskip("socs.cli.slow_signal_series_picture")

ABSENT, BRIGHT = 5, 13
GREY = np.array([0xD9, 0xD9, 0xD9]) / 255
READOUTS = without(random_walk(60), 0xFFFFFFFF & ~(1 << ABSENT))
READOUTS["counts"][:, BRIGHT] += 6000
READOUTS["cpu_ns"][30:] += 3 * SECOND


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "Camera.hdf5"
    with SSDataWriter(path) as writer:
        writer.write_readouts(READOUTS)
    return path


def drawn(file: Path, directory: Path, line: str = "") -> NDArray[np.float64]:
    """The picture: (rows, columns, 3), 0 to 1."""
    out = directory / "picture.png"
    assert main(["slow-signal", "plot", str(file), "-o", str(out), *line.split()]) == 0
    pixels: NDArray[np.float64] = image.imread(out)[..., :3]
    return pixels


def inside(pixels: NDArray[np.float64], module: int) -> NDArray[np.float64]:
    left, top, right, bottom = module_box(module)
    return pixels[top:bottom, left:right]


def brightness(pixels: NDArray[np.float64]) -> float:
    """Of how it looks: the colours get brighter from the first to the last."""
    return float((pixels @ [0.2126, 0.7152, 0.0722]).mean())


def squares(pixels: NDArray[np.float64], module: int) -> NDArray[np.float64]:
    """Colours in the middle of the 8 x 8 pixels of a module: (8, 8, 3)."""
    box = inside(pixels, module)
    at = np.arange(8) * picture.ENLARGED + picture.ENLARGED // 2
    return box[np.ix_(at, at)]


def test_a_module_that_is_absent_is_grey_and_hatched(file: Path, tmp_path: Path) -> None:
    pixels = drawn(file, tmp_path)
    box = inside(pixels, ABSENT)
    grey = np.isclose(box, GREY, atol=0.01).all(axis=2)
    assert 0.5 < grey.mean() < 0.95  # the rest is the hatching
    assert np.ptp(box, axis=2).max() < 0.01  # no colour at all
    for module in set(range(32)) - {ABSENT}:
        assert np.ptp(squares(pixels, module), axis=2).min() > 0.1


def test_a_bright_module_is_brighter_than_all_others(file: Path, tmp_path: Path) -> None:
    pixels = drawn(file, tmp_path)
    bright = {module: brightness(inside(pixels, module)) for module in range(32)}
    del bright[ABSENT]
    assert max(bright, key=bright.__getitem__) == BRIGHT
    others = [value for module, value in bright.items() if module != BRIGHT]
    assert bright[BRIGHT] > 1.3 * max(others)


def test_every_pixel_has_the_colour_of_its_amplitude(file: Path, tmp_path: Path) -> None:
    from matplotlib import colormaps  # noqa: PLC0415

    pixels = drawn(file, tmp_path, "--readout 7 --range 0 900")
    face = on_face(READOUTS["counts"][7] * MV_PER_COUNT)
    for module, (row, column) in enumerate(picture.MODULE_PLACES):
        if module != ABSENT:
            values = face[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            expected = colormaps["viridis"](np.clip(values / 900, 0, 1))[..., :3]
            assert squares(pixels, module) == pytest.approx(expected, abs=0.01)


def test_corners_of_the_camera_are_white(file: Path, tmp_path: Path) -> None:
    pixels = drawn(file, tmp_path)
    left, top = module_box(28)[0], module_box(22)[1]
    right, bottom = module_box(28)[2], module_box(22)[3]
    assert pixels[top : bottom - 20, left:right].min() == 1.0


def test_a_single_dead_pixel_is_grey_without_its_module() -> None:
    values = np.full((32, 64), 100.0)
    values[3, 10] = np.nan
    average = Average()
    average.add(Shown(1, 1, 0, values))
    figure = picture.draw(average, "x")
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    grey = np.isclose(squares(pixels, 3), GREY, atol=0.01).all(axis=2)
    assert grey.sum() == 1
    expected = np.isnan(on_face(values)[32:40, 40:48])
    assert np.array_equal(grey, expected)


def test_standard_deviation_and_mean_of_pixels() -> None:
    chance = np.random.default_rng(3)
    data = chance.uniform(1e6, 1e6 + 5, (50, 32, 64))
    data[:20, 4] = np.nan
    data[:, 9] = np.nan
    average = Average()
    for number, values in enumerate(data):
        average.add(Shown(number, number, 0, values))
    there = np.arange(32) != 9
    assert average.mean()[there] == pytest.approx(np.nanmean(data[:, there], axis=0))
    assert average.spread()[there] == pytest.approx(np.nanstd(data[:, there], axis=0), abs=1e-6)
    assert np.isnan(average.mean()[9]).all()
    assert np.isnan(average.spread()[9]).all()
    assert (average.first.number, average.last.number, len(average)) == (0, 49, 50)


def test_titles_say_what_it_is(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "camera.svg"
    assert main(["slow-signal", "plot", str(file), "-o", str(out), "--stop", "31"]) == 0
    average = Average()
    for number, row in enumerate(READOUTS[:31]):
        amplitudes = np.where(np.arange(32)[:, None] == ABSENT, np.nan, row["counts"])
        average.add(Shown(number + 1, 0, int(row["cpu_ns"]), amplitudes))
    texts = [text.get_text() for text in picture.draw(average, "Camera.hdf5").texts]
    assert texts[0] == "Camera.hdf5"
    begin, end = "2023-11-14 22:13:20.000", "2023-11-14 22:13:26.000"
    assert texts[1] == f"31 readouts, 1 to 31, {begin} to {end} UTC"
    assert texts[2].startswith(f"31 of 32 modules; grey: nothing from {ABSENT}; mean ")
    assert out.read_text().startswith("<?xml")


def history(count: int = 60, **settings) -> History:
    made = History(**settings)
    for row in READOUTS[:count]:
        amplitudes = row["counts"] * MV_PER_COUNT
        amplitudes[ABSENT] = np.nan
        made.add(Shown(int(row["number"]), int(row["tack"]), int(row["cpu_ns"]), amplitudes))
    return made


def test_values_of_a_series() -> None:
    amplitudes = READOUTS["counts"] * MV_PER_COUNT
    mean, rms = history(), history(rms=True)
    assert mean.values()[:, BRIGHT] == pytest.approx(amplitudes[:, BRIGHT].mean(axis=1), rel=1e-6)
    expected = np.sqrt((amplitudes[:, BRIGHT] ** 2).mean(axis=1))
    assert rms.values()[:, BRIGHT] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(mean.values()[:, ABSENT]).all()
    pixels = history(modules=[BRIGHT], pixels=[2, 40])
    assert pixels.values() == pytest.approx(amplitudes[:, BRIGHT, [2, 40]], rel=1e-6)


def test_a_pause_is_a_gap_also_when_readouts_are_put_together() -> None:
    for most in (1000, 7):
        binned = history(modules=[BRIGHT]).binned(most)
        (gap,) = np.flatnonzero(np.isnan(binned.values[:, 0]))
        around = binned.borders[[0, gap, gap + 1, -1]] - BEGIN / SECOND
        assert around == pytest.approx([0, 3.0, 6.0, 9.0], abs=1e-3)
        assert (np.diff(binned.borders) > 0).all()
        assert len(binned.borders) == len(binned.values) + 1 == len(binned.moments) + 1
    known = ~np.isnan(binned.values[:, 0])
    assert known.sum() == 8  # 30 readouts are 9 + 9 + 9 + 3
    assert binned.values[0, 0] == pytest.approx(history().values()[:9, BRIGHT].mean(), rel=1e-6)
    assert binned.moments[0] - BEGIN / SECOND == pytest.approx(0.4, abs=1e-3)


def test_readouts_without_a_time_are_placed_by_their_tacks() -> None:
    made = History([0])
    for number, tack in enumerate((7 * SECOND, 5 * SECOND, 6 * SECOND)):
        made.add(Shown(number, tack, 0, np.full((32, 64), float(number))))
    assert not made.is_utc
    assert made.times().tolist() == [0, SECOND, 2 * SECOND]
    assert made.values()[:, 0].tolist() == [1, 2, 0]


def test_a_series_of_all_modules_has_a_row_each(file: Path, tmp_path: Path) -> None:
    pixels = drawn(file, tmp_path, "--series")
    figure = series_picture.draw(history(), "x")
    figure.canvas.draw()
    drawn_by_us = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    assert pixels.shape == drawn_by_us.shape
    axes = figure.axes[1]

    def colour(module: int, seconds: float) -> NDArray[np.float64]:
        moment = np.datetime64(int(READOUTS["cpu_ns"][0] + seconds * SECOND), "ns")
        x, y = axes.transData.transform((axes.convert_xunits(moment), module))
        return drawn_by_us[len(drawn_by_us) - 1 - round(y), round(x)]

    assert colour(ABSENT, 1.0) == pytest.approx(GREY, abs=0.01)
    assert colour(0, 4.5) == pytest.approx(GREY, abs=0.01)  # the pause
    others = [brightness(colour(m, 1.0)) for m in range(32) if m not in (ABSENT, BRIGHT)]
    assert brightness(colour(BRIGHT, 1.0)) > 1.3 * max(others)


@pytest.mark.parametrize("line", ["--module 1,5", "--module 13 --pixel 0-3", "--readout 0"])
def test_a_series_of_few_is_lines(file: Path, tmp_path: Path, line: str) -> None:
    pixels = drawn(file, tmp_path, f"--series {line}")
    assert np.ptp(pixels, axis=2).max() > 0.3  # there is colour


def test_lines_are_what_was_measured() -> None:
    made = history(modules=[1, ABSENT, BRIGHT])
    (axes,) = series_picture.draw(made, "x").axes
    one, absent, bright = axes.get_lines()
    assert np.nanmean(bright.get_ydata()) == pytest.approx(made.values()[:, 2].mean(), rel=1e-6)
    assert np.isnan(one.get_ydata()).sum() == 1  # the pause
    assert np.isnan(absent.get_ydata()).all()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["module 1", "module 5: nothing", "module 13"]
    assert axes.get_xlabel() == "UTC, 2023-11-14"


def test_clocks_are_as_fine_as_the_axis_needs() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 600_000, timezone.utc)
    assert series_picture.clock(moment, 5) == "03:04:05.6"
    assert series_picture.clock(moment.replace(microsecond=0), 5) == "03:04:05"
    assert series_picture.clock(moment, 3600) == "03:04"
    assert series_picture.clock(moment, 1e6) == "01-02 03:04"


def asked(monkeypatch, module, file: Path, line: str) -> tuple:
    """What the command asks ``module`` to draw."""
    calls: list[tuple] = []
    monkeypatch.setattr(module, "draw", lambda *args: calls.append(args) or Figure())
    assert main(["slow-signal", "plot", str(file), "-o", str(file) + ".png", *line.split()]) == 0
    (call,) = calls
    return call


def test_options_of_a_series_are_heeded(monkeypatch, file: Path) -> None:
    line = "--series --module 13 --pixel 5,60 --mapping ssl2colrow --range 1 2 --step 2"
    made, name, limits = asked(monkeypatch, series_picture, file, line)
    pixels = ORDERS["ssl2colrow"][[5, 60]]
    expected = READOUTS["counts"][::2, 13, pixels] * MV_PER_COUNT
    assert made.values() == pytest.approx(expected, rel=1e-6)
    assert (name, limits) == ("Camera.hdf5", [1.0, 2.0])
    assert not made.rms
    made, _, limits = asked(monkeypatch, series_picture, file, "--series --show rms")
    assert (made.rms, limits) == (True, None)


def test_options_of_a_picture_are_heeded(monkeypatch, file: Path) -> None:
    average, *others = asked(monkeypatch, picture, file, "--show std --start 2 --stop 9")
    assert (len(average), average.first.number) == (7, 3)
    assert others == ["Camera.hdf5", None, True]
    average, _, limits, spread = asked(monkeypatch, picture, file, "--range 3 4 --readout -1")
    assert (len(average), average.first.number) == (1, 60)
    assert (limits, spread) == ([3.0, 4.0], False)


@pytest.mark.parametrize(("line", "count"), [("", 1), ("--count 5", 5), ("--series", None)])
def test_of_a_publisher_one_readout_is_drawn_unless_told_otherwise(line: str, count: int) -> None:
    command = ["slow-signal", "plot", "tcp://127.0.0.1:9", "-o", "x.png", *line.split()]
    args = make_parser().parse_args(command)
    _check(args)
    assert args.count == count


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--pixel 1 --series", "--pixel needs one --module"),
        ("--module 1", "are for --series"),
        ("--show rms", "are for --series"),
        ("--show std --series", "not for --series"),
        ("--range 3 1", "the lower one"),
        ("--readout 1 --stop 3", "--readout is one"),
        ("--start 100", "no readouts to draw"),
    ],
)
def test_what_cannot_be_drawn_is_told(capsys, file: Path, tmp_path: Path, line, told) -> None:
    out = tmp_path / "x.png"
    assert main(["slow-signal", "plot", str(file), "-o", str(out), *line.split()]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert told in error
    assert not out.exists()


def test_a_picture_that_cannot_be_written_is_told(capsys, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "x.png"
    assert main(["slow-signal", "plot", str(file), "-o", str(out)]) == 1
    assert f"cannot write {out}" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["-o x.gif", "-o x.png --show max", ""])
def test_a_wrong_command_line_ends_with_2(line: str, file: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["slow-signal", "plot", str(file), *line.split()])
    assert ended.value.code == 2


def test_nothing_at_all_is_drawn_as_that() -> None:
    average = Average()
    average.add(Shown(1, 1, 0, np.full((32, 64), np.nan)))
    figure = picture.draw(average, "x")
    figure.canvas.draw()
    assert figure.texts[2].get_text() == "0 of 32 modules; grey: nothing from 0-31"
    series_picture.draw(empty_history(), "x").canvas.draw()


def empty_history() -> History:
    made = History()
    made.add(Shown(1, 1, 0, np.full((32, 64), np.nan)))
    return made


def test_ctrl_c_leaves_no_readout_half_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def endless(*_: object) -> Iterator[Iterator[Shown]]:
        values = np.ones((32, 64))
        yield (Shown(n, n, 0, values) for n in range(1, 100))

    class Interrupted(History):
        def __len__(self) -> int:
            return len(self._times)

        def add(self, readout: Shown) -> None:
            if readout.number == 5:
                signal.raise_signal(signal.SIGINT)
            super().add(readout)

    monkeypatch.setattr("socs.cli.slow_signal_plot.opened", endless)
    history = Interrupted()
    _collect(argparse.Namespace(source="tcp://host:1", count=None), "raw", history)
    assert len(history) == 5
    assert history.values().shape == (5, 32)
