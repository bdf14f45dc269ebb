"""One cell of a grid (benchmarks room): everything that decides the numbers of one run, and the key made of it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError
from fl_bench.limits import PATH_LENGTH

from ...datasets.catalogue import DATASETS, check_dataset_name, file_digest
from ...datasets.partition import PARTITIONS
from ...datasets.public import PublicSettings
from ...datasets.split import SplitSettings
from ...federation.faults import Faults, Poison
from ...federation.models.registry import find_model
from ...federation.settings import LOCAL, ModelMix, Training
from ...methods.registry import METHODS
from .configure import blame, check_name, configure, known_keys, plain, show_value
from .plugins import source_digest
from .protocol import Protocol
from .repetition import Repetition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...datasets.partition import Partition
    from ...methods.base import Method

SPLIT_KEYS = [split_field.name for split_field in fields(SplitSettings)]
"""Settings under `partition` that every scheme shares."""


@dataclass(frozen=True)
class DatasetChoice:
    """A data set as cells name it: by content where the name is a path."""

    name: str
    """The name without folders, the same on every machine."""
    digest: str | None
    """SHA-256 of a user's file; None for named sets."""
    location: str
    """What `load_dataset` is given on this machine; not part of the identity."""

    @classmethod
    def of(cls, location: str) -> DatasetChoice:
        """Look up a data set, without loading it.

        Raises:
            ConfigError: there is no such data set, or the user's file does not exist.
        """
        check_name(location, "a data set", PATH_LENGTH)
        check_dataset_name(location)
        digest = file_digest(location)
        family, _, argument = location.partition(":")
        if digest is None:
            return cls(location, None, location)
        path, mark, query = argument.partition("?")
        name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
        return cls(f"{family}:{name}{mark}{query}", digest, location)


@dataclass(frozen=True)
class Cell:
    """dataset x partition x models x training x method x repetition, with every default filled in.

    Two cells are one when their keys are: the label that tables use, the grid's name and its words on tuning, devices,
    jobs and folders stand outside the key.
    """

    dataset: DatasetChoice
    scheme: Partition
    split: SplitSettings
    models: ModelMix
    shared_training: Training
    """What all methods of the comparison train with, but for what they have of their own."""
    method: str
    config: Any
    codec: str
    repetition: Repetition
    label: str = field(compare=False)
    """The method's name in tables and folders."""
    faults: Faults = field(default_factory=Faults)
    """What goes wrong whatever the method, in its canonical spelling."""
    foreign: DatasetChoice | None = None
    """Where public samples come from that are not of the data set (`partition.public.from`)."""
    own_training: tuple[tuple[str, Any], ...] = ()
    """Settings of local training that the method has of its own, by name (`LOCAL`), ascending."""
    tuning: str = field(default="", compare=False)
    """How its settings were chosen, in the words of its grid."""

    @cached_property
    def training(self) -> Training:
        """What the method trains with: what all share, and its own settings on top."""
        return replace(self.shared_training, **dict(self.own_training)) if self.own_training else self.shared_training

    def setting(self) -> dict[str, Any]:
        """What all methods of a comparison share beside dataset and repetition, as plain values."""
        foreign = None if self.foreign is None else self.foreign.digest
        return {
            "digest": self.dataset.digest,
            **({} if foreign is None else {"foreign_digest": foreign}),
            "partition": {"scheme": self.scheme.name, **plain(self.split), **plain(self.scheme)},
            "models": plain(self.models),
            "training": plain(self.shared_training),
            **({} if self.faults == Faults() else {"faults": plain(self.faults)}),
            "plugins": self._plugins(),
        }

    def method_identity(self) -> dict[str, Any]:
        """The method with its settings, as plain values."""
        return {
            "name": self.method,
            "settings": plain(self.config),
            "codec": self.codec,
            "plugin": source_digest(METHODS[self.method]),
            **({"training": dict(self.own_training)} if self.own_training else {}),
        }

    def as_dict(self) -> dict[str, Any]:
        """The resolved cell as plain values, as records keep it."""
        return {
            "dataset": self.dataset.name,
            **self.setting(),
            "method": self.method_identity(),
            "protocol": self.protocol.as_dict(),
            **self.repetition.as_dict(),
        }

    @property
    def protocol(self) -> Protocol:
        """The versions of the code that its numbers come about with."""
        return Protocol.now(METHODS[self.method])

    @property
    def seed(self) -> int:
        """The seed of all randomness that its repetition does not vary."""
        return self.repetition.seed

    @property
    def key(self) -> str:
        """First 10 hex digits of the SHA-256 of the canonical JSON of `as_dict`."""
        protocol = self.protocol
        if protocol not in self._keys:
            self._keys[protocol] = short_hash(self.as_dict(), 10)
        return self._keys[protocol]

    @cached_property
    def _keys(self) -> dict[Protocol, str]:
        """Its key, made once for each protocol: those of a large grid are asked for again and again."""
        return {}

    @cached_property
    def identity(self) -> str:
        """What it shares with records of the same run under other protocols; see `identity_of`."""
        return identity_of(self.as_dict())

    @property
    def folder(self) -> str:
        """The record's folder inside `runs/`."""
        return f"{safe_name(self.dataset.name)}/{safe_name(self.label)}-{self.seed}-{self.key}"

    def plugins(self) -> dict[str, str]:
        """Digests of all plugin files that it depends on, by kind and name: empty where all is installed code."""
        digest = source_digest(METHODS[self.method])
        return {**self._plugins(), **({} if digest is None else {f"method {self.method}": digest})}

    def build_method(self) -> Method[Any]:
        """The method, configured."""
        return METHODS[self.method](self.config)

    def to_worker(self) -> dict[str, Any]:
        """What another process needs to rebuild the cell, as plain values."""
        return {
            "cell": self.as_dict(),
            "label": self.label,
            "tuning": self.tuning,
            "location": self.dataset.location,
            "foreign": None if self.foreign is None else self.foreign.location,
        }

    @classmethod
    def from_worker(cls, parcel: Mapping[str, Any]) -> Cell:
        """Rebuild a cell from `to_worker`; the plugins that it uses must be loaded."""
        values = parcel["cell"]
        scheme, split = resolve_partition(values["partition"])
        name, location = split.pool.from_, parcel["foreign"]
        return cls(
            dataset=DatasetChoice(values["dataset"], values["digest"], parcel["location"]),
            foreign=None if name is None else DatasetChoice(name, values.get("foreign_digest"), location),
            scheme=scheme,
            split=split,
            models=resolve_models(values["models"]),
            shared_training=configure(Training, values["training"], "training"),
            own_training=resolve_own_training(
                values["training"], values["method"].get("training", {}), f"{values['method']['name']}: training"
            ),
            faults=resolve_faults(values.get("faults", {})),
            method=values["method"]["name"],
            config=resolve_config(values["method"]["name"], values["method"]["settings"], "settings"),
            codec=values["method"]["codec"],
            repetition=Repetition.of(values),
            label=parcel["label"],
            tuning=parcel["tuning"],
        )

    def _plugins(self) -> dict[str, str]:
        """Digests of plugin files that the setting depends on, by kind and name."""
        parts: dict[str, Any] = {
            "partition": type(self.scheme),
            "dataset": DATASETS[self.dataset.location.partition(":")[0]].load,
        }
        if self.foreign is not None:
            parts["public dataset"] = DATASETS[self.foreign.location.partition(":")[0]].load
        for name in (*self.models.used, self.models.server_name):
            parts[f"model {name}"] = find_model(name)[0].build
        digests = {name: source_digest(part) for name, part in parts.items()}
        return {name: digest for name, digest in digests.items() if digest is not None}


def resolve_partition(values: Mapping[str, Any]) -> tuple[Partition, SplitSettings]:
    """The scheme and the shared settings of a `partition` mapping that names its scheme.

    Raises:
        ConfigError: an unknown scheme or setting, or an impossible value.
    """
    name = values["scheme"]
    if not isinstance(name, str):
        raise ConfigError(f"partition.scheme must be the name of a scheme, found {show_value(name)}")
    check_name(name, "partition.scheme")
    scheme = PARTITIONS[name]
    own = [setting.name for setting in fields(scheme)]
    values, pool = _public(values)
    known_keys(values, ["scheme", *SPLIT_KEYS, *own], "partition")
    split = {key: value for key, value in values.items() if key in SPLIT_KEYS}
    rest = {key: value for key, value in values.items() if key in own and key not in SPLIT_KEYS}
    settings = configure(SplitSettings, split, "partition")
    return configure(scheme, rest, "partition"), settings if pool is None else replace(settings, public=pool)


def resolve_faults(values: Mapping[str, Any]) -> Faults:
    """The faults of a `faults` mapping; `poison.clients: 0.2` in it is the setting `clients` of its `poison`.

    Raises:
        ConfigError: an unknown fault or setting, or an impossible value.
    """
    rest = {key: value for key, value in values.items() if key != "poison" and not key.startswith("poison.")}
    known_keys(rest, [setting.name for setting in fields(Faults)], "faults")
    poison = values.get("poison", {})
    if not isinstance(poison, dict):
        raise ConfigError(f"faults.poison must be a mapping such as {{clients: 0.2}}, found {show_value(poison)}")
    single = {key.removeprefix("poison."): value for key, value in values.items() if key.startswith("poison.")}
    spoilt = configure(Poison, {**poison, **single}, "faults.poison")
    return replace(configure(Faults, rest, "faults"), poison=spoilt).canonical()


def resolve_models(values: Any) -> ModelMix:
    """The model mix of a `models` entry, in any form that `models_section` takes.

    Raises:
        ConfigError: an unknown setting or net, or an impossible value.
    """
    mix = configure(ModelMix, models_section(values), "models")
    for name in {*mix.names, mix.server_name}:
        find_model(name)
    return mix


def models_section(values: Any) -> dict[str, Any]:
    """The long form of a `models` entry: `cnn`, `[cnn, lenet5]` or `{names: [cnn], server: cnn}`.

    Raises:
        ConfigError: it has none of these forms.
    """
    if isinstance(values, str):
        return {"names": [values]}
    if isinstance(values, list | tuple):
        return {"names": list(values)}
    if isinstance(values, dict):
        return dict(values)
    raise ConfigError(f"models must be a name, a list of names or a mapping, found {show_value(values)}")


def resolve_config(method: str, values: Any, key: str) -> Any:
    """The settings of a method, defaults filled in.

    Raises:
        ConfigError: an unknown method or setting, or an impossible value.
    """
    return configure(METHODS[method].config_type, values, key)


def resolve_own_training(shared: Mapping[str, Any], own: Any, key: str) -> tuple[tuple[str, Any], ...]:
    """The settings of local training that a method has of its own; one that is what all have is none of its own.

    Args:
        shared: the comparison's `training` mapping, checked.
        own: the method's.
        key: where the method's stands, for messages.
    Raises:
        ConfigError: an unknown setting, one that a comparison holds equal, or an impossible value.
    """
    if not isinstance(own, dict):
        raise ConfigError(f"{key} must be a mapping such as {{lr: 0.01}}, found {show_value(own)}")
    known = [setting.name for setting in fields(Training)]
    for name in own:
        if name in known and name not in LOCAL:
            raise ConfigError(
                f"{key}.{name} is the same for all methods of a comparison; a method may have "
                f"{', '.join(LOCAL)} of its own"
            )
    known_keys(own, list(LOCAL), key)
    usual = plain(configure(Training, dict(shared), "training"))
    with blame(key):
        values = plain(configure(Training, {**usual, **own}, "training"))
    return tuple((name, values[name]) for name in sorted(own) if values[name] != usual[name])


def trained(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The `training` of a resolved cell, as records keep it, with its method's own settings on top."""
    return {**cell["training"], **cell["method"].get("training", {})}


def method_settings(method: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a recorded method under the names that a command line gives them: `training.lr` among them."""
    return {**method["settings"], **{f"training.{name}": value for name, value in method.get("training", {}).items()}}


def identity_of(cell: Mapping[str, Any]) -> str:
    """Ten hex digits for all of a cell but its protocol: what was asked, whatever the code made of it."""
    return short_hash({name: value for name, value in cell.items() if name != "protocol"}, 10)


def short_hash(values: Any, digits: int) -> str:
    """First hex digits of the SHA-256 of the canonical JSON (sorted keys, no spaces) of plain values."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def safe_name(name: str) -> str:
    """A name that every file system takes; two names never become one."""
    safe = re.sub(r"[^0-9A-Za-z._+=-]+", "_", name).strip("._")[:80]
    return safe if safe and safe == name else f"{safe or 'x'}~{short_hash(name, 6)}"


def _public(values: Mapping[str, Any]) -> tuple[dict[str, Any], float | PublicSettings | None]:
    """The mapping without `public`, where that is one, and what it says; None where `public` is a number or absent.

    `public.foreign: 0.5` is the setting `foreign` of it, on top of what `public` says. A pool that is plain after all
    is its share, so that its cell is the one that the number makes.
    """
    rest = {key: value for key, value in values.items() if not str(key).startswith("public.")}
    single = {key.removeprefix("public."): value for key, value in values.items() if key not in rest}
    public = rest.get("public")
    if not single and not isinstance(public, dict):
        return rest, None
    if public is not None and not isinstance(public, dict):
        configure(SplitSettings, {"public": public}, "partition")  # a wrong type is named as ever
        public = {"share": public}
    pool = configure(PublicSettings, {**(public or {}), **single}, "partition.public").canonical()
    rest.pop("public", None)
    return rest, pool.share if pool == PublicSettings(share=pool.share) else pool
