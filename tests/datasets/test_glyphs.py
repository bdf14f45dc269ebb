"""Glyphs: characters drawn from fonts, families as clients."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.datasets.catalogue import available, load_dataset
from fl_bench.datasets.fonts import FAMILIES
from fl_bench.datasets.glyphs import CHARACTERS, draw
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fonts that matplotlib brings along: upright, bold and italic."""
    mpl = pytest.importorskip("matplotlib", reason="needs matplotlib's fonts")
    from pathlib import Path

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return [folder / f"DejaVu{style}.ttf" for style in ("Sans", "Sans-Bold", "Serif-Italic")]


def test_letters_stand_on_one_line_in_the_middle_and_keep_their_size(fonts: list[Path]) -> None:
    drawn = dict(zip(CHARACTERS, draw(fonts[0]), strict=True))
    rows = {character: np.flatnonzero(picture.max(axis=1) > 64) for character, picture in drawn.items()}
    columns = {character: np.flatnonzero(picture.max(axis=0) > 64) for character, picture in drawn.items()}
    assert drawn["H"].shape == (28, 28)
    assert (rows["H"][0], rows["H"][-1]) == (4, 21)  # 18 pixels above the line at 22
    assert rows["x"][-1] == 21
    assert rows["x"][0] > rows["X"][0] + 3
    assert rows["p"][-1] > 23  # below the line
    for character, found in columns.items():
        assert found[0] + found[-1] == pytest.approx(27, abs=2), character
    assert (draw(fonts[1])[10:36].mean(axis=(1, 2)) > draw(fonts[0])[10:36].mean(axis=(1, 2))).all()  # bold is bolder
    assert np.array_equal(draw(fonts[0]), draw(fonts[0]))


def test_families_are_clients_and_a_character_of_one_is_on_one_side(fonts: list[Path], tmp_path: Path) -> None:
    for number, family in enumerate(FAMILIES):  # each family's files are of one style here
        for file in family.files:
            target = tmp_path / "usr/share/fonts" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fonts[number % 3], target)
    assert available("glyphs", data_dir=tmp_path)[0]
    data = load_dataset("glyphs", data_dir=tmp_path)
    files = sum(len(family.files) for family in FAMILIES)
    assert (data.about.shape, len(data.labels), len(data.about.class_names)) == ((1, 28, 28), 62 * files, 62)
    assert data.natural is not None
    assert np.bincount(data.natural).tolist() == [62 * len(family.files) for family in FAMILIES]
    pairs = list(zip(data.natural.tolist(), data.labels.tolist(), strict=True))
    train, test = set(pairs[: data.train_size]), set(pairs[data.train_size :])
    assert not train & test
    assert len(test) == pytest.approx(62 * len(FAMILIES) / 5, abs=1)
    whose = draw(fonts[0])
    row = next(row for row, (writer, _) in enumerate(pairs) if writer == 0)
    assert np.array_equal(data.inputs[row, 0].numpy(), whose[data.labels[row]])
    assert data.about.class_names[10] == "A"
    assert "FreeType" in data.about.source


def test_missing_fonts_name_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if available("glyphs")[0]:
        pytest.skip("the fonts are installed")
    with pytest.raises(DataError, match=r"looked at [\s\S]*apt-get download fonts-3270 fonts-adf-[\s\S]*dpkg-deb -x"):
        load_dataset("glyphs", data_dir=tmp_path)


def test_what_is_no_font_is_refused(fonts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.ttf").write_bytes(b"no font")
    with pytest.raises(DataError, match=r"a\.ttf is not a readable font"):
        draw(tmp_path / "a.ttf")
    (tmp_path / "b.ttf").write_bytes(fonts[0].read_bytes()[:2000])
    with pytest.raises(DataError, match=r"b\.ttf is not a readable font"):
        draw(tmp_path / "b.ttf")
    with pytest.raises(DataError, match="draws nothing for  "):
        draw(fonts[0], "A ")


def test_every_font_is_listed_once() -> None:
    files = [file for family in FAMILIES for file in family.files]
    assert len(files) == len(set(files))
    assert all(file.endswith((".otf", ".ttf")) and "{" not in file for file in files)
    assert all(1 <= len(family.files) <= 4 and family.package.startswith("fonts-") for family in FAMILIES)
