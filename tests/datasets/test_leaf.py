"""LEAF's JSON folders: what its scripts write is read, and its users are the clients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from saved_tables import write_leaf

from fl_bench.datasets.catalogue import available, check_dataset_name, file_digest, load_dataset, natural_clients
from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [[0.0, 1.5], [2.0, -0.5], [1.0, 1.0]]


@pytest.mark.parametrize("top", ["", "data"])
def test_train_and_test_are_kept_apart_and_users_are_clients(top: str, tmp_path: Path) -> None:
    write_leaf(tmp_path / top / "train" / "all_data_0.json", {"f1": (ROWS, [3, 12, 3]), "f2": (ROWS[:1], [12])})
    write_leaf(tmp_path / top / "train" / "all_data_1.json", {"f0": (ROWS[:2], [3, 3])})
    write_leaf(tmp_path / top / "test" / "all_data_0.json", {"f2": (ROWS[:2], [3, 12]), "new": (ROWS[:1], [3])})
    data = load_dataset(f"leaf:{tmp_path}")
    assert (data.train_size, data.about.modality, data.about.shape) == (6, "tabular", (2,))
    assert data.about.class_names == ("3", "12")  # by number
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 0, 0, 1, 0]
    assert data.natural is not None
    assert data.natural.tolist() == [1, 1, 1, 2, 0, 0, 2, 2, 3]
    # Standardised on the training rows 0 2 1 0 0 2 of the first column: mean 5/6.
    assert data.inputs[:6, 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert natural_clients(f"leaf:{tmp_path}") == 4
    assert torch.equal(data.inputs[6], data.inputs[0])  # the same sample on both sides


def test_files_of_one_side_have_a_fifth_held_out(tmp_path: Path) -> None:
    write_leaf(tmp_path / "all_data.json", {f"u{n}": (ROWS * 2, ["a", "b", "a"] * 2) for n in range(5)})
    data = load_dataset(f"leaf:{tmp_path}")
    assert (data.train_size, len(data.labels), data.about.class_names) == (24, 30, ("a", "b"))


def test_samples_are_pictures_where_their_shape_is_given(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.Philox(1))
    grey = rng.random((6, 12))
    write_leaf(tmp_path / "a" / "d.json", {"u": (grey.tolist(), [0, 1] * 3)})
    data = load_dataset(f"leaf:{tmp_path / 'a'}?shape=4x3")
    assert (data.about.modality, data.about.shape, data.inputs.dtype) == ("image", (1, 4, 3), torch.float32)
    assert sorted(data.inputs.flatten().tolist()) == pytest.approx(sorted(grey.ravel()))
    colour = rng.integers(0, 256, (6, 12))
    write_leaf(tmp_path / "b" / "d.json", {"u": (colour.tolist(), [0, 1] * 3)})
    data = load_dataset(f"leaf:{tmp_path / 'b'}?shape=3x2x2")
    assert (data.about.shape, data.inputs.dtype) == ((3, 2, 2), torch.uint8)
    rows = {tuple(row.flatten().tolist()) for row in data.inputs}
    assert rows == {tuple(row) for row in colour.tolist()}  # channels first, as they were


def test_texts_of_one_length_are_tokens(tmp_path: Path) -> None:
    write_leaf(tmp_path / "train" / "d.json", {"romeo": (["to be", "or no"], ["!", "t"])})
    write_leaf(tmp_path / "test" / "d.json", {"romeo": (["o bee"], ["!"])})
    data = load_dataset(f"leaf:{tmp_path}")
    alphabet = sorted(set("to beor noo bee"))
    assert (data.about.modality, data.about.shape, data.about.vocabulary) == ("text", (5,), len(alphabet))
    texts = ["".join(alphabet[token] for token in row) for row in data.inputs.tolist()]
    assert texts == ["to be", "or no", "o bee"]
    assert data.about.class_names == ("!", "t")


@pytest.mark.parametrize("shape", ["28", "2x28x28", "0x3", "28x9999", "axb", "-1x3"])
def test_a_shape_that_no_picture_has_is_refused_early(shape: str, tmp_path: Path) -> None:
    write_leaf(tmp_path / "d.json", {"u": (ROWS, [0, 1, 0])})
    with pytest.raises(ConfigError, match="shape must be HEIGHTxWIDTH"):
        check_dataset_name(f"leaf:{tmp_path}?shape={shape}")


def test_a_folder_without_json_is_refused_early(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="should hold JSON files, or train/ and test/"):
        check_dataset_name(f"leaf:{tmp_path}")
    write_leaf(tmp_path / "train" / "d.json", {"u": (ROWS, [0, 1, 0])})
    (tmp_path / "test").mkdir()
    with pytest.raises(ConfigError, match="should hold JSON files"):
        check_dataset_name(f"leaf:{tmp_path}")
    with pytest.raises(ConfigError, match="there is no folder"):
        check_dataset_name(f"leaf:{tmp_path / 'nowhere'}")


def test_the_digest_follows_names_and_sizes(tmp_path: Path) -> None:
    file = write_leaf(tmp_path / "d.json", {"u": (ROWS, [0, 1, 0])})
    before = file_digest(f"leaf:{tmp_path}")
    assert available(f"leaf:{tmp_path}") == (True, str(tmp_path))
    file.write_text(file.read_text() + " ")
    assert before != file_digest(f"leaf:{tmp_path}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "should hold a dict in JSON, found list"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ({"users": ["u"]}, "should hold a list users and an object user_data"),
        ({"users": ["u"], "user_data": {}}, "user 'u' should have lists x and y of one length"),
        ({"users": [["u"]], "user_data": {}}, "should have lists x and y"),
        ({"users": ["u"], "user_data": {"u": {"x": [[1]], "y": [0, 1]}}}, "lists x and y of one length"),
        ({"users": ["u"], "user_data": {"u": {"x": [[1], [1, 2]], "y": [0, 1]}}}, "lists of numbers of one length"),
        ({"users": ["u"], "user_data": {"u": {"x": [1, 2], "y": [0, 1]}}}, "lists of numbers of one length"),
        ({"users": ["u"], "user_data": {"u": {"x": [[None], [1]], "y": [0, 1]}}}, "lists of numbers of one length"),
        ({"users": ["u"], "user_data": {"u": {"x": [[10**30], [1]], "y": [0, 1]}}}, "lists of numbers of one length"),
        ({"users": ["u"], "user_data": {"u": {"x": ["a.jpg"], "y": [0]}}}, "are names of pictures"),
        ({"users": ["u"], "user_data": {"u": {"x": ["ab", "c"], "y": [0, 1]}}}, "should be texts of one length"),
        (
            {"users": ["u", "v"], "user_data": {"u": {"x": ["ab"], "y": [0]}, "v": {"x": [[1, 2]], "y": [1]}}},
            "some users are texts, those of others numbers",
        ),
        ({"users": ["u"], "user_data": {"u": {"x": [[1], [2]], "y": [0.5, 1]}}}, "whole numbers or texts; user 'u'"),
        ({"users": ["u"], "user_data": {"u": {"x": [], "y": []}}}, "holds no samples"),
        (
            {"users": ["u", "v"], "user_data": {"u": {"x": [[1]], "y": [0]}, "v": {"x": [[1, 2]], "y": [1]}}},
            "samples differ in shape",
        ),
    ],
)
def test_what_is_not_in_the_layout_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message):
        load_dataset(f"leaf:{tmp_path}")


def test_a_shape_that_the_samples_do_not_have(tmp_path: Path) -> None:
    write_leaf(tmp_path / "d.json", {"u": (ROWS, [0, 1, 0])})
    with pytest.raises(DataError, match="have 2 numbers; 1x2x2 would be 4"):
        load_dataset(f"leaf:{tmp_path}?shape=2x2")
