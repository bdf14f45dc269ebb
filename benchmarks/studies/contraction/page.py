"""The section of docs/cosmos-studies.md on contraction in real data (benchmarks room): records in, text out."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...contraction.outcomes import outcomes, overall
from ...contraction.predictions import read_predictions
from ...contraction.reading import RISKS, read_blocks
from ...contraction.study import END_ROUNDS, Study, base_blocks
from ...grid.grid import expand, find_grid, read_grid
from ...records.bundle import NAME
from ...records.store import Store
from ...statistics.verdicts import many
from ..sections import STUDIES, listed, put, table, wrapped
from .accuracy import accuracies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ....cosmos.theory.steps import Slope
    from ...contraction.outcomes import Outcome
    from ...contraction.predictions import Prediction
    from ...contraction.reading import Block, Risk

RECORDS = Path(__file__).resolve().parents[3] / "results" / "contraction"
"""The records of the grid `contraction`."""

TEXT = Path(__file__).with_name("section.md")
"""The words of the section; `{name}` stands for what `facts` computes."""

PARTS = ("verdicts", "download", "against")
"""Files with what docs/cosmos.md says of these records, in the same form."""

PENDING = (
    "Not decided yet: the grid `contraction` has not been run to its end. `fl-bench run contraction` runs it, and its "
    "predictions were committed before (`benchmarks/contraction/predictions.yaml`)."
)
"""What is said while there are no records."""

SHOWN: dict[Risk, str] = {"cross-entropy": "cross-entropy", "brier": "Brier", "zero-one": "0/1"}
"""Risks in tables."""

SIGNS = {"supported": "+", "not supported": "-", "not identified": "?", "not run": "."}


def write(page: Path = STUDIES) -> Path:
    """Put the section into its place on the page.

    Raises:
        ValueError: the page has not exactly one place for it.
    """
    return put("contraction", "make cosmos", TEXT, wrapped(told()["section"]), page)


def told(results: Path = RECORDS) -> dict[str, str]:
    """The section, and the parts of docs/cosmos.md."""
    texts = {name: TEXT.with_name(f"{name}.md").read_text(encoding="utf-8") for name in ("section", *PARTS)}
    if (results / NAME).is_file():
        return {name: text.format(**facts(results)).strip() for name, text in texts.items()}
    return {
        name: PENDING if name != "section" else f"{text.splitlines()[0]}\n\n{PENDING}" for name, text in texts.items()
    }


@cache
def facts(results: Path = RECORDS, draws: int = 1000) -> dict[str, str]:
    """Tables and numbers of the section, and those of docs/cosmos.md that come from the same records, as text."""
    predicted, records = read_predictions(), Store(results).records()
    blocks = read_blocks(records)
    bases = base_blocks(blocks, predicted)
    studies = {risk: [Study(block, predicted, risk, draws=draws) for block in bases] for risk in RISKS}
    held = {
        risk: [outcomes(prediction, of_risk, blocks) for prediction in predicted.predictions]
        for risk, of_risk in studies.items()
    }
    first = bases[0]
    revisions = {str(record.run["provenance"].get("revision")) for record in records}
    left_out = sorted({text for block in bases for text in block.left_out})
    return {
        "datasets": listed([block.dataset for block in bases]),
        "clients": str(first.clients),
        "rounds": str(first.rounds),
        "seeds": "; ".join(dict.fromkeys(" ".join(map(str, block.seeds)) for block in bases)),
        "end": str(END_ROUNDS),
        "by": f"{studies[RISKS[0]][0].by}s",
        "left_out": f"In no number: {'; '.join(left_out)}." if left_out else "",
        "absent": _absent(bases),
        "revisions": many(len(revisions), "revision"),
        "cross_entropy": _arms(studies["cross-entropy"]),
        "brier": _arms(studies["brier"]),
        "reasons": "\n".join(_reasons(of_risk) for of_risk in studies.values()),
        "predictions": table(
            ["prediction", *SHOWN.values()],
            [
                [f"{prediction.says} (`{prediction.name}`)", *(_marked(held[risk][place]) for risk in RISKS)]
                for place, prediction in enumerate(predicted.predictions)
            ],
        ),
        "counts": _counts([overall(found) for risk in RISKS for found in held[risk]]),
        "verdicts": _verdicts(studies),
        "contracting": _contracting(studies),
        "few": _few(predicted.predictions, held),
        **accuracies(bases, records),
    }


def _absent(bases: Sequence[Block]) -> str:
    """Arms of the grid that were not run, as a sentence."""
    path = find_grid(RECORDS.name)
    ran = {label for block in bases for label in block.arms}
    lacking = sorted({cell.label for cell in expand(read_grid(path), str(path)).cells} - ran)
    return f"Not run: {listed([f'`{label}`' for label in lacking])}." if lacking else ""


def _arms(studies: Sequence[Study]) -> str:
    """A line per data set and arm: the risk at the end, rho, floor, verdict."""
    rows = []
    for study in studies:
        for label in [*study.arms, *study.references]:
            judged = study.judged(label) if label in study.arms else None
            end = study.end(label)
            assert end is not None  # the arm is there
            shown = study.lowest(label) if judged is None else end.mean
            rows.append(
                [
                    study.block.dataset,
                    label + (" \\*" if study.block.arms[label].badges else ""),
                    f"{shown:.3f}",
                    "" if judged is None else _slope(judged.step.rho),
                    "" if judged is None else _slope(judged.step.floor),
                    "reference, lowest" if judged is None else judged.verdict,
                ]
            )
    return table(["data set", "arm", "end", "rho (95 %)", "floor (95 %)", "verdict"], rows)


def _slope(slope: Slope) -> str:
    if slope.interval is None:
        return "-"
    return f"{slope.estimate:.2f} ({slope.interval[0]:.2f} to {slope.interval[1]:.2f})"


def _reasons(studies: Sequence[Study]) -> str:
    lines = []
    for study in studies:
        for view, words in (("client", "after local training"), ("after_distill", "after distillation")):
            judged = study.judged(study.predictions.claim, view)
            if judged is not None:
                told = f"{judged.verdict}: {judged.reason}"
                lines.append(f"- {study.block.dataset}, {SHOWN[study.risk]}, {words}: {told}")
    return "\n".join(lines)


def _marked(found: Sequence[Outcome]) -> str:
    return f"{overall(found)} ({' '.join(SIGNS[outcome.verdict] for outcome in found)})"


def _counts(verdicts: Sequence[str]) -> str:
    counted = Counter(verdicts)
    told = listed([f"{counted[kind]} {kind}" for kind in SIGNS if counted[kind]])
    return f"Of {len(verdicts)} verdicts over data sets, {len(verdicts) // len(RISKS)} under each risk: {told}."


def _verdicts(studies: Mapping[Risk, list[Study]]) -> str:
    """The verdict on the claim's arm by data set and risk: of deployed models, and after distillation if it differs."""
    rows = []
    for place, study in enumerate(studies[RISKS[0]]):
        cells = []
        for risk in RISKS:
            found = [studies[risk][place].judged(study.predictions.claim, view) for view in ("client", "after_distill")]
            told = list(dict.fromkeys(judged.verdict for judged in found if judged is not None))
            cells.append("; after distillation ".join(told))
        rows.append([study.block.dataset, *cells])
    return table(["data set", *SHOWN.values()], rows)


def _contracting(studies: Mapping[Risk, list[Study]]) -> str:
    """Arms whose risk contracts somewhere, in words."""
    found = [
        f"`{label}` ({study.block.dataset}, {SHOWN[study.risk]})"
        for of_risk in studies.values()
        for study in of_risk
        for label in study.arms
        if (judged := study.judged(label)) is not None and judged.verdict == "supported"
    ]
    return listed(found)


def _few(predictions: Sequence[Prediction], held: Mapping[Risk, list[list[Outcome]]]) -> str:
    """How many predictions of each kind were supported, under each risk."""
    kinds = {
        "contracts faster than a control": [
            f"rho-{arm}" for arm in ("local", "local-public", "own-past", "no-model", "frozen")
        ],
        "has a lower floor than a control": [
            f"floor-{arm}" for arm in ("local", "local-public", "own-past", "no-model", "frozen", "distill-only")
        ],
        "ends lower than a control": [
            f"end-{arm}" for arm in ("local", "local-public", "own-past", "no-model", "frozen")
        ],
        "wrong clusters have a higher floor": ["floor-random", "floor-one"],
        "wrong clusters end higher": ["end-random", "end-one"],
    }
    place = {prediction.name: index for index, prediction in enumerate(predictions)}
    rows = []
    for says, names in kinds.items():
        cells = []
        for risk in RISKS:
            told = [outcome.verdict for name in names for outcome in held[risk][place[name]]]
            cells.append(f"{told.count('supported')}, {told.count('not supported')}, {told.count('not identified')}")
        rows.append([says, *cells])
    return table(["prediction", *SHOWN.values()], rows)
