"""Asking before something happens (benchmarks room): at a terminal; elsewhere an option has to say that it may."""

from __future__ import annotations

import sys

import typer

from fl_bench.errors import ConfigError

from ..tables.terminal import say
from .options import FAILED


def ask(question: str, otherwise: str, *, nobody: str, yes: bool) -> None:
    """Go on where the user agrees; else the command ends here.

    Args:
        question: what may happen.
        otherwise: what is said where it may not.
        nobody: what is said where nobody can be asked.
        yes: whether it may without asking.
    Raises:
        ConfigError: nobody can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(nobody)
    if not typer.confirm(question, err=True):
        say(otherwise)
        raise typer.Exit(FAILED)
