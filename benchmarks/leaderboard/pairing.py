"""What may be compared with what (benchmarks room): runs of one data set and setting, on the same data and weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from fl_bench.errors import DataError

from ..grid.cell import short_hash
from .naming import in_setting, setting_hash, setting_names
from .versions import left_out, mixture, newest, superseded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..records.record import Record


def comparisons(records: Sequence[Record]) -> dict[tuple[str, str], dict[str, list[Record]]]:
    """What may be compared: (dataset, setting hash) -> name of a method in tables -> its records, all sorted by name.

    Of a run with records of several protocols the newest counts. Methods are told apart by their settings. One that
    goes by several labels is named by its commonest; where two go by one label, the names carry a hash of their
    settings.
    """
    blocks: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in newest(records):
        block = str(record.cell["dataset"]), setting_hash(record.cell)
        blocks[block][short_hash(record.cell["method"], 6)].append(record)
    named = {}
    for block in sorted(blocks):
        names = _labels(blocks[block])
        named[block] = {names[key]: blocks[block][key] for key in sorted(names, key=lambda key: names[key])}
    return named


def names_of(blocks: Mapping[tuple[str, str], Mapping[str, Sequence[Record]]]) -> dict[tuple[str, str], str]:
    """The names of the settings of `comparisons`, which tell those of one data set apart."""
    return setting_names({block: next(iter(methods.values()))[0].cell for block, methods in blocks.items()})


def check_pairing(records: Sequence[Record]) -> None:
    """Refuse records that look comparable and are not.

    Methods of one (dataset, setting, repetition) must have had the same data, partition, initial weights, client draws
    and public order.

    Raises:
        DataError: names what differs and in which records.
    """
    for what, groups in contradictions(records):
        known, other = (group[0] for group in list(groups.values())[:2])
        raise DataError(
            f"these runs are not comparable: their {what} differs\n  {known.folder}\n"
            f"  {other.folder}\nremove one of the folders and run it again with the same fl-bench and data"
        )


def contradictions(records: Sequence[Record]) -> Iterator[tuple[str, dict[str | None, list[Record]]]]:
    """Where records of one (dataset, setting, repetition) differ in what `check_pairing` asks to be the same.

    Yields:
        What differs, and the records by what they have, the group of the first folder first.
    """
    seen: dict[tuple[Any, ...], dict[str | None, list[Record]]] = {}
    for record in sorted(newest(records), key=lambda record: record.folder.as_posix()):
        hashes = dict(record.facts.get("pairing", {}))
        if "dataset" in record.facts:
            hashes["data"] = record.facts["dataset"].get("fingerprint")
        setting = setting_hash(record.cell)
        for what, value in hashes.items():
            block = (record.cell["dataset"], setting, record.repetition, what)
            seen.setdefault(block, {}).setdefault(value, []).append(record)
    for (*_, what), groups in seen.items():
        if len(groups) > 1:
            yield what.replace("_", " "), groups


def cautions(records: Sequence[Record]) -> list[str]:
    """What a reader of tables or figures of these records must know of their protocols, a sentence each."""
    places: dict[str, list[str]] = defaultdict(list)
    blocks = comparisons(records)
    names = names_of(blocks)
    for (dataset, setting), methods in blocks.items():
        caution = mixture({name: [record.protocol for record in group] for name, group in methods.items()})
        places[caution].append(in_setting(dataset, names[dataset, setting]))
    mixed = [f"{caution}: {', '.join(where)}" for caution, where in places.items() if caution]
    return [*filter(None, [left_out(superseded(records), newest(records))]), *mixed]


def setting_text(cell: Mapping[str, Any]) -> str:
    """The setting in words; `setting_hash` is the exact form."""
    partition, training, models = dict(cell["partition"]), cell["training"], cell["models"]
    scheme = partition.pop("scheme")
    knobs = ", ".join(f"{name}={_short(value)}" for name, value in partition.items())
    nets = network_word(cell) + (f" (server {models['server']})" if models.get("server") else "")
    rounds, epochs = training["rounds"], training["local_epochs"]
    return (
        f"{scheme}({knobs}); {nets}; {rounds} round{'' if rounds == 1 else 's'}, "
        f"{epochs} local epoch{'' if epochs == 1 else 's'}, "
        f"batch {training['batch_size']}, {training['optimizer']} {_short(training['lr'])}, "
        f"participation {_short(training['participation'])}"
        f"{'; deployed views only' if training.get('views') == 'deployed' else ''}"
        f"{'; with risks' if training.get('risks') else ''}"
        f"{'; faults ' + _short(cell['faults']) if cell.get('faults') else ''}"
    )


def setting_brief(cell: Mapping[str, Any]) -> str:
    """The setting in a few words: `latent-groups, 40 clients; mlp-64; 10 rounds`."""
    return (
        f"{partition_word(cell)}, {cell['partition']['clients']} clients; {network_word(cell)}; "
        f"{cell['training']['rounds']} rounds"
    )


def network_word(cell: Mapping[str, Any]) -> str:
    """The clients' networks: `mlp-64`, `mlp-32+mlp-64`."""
    return "+".join(cell["models"]["names"])


def partition_word(cell: Mapping[str, Any]) -> str:
    """The scheme that dealt the data, with the concentration of Dirichlet's: `latent-groups`, `dirichlet 0.1`."""
    scheme, alpha = str(cell["partition"]["scheme"]), cell["partition"].get("alpha")
    return f"{scheme} {alpha:g}" if alpha is not None and "dirichlet" in scheme else scheme


def _labels(groups: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """A name for each method: its commonest label, with a hash where two methods go by one label."""
    labels = {}
    for key, group in groups.items():
        counts = Counter(record.label for record in group)
        labels[key] = min(counts, key=lambda label: (-counts[label], len(label), label))
    shared = Counter(labels.values())
    return {key: label if shared[label] == 1 else f"{label} #{key}" for key, label in labels.items()}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{name}={_short(part)}' for name, part in value.items())})"
    return f"{value:g}" if isinstance(value, float) else str(value)
