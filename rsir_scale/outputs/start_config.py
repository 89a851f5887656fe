"""A first config for a prepared dataset: `rsir init`.

Comes in: a dataset, or none. Goes out: commented YAML, its budgets chosen by the size of the data, ready for
`rsir run`. The sizes are those that a study's first file takes, too.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from rsir_scale.data.dataset import DatasetMeta, PreparedDataset
from rsir_scale.errors import InputError
from rsir_scale.storage.outputs import told

LARGEST_FOR_FULL_SOFTMAX = 200_000  # items
_LONG = 30.0  # items: trials from such sequences are long, and few of them write enough
_NO_DATASET = "data/mine"

_TEXT = """\
# {about}: a strong base, and one round of self-improvement on top of it.
#   rsir plan {file}                                # what would run, and on what
#   rsir run {file} --run-dir runs/{name}
#   rsir report runs/{name} --html {name}.html
# Keys that are not here have their defaults: docs/configuration.md lists all of them.

data:
  path: {path}{import_hint}
  max_length: {max_length} # items of a sequence that the model reads, the latest ones

training:
  preset: strong # width 128, 30 passes at a falling rate, one synthetic sequence beside four real ones
  batch_size: {batch_size}
{loss}
generation:
  augmenter: rsir # the paper's; docs/augmenter.md has others
  trials_per_sequence: {trials} # attempts to write from each sequence
  shard_sources: {shard_sources} # sequences of one piece of work: what a stopped run loses at the most
  actors: 2 # processes that write; changes no result

loop:
  iterations: 1 # rounds of writing and training again
"""
_SAMPLED = """\
  loss: sampled_softmax # the full one takes too long with so many items
  negatives: 4096
  logq_correction: true # they stand for all items
  item_updates: sparse # an update costs what its batch and negatives cost, whatever the catalogue
"""


@dataclass(frozen=True)
class Sizes:
    """Budgets by the size of the data.

    Attributes:
        max_length: items of context.
        batch_size: some forty updates a pass, 32 to 512 sequences each.
        trials: attempts to write from each sequence.
        shard_sources: sequences of a shard: some eight shards, 64 to 4,096 each.
        full_softmax: whether the loss over the whole catalogue is affordable.
    """

    max_length: int
    batch_size: int
    trials: int
    shard_sources: int
    full_softmax: bool


def sizes_for(meta: DatasetMeta) -> Sizes:
    """Choose budgets."""
    return Sizes(
        max_length=max(2, min(50, meta.max_length)),
        batch_size=_batch_size(meta.users),
        trials=2 if meta.mean_length > _LONG else 5,
        shard_sources=max(64, min(4096, meta.users // 8)),
        full_softmax=meta.items <= LARGEST_FOR_FULL_SOFTMAX,
    )


def write_start_config(dataset: PreparedDataset | None, out: str | Path) -> None:
    """Write a config to the new file `out`. Raises InputError: it is there already, or cannot be written."""
    path = Path(out)
    if path.exists():
        raise InputError(f"--out {path} is there already: name a new file")
    with told(f"--out {path}", "name another file"), path.open("x", encoding="utf-8") as file:
        file.write(start_config(dataset, path))


def start_config(dataset: PreparedDataset | None, path: Path) -> str:
    """The text of a config for a dataset; None: for one of some 20,000 users, to be named in it."""
    sizes = Sizes(50, 256, 5, 2048, full_softmax=True) if dataset is None else sizes_for(dataset.meta)
    where = _NO_DATASET if dataset is None else dataset.path
    about = "Some 20,000 users" if dataset is None else f"{dataset.meta.users:,} users and {dataset.meta.items:,} items"
    return _TEXT.format(
        about=about,
        file=shlex.quote(str(path)),
        name=shlex.quote(path.stem),
        # A JSON text is a YAML text, whatever characters a path has.
        path=json.dumps(where, ensure_ascii=False),
        import_hint="" if dataset is not None else " # rsir data import … --out data/mine",
        max_length=sizes.max_length,
        batch_size=sizes.batch_size,
        loss="" if sizes.full_softmax else _SAMPLED,
        trials=sizes.trials,
        shard_sources=sizes.shard_sources,
    )


def _batch_size(users: int) -> int:
    size = 32
    while size < 512 and size * 80 <= users:
        size *= 2
    return size
