"""A list is an axis where a setting takes one value: axes multiply, have names, and are chosen from by these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.choices import choose_methods, parse_methods
from fl_bench.benchmarks.grid.grid import GridFile, Overrides, chosen_settings, scheme_changes
from fl_bench.benchmarks.grid.names import choose, in_order, named
from fl_bench.benchmarks.grid.sweeps import is_axis
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid

MakeGrid = Callable[..., "Grid"]


def alphas(cells: tuple[Cell, ...]) -> list[Any]:
    return [(cell.scheme.alpha, cell.training.lr) for cell in cells]  # type: ignore[attr-defined]  # latent-groups has it


def settings(given: Overrides | None = None, **parts: Any) -> list[str]:
    """The names of the settings that a grid with these parts has."""
    return list(chosen_settings(GridFile("g", ("digits",), ("local",), (0,), **parts), given or Overrides()))


def test_a_list_of_values_is_an_axis_and_axes_multiply(small_grid: MakeGrid) -> None:
    given = Overrides(methods="local", options=["partition.alpha=[0.1, 10]"])
    grid = small_grid(given, training={"rounds": 2, "lr": [1e-3, 1e-2]})
    assert alphas(grid.cells) == [(0.1, 0.001), (0.1, 0.01), (10, 0.001), (10, 0.01)]


def test_each_cell_of_a_sweep_is_the_cell_that_its_value_alone_makes(small_grid: MakeGrid) -> None:
    swept = small_grid(Overrides(options=["partition.alpha=[0.1, 10]"])).cells
    alone = [small_grid(Overrides(options=[f"partition.alpha={alpha}"])).cells for alpha in (0.1, 10)]
    assert [cell.key for cell in swept] == [cell.key for cells in alone for cell in cells]


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ({}, [""]),
        ({"partition": {"alpha": [0.1, 1, 10]}}, ["alpha=0.1", "alpha=1", "alpha=10"]),
        ({"partition": {"alpha": [0.1], "clients": [5, 10]}}, ["alpha=0.1, clients=5", "alpha=0.1, clients=10"]),
        ({"partition": {"public": [0.1, 0.2]}}, ["public=0.1", "public=0.2"]),
        ({"partition": {"public": {"noise": [1, 3]}}}, ["public.noise=1", "public.noise=3"]),
        ({"partition": {"public": {"missing": [1, 3]}}}, [""]),
        ({"partition": {"public": {"missing": [[1, 3], [1]]}}}, ["public.missing=[1, 3]", "public.missing=[1]"]),
        ({"models": ["mlp-8", "mlp-16"]}, [""]),
        ({"models": [["mlp-8"], ["mlp-8", "mlp-16"]]}, ["models=mlp-8", "models=[mlp-8, mlp-16]"]),
        ({"models": {"names": ["mlp-8"], "server": ["mlp-8", "cnn"]}}, ["server=mlp-8", "server=cnn"]),
        ({"faults": {"poison": {"clients": [0.1, 0.2]}}}, ["poison.clients=0.1", "poison.clients=0.2"]),
        (
            {"training": {"lr": [1e-3, 1e-2]}, "settings": {"a": {}, "b": {"training.lr": 0.1}}},
            ["a, lr=0.001", "a, lr=0.01", "b"],
        ),
        ({"settings": {"a": {"partition.alpha": [1, 2]}, "b": {}}}, ["a, alpha=1", "a, alpha=2", "b"]),
    ],
)
def test_settings_are_named_by_what_differs(parts: dict[str, Any], names: list[str]) -> None:
    assert settings(**parts) == names


def test_the_command_line_replaces_an_axis_and_all_that_stands_in_a_mapping() -> None:
    parts = {"partition": {"alpha": [0.1, 1], "public": {"noise": [1, 3]}}}
    assert settings(Overrides(options=["partition.alpha=5"]), **parts) == ["public.noise=1", "public.noise=3"]
    assert settings(Overrides(options=["partition.public=0.3"]), **parts) == ["alpha=0.1", "alpha=1"]
    assert settings(Overrides(flags={"alpha": "7,8"}, options=["partition.public=0.3"]), **parts) == [
        "alpha=7",
        "alpha=8",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "partition.alpha: an axis needs values"), ([1, 1.0], r"partition.alpha: .* once, found 1 twice in \[1, 1\]")],
)
def test_an_axis_has_values_each_once(small_grid: MakeGrid, values: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_grid(partition={"clients": 5, "alpha": values})


def test_a_value_of_an_axis_that_is_impossible_is_named(small_grid: MakeGrid) -> None:
    with pytest.raises(ConfigError, match=r"settings\.lr=-1: training\.lr must be above 0"):
        small_grid(training={"lr": [0.1, -1]})
    with pytest.raises(ConfigError, match="partition has no setting 'alfa'; did you mean 'alpha'"):
        small_grid(Overrides(options=["partition.alfa=[1, 2]"]))


def test_settings_are_chosen_by_their_parts() -> None:
    parts = {"partition": {"alpha": [0.1, 1], "clients": [5, 10]}}
    assert settings(Overrides(settings="alpha=1e-1"), **parts) == ["alpha=0.1, clients=5", "alpha=0.1, clients=10"]
    assert settings(Overrides(settings="alpha=0.1, clients=10"), **parts) == ["alpha=0.1, clients=10"]
    assert settings(Overrides(settings="alpha=1,alpha=0.1,clients=5"), **parts) == [
        "alpha=1, clients=5",
        "alpha=0.1, clients=5",
    ]
    with pytest.raises(ConfigError, match=r"named 'alpha=2'.*known: alpha=0.1, alpha=1\)"):
        settings(Overrides(settings="alpha=2"), **parts)
    with pytest.raises(ConfigError, match="no setting is all of this at once"):
        choose("a=1,b=2", {0: {"a=1", "b=1"}, 1: {"a=2", "b=2"}})


def test_methods_are_made_of_each_value() -> None:
    chosen = choose_methods("cosmos[clusters=2|3;codec=hard],fedmd[digest_lr=[1e-3,1e-2]]", [])
    assert [choice.label for choice in chosen] == [
        "cosmos[clusters=2;codec=hard]",
        "cosmos[clusters=3;codec=hard]",
        "fedmd[digest_lr=0.001]",
        "fedmd[digest_lr=0.01]",
    ]
    assert [(choice.settings, choice.codec) for choice in chosen[:2]] == [
        ({"clusters": 2}, "hard"),
        ({"clusters": 3}, "hard"),
    ]
    labelled = choose_methods("cosmos[label=c;clusters=2|3;training.lr=0.1|0.2]", [])
    assert [choice.label for choice in labelled][::3] == [
        "c[clusters=2;training.lr=0.1]",
        "c[clusters=3;training.lr=0.2]",
    ]
    assert labelled[-1].training == {"lr": 0.2}
    with pytest.raises(ConfigError, match="must stand on both sides"):
        choose_methods("cosmos[clusters=2|]", [])
    with pytest.raises(ConfigError, match="found 2 twice"):
        choose_methods("cosmos[clusters=2|2]", [])


def test_an_entry_of_several_values_is_chosen_whole_or_by_label() -> None:
    configured = parse_methods(
        {"cosmos": {"clusters": [2, 3], "distill_lr": 0.01, "training": {"lr": [0.1]}}}, "methods"
    )
    labels = ["cosmos[clusters=2;training.lr=0.1]", "cosmos[clusters=3;training.lr=0.1]"]
    assert [choice.label for choice in configured] == labels
    assert [choice.label for choice in choose_methods("cosmos", configured)] == labels
    (one,) = choose_methods(labels[1], configured)
    assert (one.settings, one.training) == ({"clusters": 3, "distill_lr": 0.01}, {"lr": 0.1})
    assert parse_methods("cosmos", "always", configured) == configured


def test_a_list_by_nature_is_one_value() -> None:
    @dataclass(frozen=True)
    class Settings:
        sizes: tuple[int, ...] = ()
        either: int | list[int] = field(default_factory=list)
        size: int = 1

    assert [is_axis([Settings], name, [1, 2]) for name in ("sizes", "either", "size")] == [False, False, True]
    assert [is_axis([Settings], name, [[1], [2]]) for name in ("sizes", "either", "size")] == [True, True, True]
    assert not is_axis([Settings], "size", 1)


def test_names_are_sorted_by_their_numbers() -> None:
    assert sorted(["alpha=10", "alpha=2", "alpha=0.5, k=10", "alpha=0.5, k=9"], key=in_order) == [
        *("alpha=0.5, k=9", "alpha=0.5, k=10"),
        *("alpha=2", "alpha=10"),
    ]
    assert named({"partition.alpha": 0.1, "training.risks": True, "training.clip": None, "training.lr": 1 / 3}) == (
        "alpha=0.1, risks=true, clip=null, lr=0.3333333333333333"
    )


def test_another_scheme_leaves_out_what_it_does_not_know_and_says_so(small_grid: MakeGrid) -> None:
    partition = {"scheme": "latent-groups", "clients": 5, "groups": 5, "alpha": 2, "min_test": 5}
    given = Overrides(methods="local", flags={"scheme": "dirichlet-class"})
    (cell,) = small_grid(given, partition=partition).cells
    assert (cell.scheme.name, cell.split.clients, cell.scheme.alpha) == ("dirichlet-class", 5, 2)  # type: ignore[attr-defined]  # it has it
    file = GridFile("g", ("digits",), ("local",), (0,), partition=partition)
    assert scheme_changes(file, given) == [
        "partition.scheme=dirichlet-class leaves out what the grid sets for another: partition.groups; kept: alpha=2"
    ]
    assert scheme_changes(file, Overrides(flags={"scheme": "latent-groups"})) == scheme_changes(file, Overrides()) == []
    swept = Overrides(methods="local", flags={"scheme": "dirichlet-class", "alpha": "1,7"})
    assert "kept" not in " ".join(scheme_changes(file, swept))
    axis = GridFile("g", ("digits",), ("local",), (0,), partition={**partition, "alpha": [1, 2]})
    (sentence,) = scheme_changes(axis, given)
    assert sentence.endswith("kept: alpha=1, alpha=2")
    for asked in ({"options": ["partition.groups=3"]}, {"flags": {"scheme": "dirichlet-class", "groups": "3,5"}}):
        with pytest.raises(ConfigError, match="partition has no setting 'groups'"):
            small_grid(Overrides(**{"flags": {"scheme": "dirichlet-class"}, **asked}), partition=partition)  # type: ignore[arg-type]  # values of two kinds
    with pytest.raises(ConfigError, match="partition has no setting 'gruops'"):  # a slip of the grid's stays one
        small_grid(given, partition={**partition, "gruops": 2})


def test_an_axis_of_schemes_gives_each_what_it_knows(small_grid: MakeGrid) -> None:
    partition = {"scheme": ["latent-groups", "iid", "natural"], "clients": 6, "groups": 3, "min_test": 5}
    cells = small_grid(partition=partition, methods=("local",), datasets=("vowel",)).cells
    assert [(cell.scheme.name, cell.split.clients) for cell in cells] == [
        ("latent-groups", 6),
        ("iid", 6),
        ("natural", 15),
    ]


def test_a_flag_and_an_option_of_one_setting_are_refused(small_grid: MakeGrid) -> None:
    with pytest.raises(ConfigError, match=r"--alpha and -o partition\.alpha are the same setting"):
        small_grid(Overrides(flags={"alpha": "1"}, options=["partition.alpha=2"]))
    with pytest.raises(ConfigError, match=r"--rounds and -o training\.rounds are the same setting"):
        small_grid(Overrides(rounds=1, options=["training.rounds=2"]))
