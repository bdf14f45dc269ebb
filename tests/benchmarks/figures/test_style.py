"""What all figures share: files with the same bytes, and labels that do not cover each other."""

from __future__ import annotations

import builtins
import itertools
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.figures import curves
from fl_bench.benchmarks.figures.labels import spread
from fl_bench.benchmarks.figures.style import Format, line_style, new_figure, render, save, set_title, styled
from fl_bench.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

    from fl_bench.benchmarks.figures.blocks import Course


@styled
def some_figure() -> Figure:
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], **line_style(0))
    axes.fill_between([0, 1], [0, 1], [1, 2])
    set_title(figure, "title", "text " * 40)
    return figure


@pytest.mark.parametrize("kind", get_args(Format))
def test_the_same_figure_is_the_same_bytes(kind: Format) -> None:
    content = render(some_figure(), kind)
    assert content == render(some_figure(), kind)
    starts: dict[Format, bytes] = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    assert content.startswith(starts[kind])


def test_an_svg_is_the_same_in_another_process() -> None:
    program = (
        "import sys\n"
        "from fl_bench.benchmarks.figures import curves\n"
        "from fl_bench.benchmarks.figures.blocks import Course\n"
        "from fl_bench.benchmarks.figures.style import render\n"
        "course = Course('fedmd', 'distillation', False, (0,), ((1.0, 2.0),), {})\n"
        "sys.stdout.buffer.write(render(curves.draw([course], title='digits'), 'svg'))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}, timeout=120
        ).stdout
        for seed in ("1", "2")
    }
    (content,) = outputs
    assert b"fedmd" in content  # text is text, to be found and read
    assert b"<dc:date>" not in content


def test_a_users_settings_change_nothing() -> None:
    import matplotlib

    plain = render(some_figure(), "svg")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "lines.linewidth": 9}):
        assert render(some_figure(), "svg") == plain


def test_saving_makes_the_folder_and_keeps_dots_in_names(tmp_path: Path) -> None:
    path = save(some_figure(), tmp_path / "new" / "curves-v1.2", "svg")
    assert path == tmp_path / "new" / "curves-v1.2.svg"
    assert path.read_bytes() == render(some_figure(), "svg")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match=re.escape("taken/a.svg")):
        save(some_figure(), tmp_path / "taken" / "a", "svg")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, course: Callable[..., Course]) -> None:
    real = builtins.__import__

    def no_matplotlib(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ConfigError, match=re.escape("pip install 'fl-bench[plots]'")):
        curves.draw([course("a", [1, 2])], title="t")


def test_28_lines_look_different_and_so_do_their_neighbours_in_grey() -> None:
    looks = [line_style(place) for place in range(28)]
    assert len({str(look) for look in looks}) == 28
    # Without colour, marker and dash still tell all 28 apart.
    assert len({(look["marker"], str(look["linestyle"])) for look in looks}) == 28


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ([5.0], [5.0]),
        ([1.0, 5.0], [1.0, 5.0]),
        ([5.0, 5.0], [4.5, 5.5]),  # both give way by half a gap
        ([5.0, 4.9, 9.0], [5.45, 4.45, 9.0]),  # their order is kept, their middle too
        ([0.0, 0.0, 0.0], [0.0, 1.0, 2.0]),  # the lower end holds
        ([10.0, 10.0], [9.0, 10.0]),  # the upper one too
    ],
)
def test_labels_move_apart_as_little_as_possible(wanted: list[float], places: list[float]) -> None:
    assert spread(wanted, 1.0, 0.0, 10.0) == pytest.approx(places)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0.1, 20))
def test_labels_keep_their_distance_and_order(wanted: list[float], gap: float) -> None:
    places = spread(wanted, gap, 0.0, 100.0)
    for (one, place), (other, next_place) in itertools.permutations(zip(wanted, places, strict=True), 2):
        if one < other:
            assert next_place - place >= gap - 1e-6
    if (len(wanted) - 1) * gap <= 100:
        assert min(places) >= -1e-6
        assert max(places) <= 100 + 1e-6


def test_a_notebook_shows_a_figure_as_it_is_saved() -> None:
    figure: Any = some_figure()
    content, shown = figure._repr_png_()  # what IPython asks for
    assert content == render(some_figure(), "png")
    assert shown == {"width": 288}  # 3 inches
