"""Grids (benchmarks room): YAML and command line in, cells out, everything checked; trains nothing, loads no data.

name: quick                             # says which grid it is; part of no key
question: Does COSMOS beat FedMD?       # optional: what the grid is run to answer, one sentence; part of no key
datasets: [digits]
partition: {scheme: latent-groups, groups: 5, clients: 25, public: 0.2}   # or public: {share: 0.2, noise: 3};
                                        # a list is an axis, {alpha: [0.1, 1]}: the whole comparison once per value
models: [mlp-64]                        # or {names: [cnn-small, lenet5], assignment: balanced, server: cnn}
training: {rounds: 10, lr: 1e-3}
faults: {absent: 0.1, poison: {kind: label-flip, clients: 0.2}}           # optional: what goes wrong (docs/faults.md)
methods:
  - fedmd                               # default settings
  - cosmos: {clusters: 5}               # its settings; {clusters: [2, 5]} makes two methods
  - {name: cosmos, label: cosmos-k1, codec: float16, settings: {clusters: 1}}
  - fedavg: {training: {lr: 1e-2}}      # local training of its own; also beside `settings`, as `training`
always: [local]                         # methods that run whatever --methods says
tuning: two values of lr per method     # optional: how settings were chosen; part of no key, quoted in captions;
                                        # or {ledger: FILE, sha256: ...}, as `fl-bench tune` writes it
comparison: {control: cosmos, ablations: [cosmos-k1]}                     # optional: declared before it is run
seeds: 0-4                              # or [0, 1, 2]
vary: {partition: 1-4, init: 1-4}       # optional: around every seed, runs in which only that part has another seed
settings:                               # optional: the whole comparison once per named change
  even: {partition.alpha: 100}
  skewed: {partition.alpha: 0.1}
per_dataset:                            # optional: what a method of the grid has otherwise on one data set
  digits: {fedmd: {settings: {digest_lr: 1e-2}, training: {lr: 1e-3}}}
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError, unknown_name

from ...datasets.catalogue import file_form, natural_clients
from ...federation.codecs import Codec
from ...federation.settings import Training
from ...methods.base import unsupported
from .brackets import split_list
from .cell import (
    Cell,
    DatasetChoice,
    models_section,
    resolve_config,
    resolve_faults,
    resolve_models,
    resolve_own_training,
    resolve_partition,
)
from .changes import SCHEME, SchemeChange, scheme_change, with_changes
from .choices import MethodChoice, choose_methods, parse_methods, refuse_repeats
from .configure import blame, check_name, configure, plain
from .dealing import NATURAL, deals, with_own_clients
from .declaration import check_question, read_declaration
from .fitting import check_setting
from .flags import add_flags
from .foreign import with_foreign
from .names import choose
from .per_dataset import check_per_dataset, on_dataset
from .plain_yaml import assignments, read_yaml
from .seeds import parse_seeds, refuse_too_many, vary_seeds
from .sweeps import Setting, swept

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .declaration import Declaration
    from .repetition import Repetition

GRIDS = Path(__file__).parents[1] / "grids"
"""The grids that come with fl-bench."""


@dataclass(frozen=True)
class LedgerReference:
    """The ledger of the tuning that chose a grid's settings, as the grid names it."""

    ledger: str
    """Its file, seen from the grid's folder."""
    sha256: str
    """The hash of that file."""


@dataclass(frozen=True)
class GridFile:
    """A grid as written."""

    name: str
    """The grid's name."""
    datasets: tuple[str, ...]
    """Data sets to compare on."""
    methods: tuple[Any, ...]
    """Methods to compare."""
    seeds: str | tuple[int, ...]
    """Seeds, as a list or as text such as `0-4`."""
    vary: dict[str, str | tuple[int, ...]] = field(default_factory=dict)
    """Parts of the randomness that further runs vary one at a time, around every seed: their own seeds, by name."""
    description: str = ""
    """What the grid is for."""
    question: str = ""
    """What it is run to answer, one sentence with a question mark; the page of its results begins with it."""
    partition: dict[str, Any] = field(default_factory=dict)
    """How data are dealt to clients."""
    models: Any = ("mlp-64",)
    """The clients' architectures."""
    training: dict[str, Any] = field(default_factory=dict)
    """Rounds and local training."""
    faults: dict[str, Any] = field(default_factory=dict)
    """What goes wrong whatever the method."""
    always: tuple[Any, ...] = ()
    """Methods that run whatever `--methods` says."""
    tuning: str | LedgerReference = ""
    """How the settings of the grid's methods were chosen, and with what budget: in words, which captions quote, or the
    ledger of it."""
    comparison: dict[str, Any] = field(default_factory=dict)
    """The comparison as it is declared before it is run: control, families of tests, margin, level; part of no key."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Named changes; the comparison runs once for each."""
    per_dataset: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """What methods have otherwise on single data sets, `settings` and `training`: by data set, then by label."""

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The parts that `-o` and `settings` reach into, in their long form."""
        models = models_section(self.models)
        return {"partition": self.partition, "training": self.training, "models": models, "faults": self.faults}

    @property
    def words_on_tuning(self) -> str:
        """What records say of the tuning: nothing where a ledger does, which is no part of a record."""
        return self.tuning if isinstance(self.tuning, str) else ""


@dataclass(frozen=True)
class Overrides:
    """What the command line changes; None leaves the grid's own."""

    methods: str | None = None
    datasets: str | None = None
    seeds: str | None = None
    rounds: int | None = None
    settings: str | None = None
    """Names of the grid's `settings`."""
    options: Sequence[str] = ()
    """`key=value` texts of `-o`."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """What options that stand for settings were given, by their names in `flags.FLAGS`."""
    dealt_as_written: bool = False
    """Whether the grid's scheme holds for other data sets than its own, too, where they came with clients."""

    @property
    def all_flags(self) -> dict[str, str]:
        """The same with `--rounds`."""
        return {**self.flags, **({} if self.rounds is None else {"rounds": str(self.rounds)})}

    @property
    def changes(self) -> list[str]:
        """The settings that the command line changes, as it has them."""
        return [
            *(f"-o {text}" for text in self.options),
            *(f"--{name} {text}" for name, text in self.all_flags.items()),
        ]


@dataclass(frozen=True)
class Grid:
    """All cells of a grid, in the order in which they run."""

    name: str
    cells: tuple[Cell, ...]
    unsupported: dict[str, str]
    """Why a cell cannot run, by key."""
    declaration: Declaration | None = None
    """The comparison as the grid's file declares it, whatever the command line leaves out."""
    question: str = ""
    """What the grid's file asks."""


def grid_names() -> list[str]:
    """The grids that come with fl-bench, by name."""
    return sorted(file.stem for file in GRIDS.glob("*.yaml"))


def find_grid(name: str) -> Path:
    """The file of a grid: a path, or the name of a grid that comes with fl-bench.

    Raises:
        ConfigError: there is neither.
    """
    path = Path(name)
    own = grid_names()
    if path.suffix in (".yaml", ".yml") or (path.exists() and file_form(path.name) is None):
        return path
    if name not in own:
        form = file_form(name)
        hint = "a grid of your own is a file whose name ends in .yaml"
        if form is not None:
            raise ConfigError(f"{name!r} is no grid; your own data are given as --datasets {form!r}, and {hint}")
        raise ConfigError(f"{unknown_name('grid', name, own)}; {hint}")
    return GRIDS / f"{name}.yaml"


def grid_words(path: Path) -> str:
    """What messages call a grid: its name where it comes with fl-bench, else its file."""
    return f"grid {path.stem}" if path.parent == GRIDS else str(path)


def read_grid(path: Path) -> GridFile:
    """Read a grid file; its parts are checked by `expand`.

    Raises:
        ConfigError: names the file, the key, what was found and what would do.
    """
    values = read_yaml(path)
    with blame(grid_words(path)):
        return grid_of(values)


def grid_of(values: Any) -> GridFile:
    """A grid from what is written in its file; a single data set, method or seed needs no list.

    Raises:
        ConfigError: names the key, what was found and what would do.
    """
    if isinstance(values, dict):
        alone = {"datasets": str, "methods": str | dict, "always": str | dict, "seeds": int}
        one = {key: [values[key]] for key, kind in alone.items() if isinstance(values.get(key), kind)}
        values = {**values, **one}
    return configure(GridFile, values, "")


def expand(file: GridFile, origin: str, overrides: Overrides | None = None) -> Grid:
    """All cells of a grid, checked as far as is possible without loading data; imports no torch.

    Args:
        file: the grid.
        origin: the grid's file name, for messages.
        overrides: what the command line says.
    Raises:
        ConfigError: names the file or option, the key, what was found and what would do.
    """
    given = overrides or Overrides()
    with blame(origin):
        for key, name in (("name", file.name), *(("settings", setting) for setting in file.settings)):
            check_name(name, key)
        check_question(file.question)
    with blame(origin if given.seeds is None else "--seeds"):
        seeds = parse_seeds(file.seeds if given.seeds is None else given.seeds)
    with blame(origin):
        repetitions = vary_seeds(seeds, file.vary)
    names = file.datasets if given.datasets is None else split_list(given.datasets, "--datasets")
    with blame(f"{origin}: datasets" if given.datasets is None else "--datasets"):
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"data sets must be named, each once, found {', '.join(names) or 'none'}")
        datasets = [DatasetChoice.of(name) for name in names]
    written, chosen = asked_methods(file, origin, given)
    with blame(f"{origin}: per_dataset"):
        check_per_dataset(file.per_dataset, file.datasets, written)
    with blame(origin):
        declaration = _declaration(file, written)
    with blame(origin):
        settings = chosen_settings(file, given)
    runs = len(settings) * len(datasets) * len(repetitions) * len(chosen)
    refuse_too_many(runs, "fewer --seeds, --methods or --settings")
    shown = given.changes
    cells: dict[str, Cell] = {}
    reasons: dict[str, str] = {}
    for (setting, asked), dataset in product(settings.items(), datasets):
        place = f"{origin}: settings.{setting}" if setting else origin
        with blame(f"{place} with {' '.join(shown)}" if shown else place):
            shared = _resolve(file, keeping_clients(file, given, asked, dataset), dataset)
            check_setting(shared, dataset)
            firsts = [
                _cell(
                    shared,
                    dataset,
                    repetitions[0],
                    on_dataset(file.per_dataset, dataset.location, choice) if choice in written else choice,
                    file.words_on_tuning if choice in written and not shown else "",
                )
                for choice in chosen
            ]
            impossible = [why_unsupported(first) for first in firsts]
            for repetition, (first, reason) in product(repetitions, list(zip(firsts, impossible, strict=True))):
                cell = replace(first, repetition=repetition)  # settings are shared, and their text is made once
                if cell.key in cells:
                    raise ConfigError(
                        f"{cell.label} on {dataset.name} with seed {repetition} is the same run as "
                        f"{cells[cell.key].label}, settings and all; remove one of them"
                    )
                cells[cell.key] = cell
                if reason:
                    reasons[cell.key] = reason
    return Grid(file.name, tuple(cells.values()), reasons, declaration, file.question)


def _declaration(file: GridFile, choices: Sequence[MethodChoice]) -> Declaration | None:
    if not file.comparison:
        return None
    names = {choice.label: choice.name for choice in choices}
    datasets = [DatasetChoice.of(name).name for name in file.datasets]
    return read_declaration(file.comparison, names, datasets, parse_seeds(file.seeds))


def asked_methods(file: GridFile, origin: str, given: Overrides) -> tuple[list[MethodChoice], list[MethodChoice]]:
    """The methods that a grid writes, and those that are asked for of it.

    Raises:
        ConfigError: names the file or option, what was found and what would do.
    """
    with blame(origin):
        configured = [choice for entry in file.methods for choice in parse_methods(entry, "methods")]
        always = [choice for entry in file.always for choice in parse_methods(entry, "always", configured)]
        refuse_repeats([choice.label for choice in configured])
    chosen = [*configured] if given.methods is None else choose_methods(given.methods, configured)
    chosen += [choice for choice in always if choice.label not in {own.label for own in chosen}]
    if not chosen:
        raise ConfigError(f"{origin}: methods is empty; `fl-bench list methods` shows what there is")
    return [*configured, *always], chosen


def why_unsupported(cell: Cell) -> str | None:
    """Why a cell cannot run, or None when it can; needs no data."""
    return unsupported(
        cell.build_method(),
        models=cell.models,
        training=cell.training,
        public=cell.split.share,
        grouped=cell.scheme.expected_in_group_share() is not None,
        labelled=cell.split.pool.labelled,
        faults=cell.faults,
    )


def parse_options(given: Overrides) -> dict[str, Any]:
    """The changes of `-o key=value` and of options such as `--alpha`, by dotted key; values are YAML.

    Raises:
        ConfigError: a text without `=`, or a key given twice.
    """
    return add_flags(assignments(given.options, "-o", "training.lr=0.01"), given.all_flags)


def _resolve(file: GridFile, asked: Setting, dataset: DatasetChoice) -> dict[str, Any]:
    """What all cells of one setting and data set share, as keyword arguments of `Cell`."""
    sections = with_changes(file.sections, asked.changes, asked.options)
    scheme, split = resolve_partition(with_own_clients(sections["partition"], dataset.location))
    split, foreign = with_foreign(split)
    training = configure(Training, sections["training"], "training")
    models, faults = resolve_models(sections["models"]), resolve_faults(sections["faults"])
    shared = {"scheme": scheme, "split": split, "foreign": foreign, "models": models}
    return {**shared, "shared_training": training, "faults": faults}


def keeping_clients(file: GridFile, given: Overrides, asked: Setting, dataset: DatasetChoice) -> Setting:
    """One setting of a grid for one data set, which keeps the clients that it came with unless it was asked otherwise.

    The scheme of a grid was written for its own data sets. One that the command line names instead is dealt `natural`
    if it came with clients, unless a scheme or its settings are asked for, too, or are what the grid varies.
    """
    if given.dealt_as_written or dataset.location in file.datasets:
        return asked
    keys = [key.removeprefix("partition.") for key in (*asked.changes, *asked.options) if key.startswith("partition.")]
    if deals(keys) or not deals(file.sections["partition"]) or natural_clients(dataset.location) is None:
        return asked
    return replace(asked, options={**asked.options, SCHEME: NATURAL})


def chosen_settings(file: GridFile, given: Overrides) -> dict[str, Setting]:
    """The settings that are asked for of a grid, by name.

    They are its named changes with every combination of its axes and the command line's; without both, one that
    changes nothing, whose name is empty.

    Raises:
        ConfigError: an impossible axis, or a name that no setting has.
    """
    settings = swept(file.sections, file.settings or {"": {}}, parse_options(given))
    if given.settings is None:
        return settings
    if list(settings) == [""]:
        raise ConfigError(f"--settings {given.settings}: the grid {file.name} has no settings to choose from")
    candidates = {name: set(split_list(name, "settings")) for name in settings}
    chosen = choose(given.settings, candidates, kind=f"setting of the grid {file.name}")
    return {name: settings[name] for name in chosen}


def scheme_changes(file: GridFile, given: Overrides) -> list[str]:
    """What another scheme than the grid's leaves out of it, and which data sets keep their clients, in sentences."""
    asked = chosen_settings(file, given).values()
    names = file.datasets if given.datasets is None else split_list(given.datasets, "--datasets")
    kept: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
    own: dict[str, None] = {}
    for one, name in product(asked, names):
        if keeping_clients(file, given, one, DatasetChoice.of(name)) is not one:
            own[f"{name} is partitioned into its own {natural_clients(name)} clients; --scheme changes that"] = None
            continue
        move = scheme_change(file.sections, one.changes, one.options)
        if move is not None:
            kept.setdefault((move.scheme, move.left), {}).update(dict.fromkeys(move.kept))
    return [*own, *(str(SchemeChange(scheme, left, tuple(parts))) for (scheme, left), parts in kept.items())]


def _cell(
    shared: Mapping[str, Any], dataset: DatasetChoice, repetition: Repetition, choice: MethodChoice, tuning: str
) -> Cell:
    config = resolve_config(choice.name, dict(choice.settings), f"methods.{choice.label}")
    with blame(f"methods.{choice.label}"):
        Codec.parse(choice.codec)
    usual, own = plain(shared["shared_training"]), dict(choice.training)
    return Cell(
        dataset=dataset,
        method=choice.name,
        config=config,
        codec=choice.codec,
        repetition=repetition,
        label=choice.label,
        own_training=resolve_own_training(usual, own, f"methods.{choice.label}.training") if own else (),
        tuning=tuning,
        **shared,
    )
