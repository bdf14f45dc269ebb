"""`leaf:FOLDER` (datasets room): the JSON files of LEAF, whose users are the clients.

Caldas et al., "LEAF: A Benchmark for Federated Settings", arXiv:1812.01097. Its scripts write `data/train/*.json` and
`data/test/*.json`, each of the form

    {"users": ["u1", ...], "num_samples": [2, ...], "user_data": {"u1": {"x": [..., ...], "y": [..., ...]}, ...}}
"""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import ConfigError, DataError, one_line
from fl_bench.limits import PARTS

from .argument import LARGEST_SIDE, folder_argument, locate_argument, names_digest
from .dataset import build_dataset
from .images import layout
from .source import Request, dataset
from .tables import encode_labels, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from .dataset import Dataset

CHARACTERS = np.dtype(np.uint32)
"""Of code points; numbers of other samples are never of this kind."""
PICTURES = (".jpg", ".jpeg", ".png")
SHAPE = re.compile(r"(?:([13])x)?([0-9]{1,4})x([0-9]{1,4})")


def _argument(request: Request) -> tuple[Path, tuple[int, int, int] | None]:
    """The folder, and the shape (channels, height, width) of a sample where it is a picture."""
    path, options = folder_argument(request, "shape")
    shape = options.get("shape")
    if shape is None:
        return path, None
    found = SHAPE.fullmatch(shape)
    channels, height, width = (int(side or 1) for side in found.groups()) if found else (0, 0, 0)
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise ConfigError(
            f"{request.name!r}: shape must be HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH with 1 or 3 "
            f"channels, such as 28x28, and sides up to {LARGEST_SIDE}, got {shape!r}"
        )
    return path, (channels, height, width)


def _files(path: Path) -> list[list[Path]]:
    """JSON files of the training and the test side, or of the only side."""
    tops = [top for top in (path, path / "data") if (top / "train").is_dir() and (top / "test").is_dir()]
    folders = [tops[0] / "train", tops[0] / "test"] if tops else [path]
    return [sorted(file for file in folder.glob("*.json") if file.is_file()) for folder in folders]


def _check(request: Request) -> None:
    path, _ = _argument(request)
    if not all(_files(path)):
        raise ConfigError(
            f"{request.name!r}: {path} should hold JSON files, or train/ and test/ (or data/train/ and data/test/) "
            "with JSON files"
        )


def _digest(request: Request) -> str:
    path, _ = _argument(request)
    return names_digest(path, (file for side in _files(path) for file in side))


def _clients(request: Request) -> int | None:
    path, _ = _argument(request)
    return len({user for side in _sides(path, None) for user in side.users}) or None


@dataset("leaf", needs="folder", argument="<folder>", locate=locate_argument, check=_check, digest=_digest,
         clients=_clients)  # fmt: skip
def leaf(request: Request) -> Dataset:
    """A data set in LEAF's JSON layout; its users are the clients.

    The folder holds `train` and `test`, or `data` with both, or JSON files; of these, a fifth of the samples is held
    out. A sample is a list of numbers, which is a row of a table or, with `?shape=28x28`, a picture (`3x32x32`:
    channels first), or a text of as many characters as all others. Classes are whole numbers or texts.

    Raises:
        DataError: a file is not in LEAF's layout, or its samples are no numbers.
    """
    path, shape = _argument(request)
    sides = _sides(path, shape)
    inputs = _stacked([part for side in sides for part in side.inputs], path)
    characters = None
    if inputs.dtype == CHARACTERS:
        alphabet, tokens = np.unique(inputs, return_inverse=True)
        inputs, characters = tokens.reshape(inputs.shape), len(alphabet)
    labels, names = encode_labels(np.array([label for side in sides for label in side.labels]), request.name)
    return build_dataset(
        request.name,
        layout(inputs, path) if characters is None else inputs,
        labels,
        source=f"user folder {path.name}, in LEAF's layout",
        train_size=len(sides[0].labels) if len(sides) == 2 else None,
        split_name="leaf",
        classes=len(names),
        class_names=names,
        vocabulary=characters,
        natural=np.unique([user for side in sides for user in side.users], return_inverse=True)[1],
    )


def _sides(path: Path, shape: tuple[int, int, int] | None) -> list[_Side]:
    """All samples: training and test side, or the only one.

    Raises:
        DataError: a file is not in LEAF's layout, or there are too many.
    """
    files = _files(path)
    if (count := sum(map(len, files))) > PARTS:
        raise DataError(f"{path} holds {count} files; at most {PARTS} can be read")
    sides = [_Side() for _ in files]
    for side, own in zip(sides, files, strict=True):
        for file in own:
            side.read(file, shape)
    return sides


class _Side:
    """Samples of the training or the test side, user by user."""

    def __init__(self) -> None:
        self.inputs: list[np.ndarray] = []
        self.labels: list[str] = []
        self.users: list[str] = []

    def read(self, file: Path, shape: tuple[int, int, int] | None) -> None:
        """Add all users of one file.

        Raises:
            DataError: it is not in LEAF's layout.
        """
        content = read_json(file, dict)
        users, data = content.get("users"), content.get("user_data")
        if not isinstance(users, list) or not isinstance(data, dict):
            raise DataError(f"{file} is not in LEAF's layout: it should hold a list users and an object user_data")
        for user in users:
            own = data.get(user) if isinstance(user, str) else None
            samples, labels = (own.get("x"), own.get("y")) if isinstance(own, dict) else (None, None)
            if not isinstance(samples, list) or not isinstance(labels, list) or len(samples) != len(labels):
                raise DataError(f"{file}: user {one_line(user, 40)!r} should have lists x and y of one length")
            if samples:
                self.inputs.append(_numbers(samples, file, user, shape))
                self.labels += [_label(label, file, user) for label in labels]
                self.users += [user] * len(labels)


def _label(label: Any, file: Path, user: str) -> str:
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, str | int):
        return str(int(label) if isinstance(label, bool) else label)
    raise DataError(
        f"{file}: classes must be whole numbers or texts; user {one_line(user, 40)!r} has {one_line(label, 40)}"
    )


def _numbers(samples: list[Any], file: Path, user: str, shape: tuple[int, int, int] | None) -> np.ndarray:
    """The samples of one user, shape (samples, features) or (samples, channels, height, width)."""
    whose = f"{file}: samples of user {one_line(user, 40)!r}"
    if all(isinstance(sample, str) for sample in samples):
        return _characters(samples, whose)
    try:
        numbers = np.array(samples)
    except (ValueError, OverflowError, RecursionError) as error:  # lists of several lengths
        raise DataError(f"{whose} should be lists of numbers of one length: {one_line(error, 80)}") from error
    if numbers.dtype.kind not in "if" or numbers.ndim < 2:
        raise DataError(f"{whose} should be lists of numbers of one length")
    if shape is None:
        return numbers.astype(np.float64)
    if numbers[0].size != prod(shape):
        raise DataError(f"{whose} have {numbers[0].size} numbers; {'x'.join(map(str, shape))} would be {prod(shape)}")
    numbers = numbers.reshape(len(numbers), *shape)
    pixels = numbers.dtype.kind == "i" and numbers.min() >= 0 and numbers.max() <= 255
    return numbers.astype(np.uint8 if pixels else np.float32)


def _characters(samples: list[str], whose: str) -> np.ndarray:
    """The code points of texts of one length, shape (samples, length)."""
    if len({len(sample) for sample in samples}) > 1 or not samples[0]:
        raise DataError(f"{whose} should be texts of one length, or lists of numbers")
    if all(sample.endswith(PICTURES) for sample in samples):
        raise DataError(f"{whose} are names of pictures; only what lies in the files themselves can be read")
    return np.array([[ord(character) for character in sample] for sample in samples], dtype=CHARACTERS)


def _stacked(parts: list[np.ndarray], path: Path) -> np.ndarray:
    """All users' samples as one array."""
    if not parts:
        raise DataError(f"{path} holds no samples")
    if len({part.shape[1:] for part in parts}) > 1:
        raise DataError(f"{path}: samples differ in shape: {sorted({part.shape[1:] for part in parts})[:5]}")
    if 0 < sum(part.dtype == CHARACTERS for part in parts) < len(parts):
        raise DataError(f"{path}: samples of some users are texts, those of others numbers")
    return np.concatenate(parts)
