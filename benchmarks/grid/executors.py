"""Executors by name (benchmarks room): `local[jobs=4]` or a YAML profile in, a configured one out; starts nothing."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fl_bench.errors import ConfigError
from fl_bench.registry import Registry

from .brackets import bracketed, name_and_brackets
from .configure import blame, configure, show_value, written
from .plain_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUILT_IN = (
    "fl_bench.benchmarks.running.here",
    "fl_bench.benchmarks.running.apart",
    "fl_bench.benchmarks.running.slurm",
    "fl_bench.benchmarks.running.ray",
)
"""Modules that register our executors."""

PROFILES = (".yaml", ".yml")
"""How the name of a file of settings ends."""

AnyExecutor = TypeVar("AnyExecutor", bound="type[Any]")

EXECUTORS: Registry[type[Any]] = Registry("executor", built_in=BUILT_IN)
"""All executors by name; each is a frozen dataclass with the interface `running.executor.Executor`."""


def executor(name: str) -> Callable[[AnyExecutor], AnyExecutor]:
    """Register an executor under the name that `--executor` uses.

    Raises:
        ConfigError: another executor has the name, or the class is no dataclass with `run` and `slots`.
    """

    def register(cls: AnyExecutor) -> AnyExecutor:
        lacking = [part for part in ("run", "slots") if not callable(getattr(cls, part, None))]
        if not is_dataclass(cls) or lacking:
            found = f"it lacks {' and '.join(lacking)}" if lacking else "it is none"
            raise ConfigError(
                f"executor {name!r} must be a frozen dataclass of its settings with run and slots; {found}"
            )
        EXECUTORS.register(name)(cls)
        return cls

    return register


def read_executor(text: str, given: Mapping[str, Any] | None = None) -> Any:
    """The executor that `--executor` asks for, configured.

    Args:
        text: a name (`local`), a name with settings (`local[jobs=4]`), or a YAML file that holds `local: {jobs: 4}`.
        given: settings from options of their own (`--jobs`), by name; None where an option was not given.
    Raises:
        ConfigError: a malformed text, an unknown executor or setting, an impossible value, or a setting given twice.
    """
    with blame(f"--executor {text}"):
        name, settings = _profile(Path(text)) if text.endswith(PROFILES) else _inline(text)
        kind = EXECUTORS[name]
        known = [written(setting.name) for setting in fields(kind)]
        for option, value in (given or {}).items():
            if value is None:
                continue
            if option not in known:
                raise ConfigError(f"--{option} is no setting of it ({', '.join(known) or 'it has none'}); leave it out")
            if option in settings:
                raise ConfigError(f"{option} is given here and by --{option}; give one of them")
            settings = {**settings, option: value}
        return configure(kind, settings, name)


def _inline(text: str) -> tuple[str, dict[str, Any]]:
    name, inside = name_and_brackets(text, "an executor")
    return name, {} if inside is None else bracketed(inside, text)


def _profile(path: Path) -> tuple[str, dict[str, Any]]:
    content = read_yaml(path)
    if isinstance(content, str):
        return content, {}
    if isinstance(content, dict) and len(content) == 1:
        ((name, settings),) = content.items()
        if isinstance(name, str) and isinstance(settings, dict | None):
            return name, settings or {}
    raise ConfigError(
        f"a profile holds one executor with its settings, `ray: {{address: auto}}`, found {show_value(content)}"
    )
