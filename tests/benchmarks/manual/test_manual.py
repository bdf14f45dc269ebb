"""docs/method-interface.md: what is generated is fresh, nothing public is left out, and every line of example runs."""

from __future__ import annotations

import importlib
import re
import runpy
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fl_bench.benchmarks.commands.scaffold import write_method
from fl_bench.benchmarks.manual.examples import EXAMPLES
from fl_bench.benchmarks.manual.page import PAGE, contents, reference, written
from fl_bench.benchmarks.manual.reading import Topic, as_markdown, read_class, read_module
from fl_bench.benchmarks.manual.topics import LEFT_OUT, MODULES, PARTS, topics
from fl_bench.federation import batches, channel, optimizers, payloads, phase, rounds, trees
from fl_bench.federation.payloads import Bundle, Labels, Parameters, Payload, Scalars, Scores
from fl_bench.methods import (
    averaging,
    base,
    clustering,
    losses,
    parts,
    planning,
    server_steps,
    similarity,
    simplex,
    two_models,
)
from fl_bench.methods.base import Method, NoSettings
from fl_bench.methods.contract import TRAINING, client_facts, deal, finish, made_up_data, make_run
from fl_bench.methods.registry import method

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.run import Run

ENGINES = ("loop", "stacked")

RECEIVED = {"Teaching": "scores", "Labels": "labels", "Prototypes": "prototypes", "Bundle.content_bytes": "bundle"}
"""What clients received, for examples of what; weights for all others."""

SENT = {
    "scores": "scores",
    "rows": "scores",
    "labels": "labels",
    "prototypes": "prototypes",
    "scalars": "scalars",
    "kmeans": "scores",
    "part": "",
}
"""The part of the clients' bundle that is uploaded, for examples of what; weights for all others."""


def entries() -> dict[str, Any]:
    return {entry.key: entry for content in topics().values() for topic in content for entry in topic.entries}


def everything() -> dict[str, Any]:
    """The names that a plugin may import from the modules of the reference."""
    modules = (
        *(batches, channel, optimizers, payloads, phase, rounds, trees),
        *(averaging, base, clustering, losses, parts, planning, server_steps, similarity, simplex, two_models),
    )
    names: dict[str, Any] = {}
    for module in modules:
        names |= {name: value for name, value in vars(module).items() if not name.startswith("_")}
    from fl_bench.streams import numpy_stream, stream_key, torch_stream

    streams = {"numpy_stream": numpy_stream, "stream_key": stream_key, "torch_stream": torch_stream}
    return names | streams | {"torch": torch, "F": F, "np": np, "replace": replace}


class Still(Method[NoSettings]):
    """Clients send one of each payload; in the second round everything that an example may look at is kept."""

    requires = base.Requires(public_data=True, one_architecture=True, shared_init=True)
    exchanges = frozenset({Scores, Labels, Parameters, payloads.Prototypes, Scalars})

    def client_update(self, clients: Cohort, received: Any, rnd: Any) -> Payload:
        self.clients, self.received, self.rnd = clients, received, rnd
        values = clients.predict(rnd.public.inputs())
        parts: dict[str, Payload] = {
            "scores": Scores(values),
            "labels": Labels(values.argmax(dim=-1), rnd.federation.classes),
            "model": Parameters(clients.weights),
            "scalars": Scalars({"accuracy": clients.sizes}),
        }
        if not self.twins:
            parts["prototypes"] = clients.prototypes()
        return Bundle(parts, sizes=clients.sizes)

    def server_update(self, uploads: Any, rnd: Any) -> Any:
        self.uploads = uploads
        return uploads.to_participants(Bundle({name: self.part(name) for name in uploads._groups[0][2].parts}))

    def part(self, name: str) -> Payload:
        return self.uploads.part(name)._groups[0][2]

    twins = False

    def build_client(self, base: Any) -> Any:
        return two_models.TwoModels(base) if self.twins else base


@lru_cache
def still(engine: str, twins: bool) -> tuple[Still, Run]:
    """A run that is left in its second round."""
    kind = type(f"Still{engine}{twins}", (Still,), {"__doc__": "A method for examples.", "twins": twins})
    method(f"still-{engine}-{twins}".lower())(kind)
    dataset = made_up_data()
    run = make_run(kind.name, dataset, deal(dataset), replace(TRAINING, engine=engine))
    finish(run, rounds=2)
    return run.method, run  # type: ignore[return-value]


def scene(key: str, line: str, engine: str) -> dict[str, Any]:
    """The names in an example's line."""
    names = everything()
    seen, run = still(engine, twins="twins" in line)
    owner, _, name = key.partition(".")
    bundle = seen.received
    received = RECEIVED.get(key, RECEIVED.get(owner, "model"))
    uploads, part = seen.uploads, SENT.get(name, "model")
    if owner in ("Uploads", "averaging", "clustering", "similarity", "trees") and part:
        uploads = uploads.part(part)
    federation = run.federation
    return names | {
        "clients": seen.clients.copy(),
        "twins": seen.clients.copy(),
        "received": bundle if received == "bundle" else bundle.parts[received],
        "rnd": seen.rnd,
        "uploads": uploads,
        "self": seen,
        "federation": federation,
        "server": federation.server_models(2),
        "public": seen.rnd.public.inputs(),
        "facts": client_facts(run),
        "told": lambda model, batch: losses.kl_divergence(batch.target, model(batch.x)),
        "near": lambda model, batch: (
            losses.cross_entropy(model, batch) + losses.squared_distance(model, batch.extra["w"])
        ),
    }


def in_class_body(key: str) -> bool:
    return key.startswith("Method.") and bool(re.match(r"def |\w+ = ", EXAMPLES[key]))


def test_the_page_is_what_make_reference_writes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert written(text) == text, "docs/method-interface.md is stale: run `make reference`"


def test_everything_public_has_an_example_and_no_example_is_left_over() -> None:
    known = entries()
    assert not known.keys() - EXAMPLES.keys(), "add a line to benchmarks/manual/examples.py"
    assert not EXAMPLES.keys() - known.keys(), "nothing has these names any more"


def test_the_contents_lead_to_every_section_once() -> None:
    text = (
        "## A b\n\n### C: `d_e.py`\n\n```python\n### no heading\n```\n\n#### C: `d_e.py`\n\n## F\n\n### C: `d_e.py`\n"
    )
    assert contents(text) == ("- **[A b](#a-b)**: [C: `d_e.py`](#c-d_epy)\n- **[F](#f)**: [C: `d_e.py`](#c-d_epy-2)")


def test_links_inside_the_page_have_a_target() -> None:
    text = PAGE.read_text(encoding="utf-8")
    known = set(re.findall(r"\]\((#[^)]*)\)", contents(text)))
    assert set(re.findall(r"\]\((#[^)]*)\)", text)) <= known


def test_the_reference_needs_no_specification() -> None:
    assert "methods.md" not in reference()
    assert as_markdown("A (methods.md 1.3). B. methods.md 2.3 has the definitions.") == "A. B."


def test_a_class_that_is_made_by_hand_says_how() -> None:
    made = {topic.name: topic.call for content in topics().values() for topic in content if topic.call}
    assert made["Uploads"].startswith("Uploads(groups: Sequence[tuple[str, Sequence[int], Payload]], *, owners: ")
    assert "Cohort" not in made


def test_everything_is_imported_from_where_the_reference_says() -> None:
    for topic in (topic for content in topics().values() for topic in content):
        module = importlib.import_module(topic.where)
        names = [topic.name] if topic.name not in MODULES else [entry.name for entry in topic.entries]
        assert all(hasattr(module, name) for name in names), topic.where


def test_modules_have_readable_headings() -> None:
    modules = {topic.name for content in topics().values() for topic in content if topic.name.islower()}
    assert modules == MODULES.keys()


def test_the_guides_test_by_hand_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (shown,) = [block for block in blocks if "def test_" in block]
    write_method("my-weights", "weights", tmp_path)
    (tmp_path / "test_by_hand.py").write_text(shown, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    tests = [value for name, value in runpy.run_path("test_by_hand.py").items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_what_is_left_out_exists() -> None:
    found: list[Topic] = []
    for files in PARTS.values():
        for file, classes in files:
            found += [read_class(file, name) for name in classes] if classes else [read_module(file)]
    assert LEFT_OUT.keys() <= {entry.key for topic in found for entry in topic.entries}


@pytest.mark.parametrize("key", [key for key in EXAMPLES if not in_class_body(key)])
def test_example_runs_in_both_engines(key: str) -> None:
    line = EXAMPLES[key]
    for engine in ENGINES if ".fit(" in line or "predict" in line else ENGINES[:1]:
        exec(line, scene(key, line, engine))


def given(what: str, facts: base.Facts) -> dict[str, Any]:
    """What a row of the guide's table of bytes leaves open, by how it begins."""
    n, pool, classes = facts.clients, facts.public, facts.classes
    rows: dict[str, dict[str, Any]] = {
        "on d samples": {"d": 3, "positions": torch.tensor([0, 3, 5]), "values": torch.zeros(n, 3, classes)},
        "K matrices": {"K": 2, "values": torch.zeros(1, 2, pool, classes)},
        "hard labels": {"N": pool, "classes": classes, "values": torch.zeros(n, pool, dtype=torch.int64)},
        "all but BatchNorm": {"norms": frozenset()},
        "two numbers": {"one": torch.zeros(n), "other": torch.zeros(n)},
    }
    return next((names for start, names in rows.items() if what.startswith(start)), {})


def closed_forms() -> list[tuple[str, str, str]]:
    """What travels, its bytes and its payload, of the rows of that table that are whole expressions."""
    table = PAGE.read_text(encoding="utf-8").partition("| what travels |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return [
        (what, re.findall("`(.*?)`", form)[0], re.findall("`(.*?)`", payload)[0])
        for what, form, payload in rows
        if "..." not in payload
    ]


@pytest.mark.parametrize(("what", "form", "payload"), closed_forms(), ids=lambda text: text[:20])
def test_the_guides_closed_forms_are_what_payloads_weigh(what: str, form: str, payload: str) -> None:
    names = scene("", "twins" if "in common" in what else "", "loop")
    names |= given(what, names["facts"])
    assert eval(form, names) == eval(payload, names).nbytes()[0]


def test_the_table_of_bytes_is_read() -> None:
    assert len(closed_forms()) == 11


@pytest.mark.parametrize("engine", ENGINES)
def test_the_examples_of_method_make_a_method(engine: str) -> None:
    lines = [EXAMPLES[key] for key in EXAMPLES if in_class_body(key)]
    body: dict[str, Any] = {"__doc__": "Made of examples."}
    exec("\n".join(lines), everything(), body)
    kind = type("OfExamples", (Method,), body)
    method(f"of-examples-{engine}")(kind)
    dataset = made_up_data()
    run = make_run(kind.name, dataset, deal(dataset), replace(TRAINING, engine=engine))
    rows = finish(run).rows
    assert "global.acc_mean" in rows[-1]
    assert "+local.acc_mean" in rows[-1]
    assert [row["temperature"] for row in rows] == [1.0, 0.5, 0.25]
    plan = run.method.plan(client_facts(run))
    assert plan is not None


def test_docstrings_become_markdown() -> None:
    doc = """Keep a *tree*.

    More words.

    Args:
        name: of `a*b`, shape (members, *shape),
            goes on.
        other: last.

    Returns:
        Something.
    """
    text = as_markdown(re.sub(r"^    ", "", doc, flags=re.MULTILINE))
    assert text == (
        "Keep a \\*tree\\*.\n\n- `name`: of `a*b`, shape (members, \\*shape), goes on.\n- `other`: last.\n\n"
        "More words.\n\nReturns: Something."
    )
