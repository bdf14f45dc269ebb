"""Emoji: the pictures of three packages of npm, one sign on one side, transparency as white."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from fl_bench.datasets.catalogue import available, load_dataset
from fl_bench.datasets.emoji import CATEGORIES, VENDORS
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

SIGNS = 45


def sign(number: int) -> dict[str, Any]:
    return {"image": f"1f6{number:02d}.png", "category": CATEGORIES[number % 9], "name": "SOMETHING"}


def write_packages(root: Path, index: object = None) -> Path:
    """The packages as npm lays them out: a disc per sign, whose red says which; the third vendor lacks one sign."""
    modules = root / "emoji" / "node_modules"
    for vendor, (name, (version, inside, suffix)) in enumerate(VENDORS.items()):
        (modules / name / inside).mkdir(parents=True)
        (modules / name / "package.json").write_text(json.dumps({"name": name, "version": version}))
        for number in range(SIGNS - (vendor == 2)):
            picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
            picture.paste((5 * number, 100 * vendor, 50, 255), (16, 16, 48, 48))
            picture.save(modules / name / inside / f"1f6{number:02d}{suffix}", lossless=True)
    component = {"image": "1f3fb.png", "category": "Component"}
    signs = [*map(sign, range(SIGNS)), component] if index is None else index
    (modules / "emoji-datasource-google" / "emoji.json").write_text(json.dumps(signs))
    return modules


def test_vendors_are_clients_and_a_sign_is_on_one_side(tmp_path: Path) -> None:
    modules = write_packages(tmp_path)
    assert available("emoji", data_dir=tmp_path) == (True, str(modules))
    data = load_dataset("emoji", data_dir=tmp_path)
    assert (data.about.shape, data.about.class_names, len(data.labels)) == ((3, 32, 32), CATEGORIES, 3 * SIGNS - 1)
    assert data.natural is not None
    middle, corner = data.inputs[:, :, 16, 16].numpy(), data.inputs[:, :, 0, 0].numpy()
    assert (corner == 255).all()  # transparent: white
    signs = np.rint(middle[:, 0] / 5).astype(int)
    assert (signs % 9 == data.labels.numpy()).all()
    assert (np.rint(middle[:, 1] / 100) == data.natural).all()
    train, test = set(signs[: data.train_size]), set(signs[data.train_size :])
    assert len(test) == 9  # a fifth of 45, one of each category
    assert not train & test
    assert data.about.source == (
        "npm packages emoji-datasource-google 16.0.0, emoji-datasource-twitter 16.0.0, @lobehub/fluent-emoji-3d 1.1.0"
    )


def test_what_a_vendor_draws_twice_is_taken_once(tmp_path: Path) -> None:
    google = write_packages(tmp_path) / "emoji-datasource-google" / "img/google/64"
    (google / "1f607.png").write_bytes((google / "1f604.png").read_bytes())
    data = load_dataset("emoji", data_dir=tmp_path)
    assert len(data.labels) == 3 * SIGNS - 2
    assert data.natural is not None
    assert np.bincount(data.natural).tolist() == [SIGNS - 1, SIGNS, SIGNS - 1]


def test_missing_packages_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FL_BENCH_DATA", str(tmp_path / "b"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    command = f"npm install --ignore-scripts --prefix {tmp_path / 'b' / 'emoji'} emoji-datasource-google@16.0.0 "
    found, remedy = available("emoji")
    assert not found
    assert remedy.startswith(command)
    with pytest.raises(DataError, match="'emoji' were not found") as caught:
        load_dataset("emoji")
    assert command in str(caught.value)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "should hold a list in JSON"),
        ([1], "each sign should have an image and a category"),
        ([{"image": "a.png"}], "each sign should have"),
        ([{"image": "../a.png", "category": "Flags"}], "names a picture '../a' that lies elsewhere"),
        ([{"image": "a.png", "category": "Flags"}], "a package of .* holds no pictures; to get it: npm install"),
    ],
)
def test_an_index_that_cannot_be_meant(index: object, message: str, tmp_path: Path) -> None:
    write_packages(tmp_path, index)
    with pytest.raises(DataError, match=message):
        load_dataset("emoji", data_dir=tmp_path)
