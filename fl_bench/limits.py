"""How large what fl-bench reads may be: sizes, depths and counts in one place (shared by every room).

Whoever wrote a grid, a data set or a record may have been careless or unkind. What goes beyond a limit is refused with
an error that names the limit, before it takes time or memory. No limit is near what a comparison needs: a larger one is
no cure for a slow machine, a smaller one no setting.
"""

from __future__ import annotations

import os

from .errors import DataError

YAML_BYTES = 256 * 2**10
"""Bytes of a YAML text: a grid, predictions, published values, or one value of `-o`. Our own grids take 4 kB."""
YAML_DEPTH = 32
"""Lists and mappings inside one another in YAML."""
YAML_VALUES = 20_000
"""Values, keys, lists and mappings of a YAML text, each counted as often as aliases repeat it."""

WHOLE_NUMBER = 10**9
"""The largest size of a whole number in settings, so of rounds, clients and seeds."""
BATCH_SIZE = 2**20
"""Samples of a training step."""
FEATURES = 2**20
"""Numbers between body and head of a net."""
NET_WEIGHTS = 2 * 10**9
"""Weights of a net whose name says how large it is: 8 GB in float32."""
NET_LAYERS = 1000
"""Layers of such a net."""
CELLS = 20_000
"""Runs of a grid."""
JOBS = 1024
"""Runs at a time on one machine."""
NAME_LENGTH = 255
"""Characters of a name: of a grid, of its settings, of a method in tables."""
PATH_LENGTH = 4096
"""Characters of a data set's name, which may be a path."""

RECORD_BYTES = 2**24
"""Bytes of a record's run.json, 16 MB; ours take 3 kB."""
TABLE_BYTES = 2**30
"""Bytes of a table of a record: clients.csv of 1000 clients over 1000 rounds takes a fifth."""
BUNDLE_BYTES = 2**31
"""Bytes of all that a bundle unpacks to, which is read into memory; ten thousand records take 0.4 GB."""
BUNDLE_MEMORY = 2**29
"""Bytes that unpacking may need beside that: an xz file may ask for 4 GB, ours for 65 MB."""
LEDGER_BYTES = 2**24
"""Bytes of the ledger of a tuning, 16 MB; one of 20 methods, 12 trials and 14 data sets takes 0.3 MB."""
DECLARATION_BYTES = 2**20
"""Bytes of what grids declared of comparisons (`comparison.json`), 1 MB; a declaration of 20 methods takes 1 kB."""
PLAN_BYTES = 2**22
"""Bytes of the answers that plans keep (`plans.json`), 4 MB; those of a grid on ten data sets take 0.1 MB."""
MODELS_HEADER = 2**24
"""Bytes of what a file of models says of itself, 16 MB; ours take 5 kB for each architecture."""
MODEL_BYTES = 8 * NET_WEIGHTS
"""Bytes of one model that is read of such a file; the file itself may have any number of them."""
RECORD_DEPTH = 32
"""Lists and mappings inside one another in a run.json."""
RECORD_NUMBER = 10.0**100
"""The largest size of a number in a record, below which sums of numbers stay finite."""

PICTURE_PIXELS = 2**26
"""Pixels of a picture file, 8192 x 8192; decoding takes up to four bytes for each."""
ARRAY_HEADER = 2**16
"""Bytes of what an array of an npz file says of itself: its type and shape."""
JSON_MEMORY = 8
"""Bytes of memory for each byte of a JSON file of numbers: `0.5,` becomes a float and a place in a list, 32 bytes."""
R_BYTES = 2**27
"""Bytes that a table in R's format may unpack to; ours take 5 MB."""
PARTS = 100_000
"""Folders and files that a data set may be cut into."""
VOCABULARY = 2**20
"""Different tokens of a text; a net has a vector for each, and float32 holds larger whole numbers exactly."""
LARGEST_FEATURE = 1e100
"""The largest size of a feature in a table; squares of larger ones are no numbers any more."""
MEMORY = 64 * 2**30
"""Bytes of memory where the system does not say how many there are (Windows)."""


def memory_bytes() -> int | None:
    """Physical memory; None where the system does not say (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def refuse_larger(what: str, size: int, remedy: str = "") -> None:
    """Refuse data that would not fit into memory, before they are read or made.

    Args:
        what: the data, for the message.
        size: bytes that they would take.
        remedy: what would do.
    Raises:
        DataError: they take more than half of what there is.
    """
    most = (memory_bytes() or MEMORY) // 2  # data are copied at least once while they are prepared
    if size > most:
        wanted = min(size, 10**300) / 2**30  # what a float holds
        found = f"{what} would take {wanted:.3g} GiB of memory; {most / 2**30:.3g} GiB, half of it, may be data"
        raise DataError(f"{found}; {remedy}" if remedy else found)
