"""What plans ask of nets: found out once per machine and code, in a process of its own, and kept as data."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from torch import nn

from fl_bench.benchmarks.running import nets
from fl_bench.benchmarks.running.nets import Nets
from fl_bench.benchmarks.running.probing import Question, answer
from fl_bench.federation.models import MODELS, ModelPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BYTES = Question("bytes", "mlp-8", (4,), 3)
MEMORY = Question("memory", "mlp-8", (4,), 3, batch=2, slots=2)
ENGINE = Question("engine", "mlp-8", (4,), 3, members=40)
STEP = Question("step", "mlp-8", (4,), 3, batch=2)
ALL = (BYTES, MEMORY, ENGINE, STEP)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "plans.json"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is found out and not remembered, as it happens."""
    found: list[str] = []

    def counted(question: Question) -> Any:
        found.append(question.what)
        return answer(question)

    monkeypatch.setattr(nets, "answer", counted)
    return found


def test_answers_by_hand(file: Path) -> None:
    found = Nets(file)
    # 4 x 8 weights and 8 biases, then 8 x 3 and 3; four bytes each.
    assert (found.bytes(BYTES).weights, found.bytes(BYTES).head, found.bytes(BYTES).features) == (268, 108, 8)
    assert found.ask(ENGINE) == "stacked"
    assert found.ask(MEMORY) > 6 * 268
    assert found.ask(Question("engine", "mlp-8", (4,), 3, engine="loop", members=40)) == "loop"
    seconds, date = found.step(STEP)
    assert 0 < seconds < 1
    assert date == ""  # just now


def test_what_was_found_out_is_not_asked_again_and_a_step_says_when_it_was_timed(file: Path, asked: list[str]) -> None:
    first = Nets(file)
    first.prepare(ALL)
    assert asked == ["bytes", "memory", "engine", "step"]
    later = Nets(file)
    later.prepare(ALL)
    assert len(asked) == 4
    assert [later.ask(question) for question in ALL] == [first.ask(question) for question in ALL]
    assert later.step(STEP) == tuple(first.ask(STEP))
    anew = Nets(file, anew=True)
    anew.prepare(ALL)
    assert asked[4:] == ["step"]
    assert anew.step(STEP)[1] == ""


def test_another_machine_or_version_is_asked_for_itself(
    file: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = nets.environment()
    Nets(file).prepare([BYTES])
    for cores in range(1, nets.ENVIRONMENTS + 1):
        monkeypatch.setattr(nets, "machine", lambda cores=cores: {"cores": -cores})
        assert nets.environment() != first
        Nets(file).prepare([BYTES])
        Nets(file).prepare([BYTES])
    assert len(asked) == 1 + nets.ENVIRONMENTS
    kept = json.loads(file.read_text())["answers"]
    assert len(kept) == nets.ENVIRONMENTS
    assert first not in kept  # the one that was not used for longest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"format": 2, "answers": {}}',
        '{"format": 1}',
        '{"format": 1, "answers": []}',
        '{"format": 1, "answers": {"ENVIRONMENT": 3}}',
        "[" * 100_000,
        " " * 2**23,
    ],
)
def test_a_file_that_is_damaged_is_as_good_as_none(file: Path, asked: list[str], text: str) -> None:
    file.parent.mkdir()
    file.write_text(text.replace("ENVIRONMENT", nets.environment()))
    Nets(file).prepare([BYTES])
    Nets(file).prepare([BYTES])
    assert asked == ["bytes"]


@pytest.mark.parametrize(
    ("question", "wrong"),
    [
        (BYTES, {"weights": 1}),
        (BYTES, {"weights": -1, "trainable": 1, "head": 1, "features": 1, "norms": 0, "factors": 0}),
        (BYTES, {"weights": True, "trainable": 1, "head": 1, "features": 1, "norms": 0, "factors": 0}),
        (MEMORY, 1.5),
        (ENGINE, "print('x')"),
        (STEP, 1.0),
        (STEP, [0.0, "2026-01-01"]),
        (STEP, [float("nan"), "2026-01-01"]),
        (STEP, [float("inf"), "2026-01-01"]),
        (STEP, [1.0, "\x1b[2J"]),
    ],
)
def test_an_answer_that_cannot_be_one_is_not_believed(file: Path, question: Question, wrong: object) -> None:
    found = Nets(file)
    found.prepare(ALL)
    kept = json.loads(file.read_text())
    (answers,) = kept["answers"].values()
    (name,) = (text for text in answers if json.loads(text)["what"] == question.what)
    answers[name] = wrong
    file.write_text(json.dumps(kept))
    assert json.dumps(Nets(file).ask(question)) != json.dumps(wrong)  # NaN is not even equal to itself


def test_a_file_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Nets(tmp_path / "file" / "plans.json").bytes(BYTES).weights == 268


@pytest.fixture
def ours() -> Iterator[str]:
    """A net of a plugin."""

    def build(shape: tuple[int, ...], classes: int) -> tuple[nn.Module, nn.Linear]:
        return nn.Flatten(), nn.Linear(shape[0], classes)

    name = "of-a-plugin"
    with MODELS.lent(name, ModelPlugin(name, build, "linear", name, None, "")):
        yield name


def test_nets_of_plugins_are_asked_each_time(file: Path, asked: list[str], ours: str) -> None:
    question = Question("bytes", ours, (4,), 3)
    for _ in range(2):
        assert Nets(file).bytes(question).weights == 4 * (4 * 3 + 3)
    assert asked == ["bytes"] * 2
    assert not file.exists()


def test_a_child_process_is_asked_once_and_what_it_says_is_checked(
    file: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(nets.sys.modules, "torch")
    calls = []

    def run(command: list[str], *, input: str, **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append([one["what"] for one in json.loads(input)])
        return subprocess.CompletedProcess(command, 0, stdout='[268, 4000, "stacked", [0.25, "2026-12-01"]]', stderr="")

    monkeypatch.setattr(nets.subprocess, "run", run)
    found = Nets(file)
    monkeypatch.setattr(nets, "answer", lambda question: asked.append(question.what) or {"found": "here"})
    found.prepare(ALL)
    assert calls == [["bytes", "memory", "engine", "step"]]
    assert asked == ["bytes"]  # 268 is no answer to that
    assert (found.ask(MEMORY), found.ask(ENGINE), found.step(STEP)) == (4000, "stacked", (0.25, ""))


@pytest.mark.slow
def test_the_process_that_asks_does_not_load_torch(file: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fl_bench.benchmarks.running.nets import Nets; "
        "from fl_bench.benchmarks.running.probing import Question; "
        f"found = Nets(Path({str(file)!r})); print(found.ask({BYTES!r})['weights'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "268 False\n"
    assert Nets(file).ask(BYTES)["weights"] == 268
    assert len(json.loads(file.read_text())["answers"]) == 1
