"""Whatever the bytes of a user's data: they are loaded, or refused with a message."""

from __future__ import annotations

import gzip
import io
import json
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fuzzing import budget, damaged, guarded, numbers, texts, values
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from picture_files import idx
from PIL import Image
from saved_tables import save_to_disk

from fl_bench.datasets.catalogue import load_dataset
from fl_bench.datasets.vision import read_idx
from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 12
RNG = np.random.Generator(np.random.Philox(key=5))
COLOURS = RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8)
FORMATS = {"BMP": "bmp", "GIF": "gif", "JPEG": "jpg", "PNG": "png", "PPM": "ppm", "TIFF": "tif", "WEBP": "webp"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def load(name: str, place: Path) -> None:
    """Load a data set; only a refusal may come of it."""
    with guarded(place), suppress(ConfigError, DataError):
        load_dataset(name)


def npz(content: dict[str, np.ndarray], packed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **content)  # type: ignore[arg-type]
    return file.getvalue()


GOOD = {"x": RNG.normal(size=(ROWS, 3)), "y": np.arange(ROWS) % 2, "client": np.arange(ROWS) % 3}


@budget(30)
@given(content=st.sampled_from([npz(GOOD), npz(GOOD, packed=True)]).flatmap(damaged) | st.binary(max_size=300))
def test_fuzz_bytes_of_arrays(content: bytes, place: Path) -> None:
    (place / "a.npz").write_bytes(content)
    load(f"npz:{place / 'a.npz'}", place)


kinds = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(),
    arrays.floating_dtypes(),
    arrays.complex_number_dtypes(),
    arrays.unicode_string_dtypes(max_len=4),
    arrays.byte_string_dtypes(max_len=4),
    arrays.datetime64_dtypes(),
)
some = kinds.flatmap(lambda kind: arrays.arrays(kind, st.just(ROWS) | arrays.array_shapes(max_dims=5, max_side=ROWS)))
tables = arrays.arrays(np.float64, (ROWS, 2), elements=st.floats())


@budget(30)
@given(
    content=st.fixed_dictionaries(
        {"x": tables | some, "y": st.just(GOOD["y"]) | some}, optional={"client": some, "x_train": some, "x_test": some}
    )
)
def test_fuzz_arrays_of_any_kind(content: dict[str, np.ndarray], place: Path) -> None:
    (place / "a.npz").write_bytes(npz(content))
    load(f"npz:{place / 'a.npz'}", place)


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, kind)
    return file.getvalue()


@budget(30)
@given(data=st.data())
def test_fuzz_pictures(data: st.DataObject, place: Path) -> None:
    content = picture(data.draw(st.sampled_from(sorted(FORMATS))))
    for label in ("a", "b"):
        folder = place / "pictures" / label
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(2):
            (folder / f"{number}.png").write_bytes(content)
    (place / "pictures" / "a" / "0.png").write_bytes(data.draw(damaged(content)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's words on damaged files
        load(f"folder:{place / 'pictures'}?size=8", place)
        load(f"folder:{place / 'pictures'}", place)


LINES = ["size,colour,kind", *(f"{n},{'red' if n % 2 else ''},{'ab'[n % 2]}" for n in range(ROWS))]


@budget(40)
@given(
    content=damaged("\n".join(LINES).encode())
    | st.lists(st.lists(texts | st.floats().map(str), min_size=1, max_size=4), max_size=5).map(
        lambda rows: "\n".join(["size,kind", *(",".join(row) for row in rows)]).encode("utf-8", "surrogatepass")
    ),
    query=st.sampled_from(["target=kind", "target=kind&client=size", "target=size", "target", "target=kind&target=a"]),
)
def test_fuzz_tables(content: bytes, query: str, place: Path) -> None:
    (place / "t.csv").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas on columns of mixed types
        load(f"csv:{place / 't.csv'}?{query}", place)


SAMPLES = json.dumps(
    {"users": ["a", "b"], "user_data": {user: {"x": [[0.5, 1]] * 6, "y": [0, 1] * 3} for user in "ab"}}
).encode()


@budget(40)
@given(
    content=damaged(SAMPLES)
    | st.fixed_dictionaries({"users": st.just(["a"]) | values, "user_data": st.fixed_dictionaries({
        "a": st.fixed_dictionaries({
            "x": st.lists(st.lists(numbers, min_size=1, max_size=2), max_size=4) | values,
            "y": st.lists(st.integers(0, 2), max_size=4) | values,
        }) | values,
    })}).map(lambda content: json.dumps(content).encode()),
    query=st.sampled_from(["", "?shape=1x2", "?shape=2x1"]) | texts,
)  # fmt: skip
def test_fuzz_leaf(content: bytes, query: str, place: Path) -> None:
    (place / "leaf").mkdir(exist_ok=True)
    (place / "leaf" / "d.json").write_bytes(content)
    load(f"leaf:{place / 'leaf'}{query}", place)


@budget(40)
@given(data=st.data())
def test_fuzz_saved_tables(data: st.DataObject, place: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'fl-bench[hf]'")
    folder = place / "saved"
    if not folder.exists():
        table = pa.table({
            "image": [{"bytes": png, "path": None} for png in [picture("PNG")] * ROWS],
            "label": [row % 2 for row in range(ROWS)],
            "list": [[row, 1] for row in range(ROWS)],
            "text": [f"t{row % 3}" for row in range(ROWS)],
        })  # fmt: skip
        features = {"image": {"_type": "Image"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}
        save_to_disk(folder, table, features)
    files = sorted(folder.iterdir())
    good = {file: file.read_bytes() for file in files}
    spoilt = data.draw(st.sampled_from(files))
    changed = damaged(good[spoilt])
    if spoilt.suffix == ".json":
        changed = changed | st.dictionaries(
            st.sampled_from(["features", "_data_files", "image", "label"]), values, max_size=2
        ).map(lambda content: json.dumps(content).encode())
    try:
        spoilt.write_bytes(data.draw(changed))
        for query in ("", "?input=list", "?input=text&client=text", "?target=list"):
            load(f"hf:{folder}{query}", place)
    finally:
        spoilt.write_bytes(good[spoilt])


@budget(30)
@given(content=damaged(idx(COLOURS)), packed=st.booleans(), again=st.booleans(), data=st.data())
def test_fuzz_idx_files(content: bytes, packed: bool, again: bool, data: st.DataObject, place: Path) -> None:
    path = place / f"images{'.gz' if packed else ''}"
    if packed:
        content = gzip.compress(content, mtime=0)
    path.write_bytes(data.draw(damaged(content)) if again else content)
    with guarded(place), suppress(DataError):
        read_idx(path)


@budget(100)
@given(
    family=st.sampled_from(["npz", "csv", "folder", "hf", "leaf", "openml", "planted", "digits", "mnist", "letter"]),
    argument=texts,
)
def test_fuzz_names(family: str, argument: str, place: Path) -> None:
    load(f"{family}:{argument}", place)


@budget(30)
@given(
    settings=st.dictionaries(
        st.sampled_from(["clients", "groups", "train", "test", "features", "separation", "cosine", "seed"]),
        st.integers(-2, 10**20) | st.floats() | st.integers(0, 5) | texts,
        max_size=3,
    )
)
def test_fuzz_planted_worlds(settings: dict[str, object], place: Path) -> None:
    load("planted:" + "&".join(f"{name}={value}" for name, value in settings.items()), place)
