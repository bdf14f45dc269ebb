"""Whatever is in a grid, on the command line, or in a file that is read: it is done, or refused with one message.

No traceback, no hang, no write outside the working folder, no program, no object that data name; see `fuzzing`.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import Escape, Hang, answers, budget, damaged, guarded, numbers, texts, values
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.grid.plain_yaml import parse_yaml
from fl_bench.benchmarks.running import nets
from fl_bench.errors import ConfigError

GOOD: dict[str, Any] = {
    "name": "good",
    "datasets": ["digits"],
    "partition": {"scheme": "latent-groups", "clients": 5, "groups": 5, "public": {"share": 0.2, "noise": 3}},
    "models": {"names": ["mlp-8"], "assignment": "balanced", "server": "linear"},
    "training": {"rounds": 2, "lr": 1e-3, "participation": 0.5},
    "methods": ["fedmd", {"cosmos": {"clusters": 2}}, {"name": "local", "label": "x", "codec": "float16"}],
    "always": ["local"],
    "seeds": "0-1",
    "vary": {"init": [3]},
    "settings": {"a": {"training.rounds": 3}},
}
TABLE = "dataset,cosmos,fedmd,local\n" + "".join(f"d{n},{80 + n},{79 + n % 3},{70 + n}\n" for n in range(8))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all inputs lie; libraries that write caches of theirs when they are first used have done so."""
    import matplotlib.pyplot as plt
    import torch

    plt.close()
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def _inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, where a table lies and no data set is found elsewhere."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setattr(nets, "kept_in", lambda: place / "plans.json")
    monkeypatch.delenv("FL_BENCH_DATA", raising=False)
    Path("t.csv").write_text(TABLE)
    Path("good.yaml").write_text(yaml.safe_dump(GOOD))


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a grid anything stands."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(found for key, inner in inside for found in places(inner, (*above, key)))]


@st.composite
def grids(draw: st.DrawFn) -> Any:
    """A good grid with something else in one or two places, or under one or two more keys."""
    grid = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 2))):
        *above, key = draw(st.sampled_from(places(grid)[1:]))
        holder: Any = grid
        for step in above:
            holder = holder[step]
        if draw(st.booleans()) or not isinstance(holder, dict):
            holder[key] = draw(numbers | values)
        else:
            holder[draw(texts)] = holder.pop(key) if draw(st.booleans()) else draw(values)
    return grid


def written(grid: Any) -> str:
    """As YAML; what PyYAML does not write (half characters, endless numbers) as JSON, which is YAML too."""
    try:
        return yaml.safe_dump(grid)
    except (UnicodeEncodeError, ValueError):
        return json.dumps(grid, default=str)


@budget(12)
@given(grid=grids())
def test_fuzz_grids(grid: Any, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        text = written(grid)
    except ValueError:  # whole numbers that Python itself does not write
        return
    Path("bad.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    answers(["run", "bad.yaml", "--dry-run", "--json"], capsys)


@budget(12)
@given(content=damaged(yaml.safe_dump(GOOD).encode()) | st.binary(max_size=100))
def test_fuzz_bytes_of_grids(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_bytes(content)
    answers(["run", "bad.yaml", "--dry-run", "--json", "--methods", "local"], capsys)


@budget(200)
@given(text=st.text(st.sampled_from("[]{}:,-&*!|>?%@`'\"#<=\\ \n\tab019.e~"), max_size=60) | st.text(max_size=30))
def test_fuzz_yaml(text: str) -> None:
    with guarded(Path.cwd()), suppress(ConfigError):
        json.dumps(parse_yaml(text, "text"), default=str)


words = st.one_of(
    texts.filter(lambda text: "\x00" not in text and not text.startswith("/") and text.isprintable()),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["t.csv", "good.yaml", "quick", "cosmos[clusters=3]", "a[b", "training.lr=.inf", "x=[", "0-9999"]),
)
COMMANDS = {
    "run": (
        [
            "--methods",
            "--datasets",
            "--seeds",
            "--rounds",
            "--settings",
            "-o",
            "--jobs",
            "--use",
            "--out",
            "--data-dir",
        ],
        ["good.yaml", "--dry-run", "--json"],
    ),
    "partition": (
        ["--scheme", "--clients", "--groups", "--alpha", "--mixing", "--public", "-o", "--seed", "--data-dir"],
        ["digits", "--json"],
    ),
    "compare": (
        [
            "--control",
            "--alpha",
            "--rope",
            "--blocks",
            "--on-missing",
            "--select",
            "--methods",
            "--datasets",
            "--format",
        ],
        ["t.csv"],
    ),
    "list": (["--plugin"], ["methods"]),
    "describe": (["--plugin"], ["fedmd"]),
    "show": ([], ["x", "results"]),
    "leaderboard": (["--select"], ["results"]),
    "report": (["--select"], ["results"]),
    "contraction": (["--risk", "--predictions", "--datasets", "--draws", "--alpha", "--format"], ["results"]),
    "reproduce": (["--data-dir"], ["cosmos-paper", "results"]),
    "pack": ([], ["results"]),
    "unpack": ([], ["results"]),
    "new": ([], ["method", "x"]),
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with options of its own and hostile values, or hostile words in its place."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    options, rest = COMMANDS[command]
    given = (
        [(option, draw(words)) for option in draw(st.lists(st.sampled_from(options), max_size=2))] if options else []
    )
    line = [command, *rest, *(part for pair in given for part in pair)]
    if draw(st.integers(0, 3)) == 0:
        line[draw(st.integers(1 if command == "run" else 0, 1))] = draw(words)
    return line


@budget(20)
@given(line=command_lines())
def test_fuzz_command_lines(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    answers(line, capsys)


@budget(12)
@given(content=damaged(TABLE.encode()))
def test_fuzz_tables_of_numbers(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_bytes(content)
    answers(["compare", "t.csv", "--format", "csv"], capsys)


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """A checkpoint of a run, as it lies on disk."""
    import torch

    file = io.BytesIO()
    torch.save({"round": 1, "weights": {"w": torch.arange(6.0)}}, file)
    return file.getvalue()


@budget(40)
@given(data=st.data())
def test_fuzz_checkpoints(data: st.DataObject, checkpoint: bytes) -> None:
    import torch

    from fl_bench.federation.checkpoint import load

    Path("checkpoint.pt").write_bytes(data.draw(damaged(checkpoint)))
    with guarded(Path.cwd()):
        state = load(Path("checkpoint.pt"), torch.device("cpu"))
    assert state is None or isinstance(state, dict)


PROFILE = {"local": {"jobs": 2, "device": "cpu"}}


profiles = st.dictionaries(
    st.sampled_from(["local", "subprocess"]) | texts,
    values | st.dictionaries(st.sampled_from(["jobs", "device", "kept_every"]) | texts, values, max_size=3),
    max_size=2,
)


@budget(20)
@given(profile=damaged(yaml.safe_dump(PROFILE).encode()) | profiles)
def test_fuzz_profiles_of_executors(profile: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(ValueError):  # whole numbers that Python itself does not write
        content = profile if isinstance(profile, bytes) else written(profile).encode("utf-8", "surrogatepass")
        Path("profile.yaml").write_bytes(content)
    answers(["run", "good.yaml", "--dry-run", "--json", "--methods", "local", "--executor", "profile.yaml"], capsys)


def endless() -> None:
    while True:
        pass


def test_the_guard_notices(place: Path) -> None:
    with pytest.raises(Escape, match="open"), guarded(place):
        (place.parent / "outside").write_text("")
    with pytest.raises(Escape, match="open"), guarded(place):
        (place / ".." / "outside").write_text("")
    with pytest.raises(Escape, match=r"os\.mkdir"), guarded(place):
        (place.parent / "outside").mkdir()
    with pytest.raises(Escape, match="Popen"), guarded(place):
        subprocess.run(["true"], check=False)
    with pytest.raises(Escape, match="find_class"), guarded(place):
        pickle.loads(pickle.dumps(Path))
    with pytest.raises(Hang), guarded(place, seconds=0.2):
        endless()
    with pytest.raises(MemoryError), guarded(place):
        bytearray(32 * 2**30)
    assert not (place.parent / "outside").exists()
