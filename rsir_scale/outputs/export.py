"""The augmented training data D_k, for whatever is trained elsewhere: under the log's own ids and times.

Comes in: a run and its dataset. Goes out: one Parquet, CSV or sequence-text file, or a folder of RecBole files. Every
synthetic sequence has a user id of its own, `<user>~<sequence_id>`, and names the user it descends from. Held-out items
are in no training file; RecBole's `valid` and `test` files have them, of real users only. One file of D_k is in memory
at a time. The output appears whole or not at all, and what exists is never overwritten.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from rsir_scale.errors import InputError
from rsir_scale.outputs.augmented import AugmentedData
from rsir_scale.outputs.export_formats import write_csv, write_parquet, write_recbole, write_sequences
from rsir_scale.outputs.staging import appearing
from rsir_scale.runs.begun import check_dataset
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.run import Run
from rsir_scale.steps import Tell, silent
from rsir_scale.storage.base import Store

ExportFormat = Literal["parquet", "csv", "sequences", "recbole"]
_WRITERS: dict[str, Callable[[AugmentedData, Path], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "sequences": write_sequences,
}


def export(
    run: Run,
    *,
    format: ExportFormat,  # noqa: A002
    out: str | Path,
    iteration: int | None = None,
    synthetic_share: float | None = None,
    tell: Tell = silent,
) -> Path:
    """Write D_k to a new file (or, for RecBole, folder).

    Args:
        run: on the dataset that it was made from.
        format: parquet and csv have a row an interaction: user_id, item_id, timestamp (position in the sequence where
            the log has no times), source_user_id (null for real users) and iteration (that wrote it; null);
            sequences has a line `user item item …` a sequence; recbole see `export_formats.write_recbole`.
        out: must not exist.
        iteration: k, the data that theta_k trains on; None for all that is written so far.
        synthetic_share: about as many synthetic sequences for each real one, chosen by their ids, or all of them where
            there are fewer; None for all.
        tell: is told how many files of D_k are read.

    Returns:
        The path written.

    Raises:
        InputError: `out` exists, the format is unknown or cannot hold the ids, iteration k does not exist, the share is
            no positive number, or the dataset is not the run's.
        IntegrityError: a file of the run is damaged.
        StorageFullError: the disk is full; nothing is left behind.
    """
    if format not in get_args(ExportFormat):
        raise InputError(f"format {format!r} is unknown: choose one of {', '.join(get_args(ExportFormat))}")
    if synthetic_share is not None and not 0 < synthetic_share < math.inf:
        raise InputError(
            f"synthetic_share={synthetic_share} is no positive number: say how many synthetic sequences there shall be "
            "for each real one, such as 0.25, or leave it out for all"
        )
    check_dataset(run)
    data = AugmentedData(run, _iteration(run.store, iteration), synthetic_share=synthetic_share, tell=tell)
    with appearing(out) as staging:
        if format == "recbole":
            write_recbole(data, staging, name=Path(out).absolute().name)
        else:
            _WRITERS[format](data, staging)
    return Path(out)


def _iteration(store: Store, asked: int | None) -> int:
    """Resolve k: D_k needs what the iterations before k wrote."""
    manifests = read_chain(store)
    written = next((m.iteration for m in manifests if m.generation is None), len(manifests))
    if not manifests:
        raise InputError(
            f"{store.root} has finished no iteration yet: let it run (the command that began it goes on), then export"
        )
    if asked is None:
        return written
    if not 0 <= asked <= written:
        raise InputError(f"iteration {asked}: {store.root} has training data of iterations 0..{written}: choose one")
    return asked
