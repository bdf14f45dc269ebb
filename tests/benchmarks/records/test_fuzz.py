"""Whatever is in a record or a bundle: every command that reads it does what was asked, or refuses with one message.

No traceback, no hang, no write outside the working folder, and nothing that moves a terminal's cursor; see `fuzzing`.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import lzma
import os
import shutil
import tarfile
import warnings
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from fuzzing import answers, budget, damaged, values
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.grid.cell import short_hash
from fl_bench.benchmarks.grid.grid import expand, read_grid
from fl_bench.benchmarks.records.bundle import write_bundle
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.records.texts import FILES
from fl_bench.benchmarks.running import nets
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.methods.local import Local

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GRID = {
    "name": "small",
    "datasets": ["digits"],
    "partition": {"clients": 5, "groups": 5, "min_test": 5},
    "models": ["mlp-8"],
    "training": {"rounds": 2},
    "methods": ["local", "fedavg"],
    "seeds": [0, 1],
}

COMMANDS = (
    ["leaderboard"],
    ["leaderboard", "--json"],
    ["compare", "--on-missing", "complete-blocks"],
    ["compare", "--format", "markdown"],
    ["figures", "--kinds", "costs"],
    ["report", "--no-figures"],
    ["contraction", "--risk", "all"],
    ["reproduce cosmos-paper"],
    ["pack"],
    ["pack", "--remove"],
    ["unpack"],
    ["fsck"],
    ["fsck", "--json"],
    ["fsck", "--quarantine"],
)
"""Commands that read a results folder: what comes before its name, and after it."""

HOSTILE = st.sampled_from(["\x1b[2J\x1b[H", "\r\x9b2K", "\u202egnp", "\ud800", "two\nlines", "[bold]x[/]", "<script>"])
"""Texts that do something to a terminal, to rich's markup or to a page."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all inputs lie, and records that were really run: three are done, one has failed."""
    import matplotlib.pyplot as plt

    plt.figure()
    plt.close()
    place = tmp_path_factory.mktemp("fuzz")
    (place / "g.yaml").write_text(yaml.safe_dump(GRID))
    with pytest.MonkeyPatch.context() as patch:
        for cell in expand(read_grid(place / "g.yaml"), "g.yaml").cells:
            if (cell.label, cell.seed) == ("local", 1):
                patch.setattr(Local, "client_update", None)
            run_cell(cell, Store(place / "whole"), Options())
    *done, failed = Store(place / "whole").records()
    assert [record.status for record in (*done, failed)] == ["done", "done", "done", "failed"]
    (failed.folder / "run.json").write_text(json.dumps({**failed.run, "traceback": "boom,\n  here"}))  # `answers` sees
    return place


@cache
def texts() -> dict[str, dict[str, str]]:
    """The files of all records by name."""
    return {record.name: dict(record.texts()) for record in Store(Path("whole")).records()}


@pytest.fixture(autouse=True)
def _inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setattr(nets, "kept_in", lambda: place / "plans.json")


def read_with(command: list[str], results: str, capsys: pytest.CaptureFixture[str], also: str = "") -> None:
    """A command on the results; then what `show` and a grid make of what is left."""
    options = {"figures": ["--out", "drawn"], "report": ["--out", "page"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib on characters that its font lacks
        answers([*command[0].split(), results, *command[1:], *options.get(command[0], [])], capsys)
    answers(["show", also or "fedavg-1", results], capsys)
    answers(["run", "g.yaml", "--dry-run", "--out", results], capsys)


def fresh() -> Path:
    """A folder with all records as they were."""
    shutil.rmtree("bad", ignore_errors=True)
    shutil.copytree("whole", "bad")
    return Path("bad")


def fields(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field, nested ones too."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inside:
        yield (*above, key)
        yield from fields(value, (*above, key))


@st.composite
def changed(draw: st.DrawFn, run: Mapping[str, Any]) -> dict[str, Any]:
    """A run.json with another value in one to three fields, or without them, and a key that fits."""
    result: dict[str, Any] = copy.deepcopy(dict(run))
    for _ in range(draw(st.integers(1, 3))):
        *above, key = draw(st.sampled_from(list(fields(result))))
        holder: Any = result
        for step in above:
            holder = holder[step]
        if draw(st.integers(0, 4)):
            holder[key] = draw(HOSTILE | values)
        else:
            del holder[key]
    with contextlib.suppress(KeyError, ValueError, TypeError):  # as one would who knows how keys are made
        result["key"] = short_hash(result["cell"], 10)
    return result


@budget(14)
@given(data=st.data(), command=st.sampled_from(COMMANDS), which=st.integers(0, 3))
def test_fuzz_fields_of_records(
    data: st.DataObject,
    command: list[str],
    which: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = sorted(texts())[which]
    run = data.draw(changed(json.loads(texts()[name]["run.json"])))
    folder = fresh() / "runs" / name
    with contextlib.suppress(ValueError):  # whole numbers that Python itself does not write
        (folder / "run.json").write_text(json.dumps(run))
    if isinstance(run.get("key"), str) and run["key"].isalnum():  # the name promises what the record holds
        folder.rename(folder.with_name(f"{folder.name.rpartition('-')[0]}-{run['key']}"[:200]))
    read_with(command, "bad", capsys, folder.name.rpartition("-")[0])


@budget(10)
@given(
    data=st.data(), command=st.sampled_from(COMMANDS), which=st.integers(0, 3), file=st.sampled_from([*FILES, "cell"])
)
def test_fuzz_bytes_of_records(
    data: st.DataObject,
    command: list[str],
    which: int,
    file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = sorted(texts())[which]
    folder = fresh() / "runs" / name
    if file == "cell":  # of a table, with another text in it
        file = data.draw(st.sampled_from(FILES[1:]))
        lines = [line.split(",") for line in texts()[name][file].splitlines()]
        line = data.draw(st.sampled_from(lines))
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(HOSTILE | st.sampled_from(["nan", "1e308", "-1"]))
        content = "\n".join(map(",".join, lines)).encode("utf-8", "surrogatepass")
    else:
        content = data.draw(damaged(texts()[name][file].encode()))
    (folder / file).write_bytes(content)
    read_with(command, "bad", capsys, folder.name.rpartition("-")[0])


names = st.one_of(
    HOSTILE,
    st.sampled_from(
        ["..", "-", "--", "-0-", "--0-", "x.tmp", "x.old", ".x.packed", ".0-0123456789.part", "a-0-b/run.json"]
    ),
    st.text(max_size=8),
).filter(lambda name: name.strip(". ") and "\x00" not in name and not name.startswith("/"))


@budget(8)
@given(command=st.sampled_from(COMMANDS), name=names, inside=st.sampled_from(["runs", "runs/digits", "record", ""]))
def test_fuzz_names_of_records(command: list[str], name: str, inside: str, capsys: pytest.CaptureFixture[str]) -> None:
    record = fresh() / "runs" / min(texts())
    try:
        target = (record if inside == "record" else Path("bad", inside)) / name
        if not target.resolve().is_relative_to(Path("bad").resolve()):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if inside == "record":
            target.write_text("x")
        else:
            shutil.copytree("whole/runs/" + min(texts()), target)
    except (OSError, UnicodeEncodeError):  # no file of this system has such a name
        return
    read_with(command, "bad", capsys)


READING = st.sampled_from([["leaderboard"], ["compare"], ["fsck"], ["unpack"], ["report", "--no-figures"]])


def read_bundle_with(command: list[str], content: bytes, capsys: pytest.CaptureFixture[str]) -> int:
    """A command on a bundle alone, in a folder of its own."""
    shutil.rmtree("packed", ignore_errors=True)
    Path("packed").mkdir()
    Path("packed/records.tar.xz").write_bytes(content)
    code = answers([*command[0].split(), "packed/records.tar.xz", *command[1:]], capsys)
    assert {path.name for path in Path("packed").iterdir()} <= {"records.tar.xz", "runs", "leaderboards"}
    return code


@pytest.fixture(scope="module")
def bundle(place: Path) -> Path:
    """The bundle of all records."""
    write_bundle(place / "whole.tar.xz", {one.name: one.texts() for one in Store(place / "whole").records()})
    return place / "whole.tar.xz"


@budget(10)
@given(data=st.data(), command=READING, inner=st.booleans())
def test_fuzz_bytes_of_bundles(
    data: st.DataObject, command: list[str], inner: bool, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if inner:  # the archive is damaged, and the checksums of the compressed file are right
        content = lzma.compress(data.draw(damaged(lzma.decompress(bundle.read_bytes()))), preset=0)
    else:
        content = data.draw(damaged(bundle.read_bytes()))
    read_bundle_with(command, content, capsys)


PATHS = (
    *("../x", "/tmp/x", "runs/../../x", "runs/a/../run.json", "./runs/a/b/run.json", "runs/.a/b/run.json"),
    *("runs\\a\\b\\run.json", "runs/C:/b/run.json", "runs/a/b/RUN.JSON", "runs/a/b/run.json/"),
    *("runs/a/\x1b[2J/run.json", "runs/digits/b-0-0123456789/run.json", "runs/digits/b-0-0123456789/rounds.csv"),
)
paths = st.sampled_from(PATHS) | st.text(max_size=12)
KINDS = (
    *(tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
    *(tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, b"?"),
)
SIZES = (0, 1, 2**20, 2**33 - 1, 2**62, 2**70)


@st.composite
def members(draw: st.DrawFn) -> bytes:
    """A member of an archive: its name, kind and size are anything, and what follows may be of another size."""
    member = tarfile.TarInfo(draw(paths))
    member.type, member.linkname = draw(st.sampled_from(KINDS)), draw(paths)
    content = draw(st.sampled_from([b"", b"{}", b"30 size=99999999999999\n", b"20 path=../outside\n", b"x" * 600]))
    member.size = draw(st.just(len(content)) | st.sampled_from(SIZES))
    if draw(st.booleans()):
        member.pax_headers = {
            draw(st.sampled_from(["size", "path", "GNU.sparse.realsize"])): str(draw(st.sampled_from(SIZES)))
        }
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    head: bytes = member.tobuf(form, "utf-8", "surrogatepass")
    return head + content + b"\0" * (-len(content) % 512)


FOLDERS = ("runs/../../outside", "runs/..", "../outside", "/tmp/outside", "./runs", "runs/", "runs\\..\\outside", "")
"""Where a bundle may say that a record is."""


@budget(20)
@given(
    data=st.data(),
    command=READING,
    start=st.booleans(),
    again=st.booleans(),
    folder=st.just("runs") | st.sampled_from(FOLDERS),
)
def test_fuzz_members_of_bundles(
    data: st.DataObject, command: list[str], start: bool, again: bool, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        strange = [data.draw(members()) for _ in range(data.draw(st.integers(0, 2)))]
    except (ValueError, UnicodeEncodeError):  # what the format has no room for
        return
    first, *others = sorted(texts())
    places = [(folder, first), *(("runs", name) for name in others), *([("runs", others[0])] if again else [])]
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for (above, name), file in product(places, FILES):
            content = texts()[name][file].encode()
            member = tarfile.TarInfo(f"{above}/{name}/{file}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    good = whole.getvalue()[: archive.offset - 1024]  # without the two empty blocks at the end
    parts = [*strange, good] if start else [good, *strange]
    code = read_bundle_with(command, lzma.compress(b"".join([*parts, bytes(1024)]), preset=0), capsys)
    assert code or (folder == "runs" and not again)
    assert not os.path.lexists("outside")
