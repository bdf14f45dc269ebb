"""Answers of what plans ask of nets (benchmarks room), without torch in this process and each found out once.

A child process answers all that is asked at once, and its memory ends with it. Answers stay in a file of the user's
cache folder, for this machine, these versions and this code of the federation room; what is in the file is checked like
any other data. Nets of plugins, whose code may change any moment, are asked here and every time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fl_bench
from fl_bench.errors import StorageError
from fl_bench.files import write_file
from fl_bench.limits import PLAN_BYTES

from ... import federation
from ...datasets.source import cache_folder
from ...federation.models import NetBytes
from ...federation.models.registry import find_model
from .child import search_path
from .local import WORKER
from .probing import Question, answer
from .provenance import machine, package_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = 1
"""Version of the file."""

ENVIRONMENTS = 8
"""Machines and versions whose answers a file keeps; the ones that were used last."""

CHILD_LIMIT = 600.0
"""Seconds that the child process may take."""


def kept_in() -> Path:
    """The file that answers are kept in."""
    return cache_folder() / "plans.json"


def environment() -> str:
    """What answers depend on beside the question: the processor, versions, and the code of the federation room."""
    code = hashlib.sha256()
    for path in sorted(Path(federation.__path__[0]).rglob("*.py")):
        code.update(path.read_bytes())
    about = {
        **machine(),
        "python": sys.version,
        "torch": package_version("torch"),
        "fl_bench": fl_bench.__version__,
        "code": code.hexdigest(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


class Nets:
    """What is known of nets.

    Args:
        file: where answers are kept; `kept_in()` by default.
        anew: whether steps are timed again, whatever is kept.
    """

    def __init__(self, file: Path | None = None, *, anew: bool = False) -> None:
        self._file = file or kept_in()
        self._environment = environment()
        self._answers: dict[str, Any] = {
            text: found
            for text, found in _kept(self._file).get(self._environment, {}).items()
            if not (anew and json.loads(text)["what"] == "step")
        }
        self._new: set[str] = set()

    def prepare(self, questions: Iterable[Question]) -> None:
        """Find out at once what is asked later, which is quicker than one after the other.

        Raises:
            ConfigError: a net does not fit the samples.
        """
        unknown = {_text(question): question for question in questions if _text(question) not in self._answers}
        if not unknown:
            return
        lasting = {text: question for text, question in unknown.items() if _is_ours(question.net)}
        self._new |= unknown.keys()
        if lasting and "torch" not in sys.modules:
            self._answers |= _asked(lasting)
        self._answers |= {text: answer(question) for text, question in unknown.items() if text not in self._answers}
        if lasting:
            self._keep(lasting)

    def ask(self, question: Question) -> Any:
        """The answer to a question; see `Question.what`.

        Raises:
            ConfigError: the net does not fit the samples.
        """
        self.prepare([question])
        return self._answers[_text(question)]

    def bytes(self, question: Question) -> NetBytes:
        """The answer to a question for bytes."""
        return NetBytes(**self.ask(question))

    def step(self, question: Question) -> tuple[float, str]:
        """The answer to a question for a step: its seconds, and when they were measured; empty where that was now."""
        seconds, date = self.ask(question)
        return seconds, "" if _text(question) in self._new else date

    def _keep(self, questions: Iterable[str]) -> None:
        """Add answers to the file; one that takes none is done without."""
        kept = _kept(self._file)
        ours = {**kept.pop(self._environment, {}), **{text: self._answers[text] for text in questions}}
        newest = dict([*kept.items(), (self._environment, ours)][-ENVIRONMENTS:])
        with suppress(StorageError):
            write_file(self._file, json.dumps({"format": FORMAT, "answers": newest}, indent=1) + "\n")


def _asked(questions: Mapping[str, Question]) -> dict[str, Any]:
    """What a child process answers; nothing where it cannot be started or fails, which is found out here then."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", f"{__package__}.probing"],
            input=json.dumps(list(map(asdict, questions.values()))),
            capture_output=True,
            text=True,
            timeout=CHILD_LIMIT,
            check=True,
            env={**os.environ, **WORKER, "PYTHONPATH": search_path()},
        )
        found = dict(zip(questions, json.loads(done.stdout), strict=True))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {text: said for text, said in found.items() if _is_answer(questions[text].what, said)}


def _text(question: Question) -> str:
    return json.dumps(asdict(question), sort_keys=True)


def _is_ours(net: str) -> bool:
    """Whether a net is defined by fl-bench."""
    return find_model(net)[0].build.__module__.startswith(f"{fl_bench.__name__}.federation.")


def _kept(file: Path) -> dict[str, dict[str, Any]]:
    """The answers of a file by environment; what is not as it should be is left out, for it can be found out again."""
    try:
        if file.stat().st_size > PLAN_BYTES:
            return {}
        found = json.loads(file.read_bytes())
        if found["format"] != FORMAT:
            return {}
        return {
            environment: {text: said for text, said in answers.items() if _is_kept(text, said)}
            for environment, answers in found["answers"].items()
        }
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return {}


def _is_kept(text: str, said: Any) -> bool:
    """Whether a file's text is a question, and what it says an answer to that."""
    with suppress(ValueError, RecursionError):
        asked = json.loads(text)
        names = {field.name for field in fields(Question)}
        return isinstance(asked, dict) and asked.keys() == names and _is_answer(asked["what"], said)
    return False


def _is_answer(what: object, said: Any) -> bool:
    match what:
        case "bytes":
            names = {field.name for field in fields(NetBytes)}
            return isinstance(said, dict) and said.keys() == names and all(map(_is_count, said.values()))
        case "memory":
            return _is_count(said)
        case "engine":
            return said in ("loop", "stacked")
        case "step":
            return isinstance(said, list) and len(said) == 2 and _is_time(said[0]) and _is_date(said[1])
    return False


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_time(value: object) -> bool:
    return type(value) is float and math.isfinite(value) and value > 0


def _is_date(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None
