"""The command line `fl-bench` (benchmarks room): assembles the commands and runs one.

Importing this module imports neither torch nor anything else that takes long: commands import what they need.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import fl_bench
from fl_bench.errors import FLBenchError

from ..tables.terminal import say
from .choices import describe, list_
from .compare import compare
from .contraction import contraction
from .doctor import doctor
from .export import export
from .finer import clients, costs
from .fsck import fsck
from .merge import merge
from .options import FAILED, STOPPED, WRONG
from .overlap import overlap
from .packing import pack, unpack
from .partition import partition
from .power import power
from .publish import figures, leaderboard, report
from .remove import rm
from .reproduce import reproduce
from .run import run
from .scaffold import new_method
from .show import show
from .tune import tune
from .upload import upload

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    help="fl-bench compares federated-learning methods: same data, same clients, same initial weights, many seeds.\n\n"
    "\b\nfl-bench run                       the quick comparison, in about a minute\n"
    "fl-bench run --methods all         every method on the same clients\n"
    "fl-bench tune --help               tuning with equal budgets, on validation data\n"
    "fl-bench list methods              the available methods\n"
    "fl-bench new method my-method      start a method of your own",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
OUTPUT = (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EFBIG)
"""System errors without a file's name that tell of standard output: files of ours raise a `StorageError`."""

new_app = typer.Typer(help="Write a file to start a plugin from.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(new_app, name="new")


def main() -> NoReturn:
    """Run the command line and end the process."""
    code = run_command(sys.argv[1:])
    if code == STOPPED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all that is left is to end
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; every mistake of the user's is one message on standard error.

    Args:
        arguments: what follows `fl-bench`.
    Returns:
        The exit code.
    """
    try:
        code = app(list(arguments), prog_name="fl-bench", standalone_mode=False)
        sys.stdout.flush()
    except FLBenchError as error:
        say(f"error: {error}")
        return WRONG
    except (KeyboardInterrupt, typer.Abort):
        return STOPPED
    except OSError as error:
        if error.filename is not None:
            say(f"error: {error.filename}: {error.strerror}")  # what the user named: too long, not ours to look at
            return WRONG
        if error.errno not in OUTPUT:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to be written is dropped quietly
        if not isinstance(error, BrokenPipeError):  # who reads no further, as `head`, has no question
            say(f"error: cannot write to standard output: {error.strerror}")
        return FAILED
    except Exception as error:
        # typer brings click's exceptions under a name that depends on its version; all of them have this method.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        text = message()
        if text.startswith("No such option: -o"):
            text += " here: it changes a setting of what runs; --out names an output"
        say(text if text.startswith("Usage") else f"error: {text}")
        return WRONG
    return code if isinstance(code, int) else 0


def _version(asked: bool) -> None:
    if asked:
        print(f"fl-bench {fl_bench.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `fl-bench` itself."""


app.command()(run)
app.command()(tune)
app.command(name="list")(list_)
app.command()(describe)
app.command()(show)
app.command()(rm)
app.command()(leaderboard)
app.command()(compare)
app.command()(power)
app.command()(costs)
app.command()(clients)
app.command()(reproduce)
app.command()(contraction)
app.command()(figures)
app.command()(report)
app.command()(pack)
app.command()(unpack)
app.command()(merge)
app.command()(export)
app.command()(upload)
app.command()(fsck)
app.command()(doctor)
app.command()(overlap)
app.command()(partition)
new_app.command("method")(new_method)
