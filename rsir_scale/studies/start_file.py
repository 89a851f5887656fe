"""A first study file for a prepared dataset: `rsir study init`.

Comes in: a dataset. Goes out: commented YAML, its budgets chosen by the size of the data, ready for `rsir study run`.
The time in it is an estimate from operations, good to a factor of three; `rsir study status` has a better one as soon
as cells are done.
"""

import json
from pathlib import Path

from rsir_scale.data.dataset import DatasetMeta, PreparedDataset
from rsir_scale.errors import InputError
from rsir_scale.outputs.start_config import sizes_for
from rsir_scale.storage.outputs import told
from rsir_scale.studies.file import NAME

_SEEDS = 3
_PASSES = 30
_WIDTH = 128
# Of one core in training: between those of Toys (29 s a pass) and of MovieLens-100K (3 s).
_OPERATIONS_PER_S = 5e10
_FITS_OF_A_SEED = 12  # base, A/A, three arms of one fit each beside it, two longer of two, and what writing takes

_TEXT = """\
# A study of {users} users and {items} items: does generated data help, more than longer training, and at which price?
#   rsir study run {file} --out studies/{name}
#   rsir study report studies/{name} --html {name}.html
# About {hours} on one core for all {seeds} seeds; half of that with two at once. docs/studies.md explains every key.

base: # a config; an arm is this with its overrides
  data:
    max_length: {max_length}
  training:
    preset: strong # a base that is hard to improve on: only then a gain means something
    batch_size: {batch_size}
    max_epochs: {passes} # passes over the real sequences, the same for every model
    patience: {passes}
{loss}  generation:
    trials_per_sequence: {trials}
    shard_sources: {shard_sources}
  loop:
    iterations: 1

datasets:
  {name}: {path}

seeds: [{seed_list}] # more seeds narrow the interval: `rsir study run … --seeds 3 4` adds some later

arms:
  rsir: # the paper's augmenter, which the base config has by default
  reordered: # a rival that costs nothing to fit
    generation.augmenter: reordering
    generation.trials_per_sequence: 1
  copies: # the same sequences once more: more rows, nothing new
    control: copies
  aa: # the base under another seed: how far chance goes
    control: aa
  longer: # the base with all the updates that an arm spent
    control: longer

metric: NDCG@{cutoff} # chooses iterations on validation, and has the verdict on test
cutoffs: [{cutoffs}]

cell:
  cpus: 1 # of each run; as many runs at once as fit
"""

_SAMPLED = "    loss: sampled_softmax # the full one takes too long with so many items\n"


def write_start_file(dataset: PreparedDataset, out: str | Path) -> None:
    """Write a study file to the new file `out`.

    Raises:
        InputError: the file is there already, or the dataset has too few items for a cutoff.
    """
    path = Path(out)
    text = start_file(dataset, path)
    if path.exists():
        raise InputError(f"--out {path} is there already: name a new file")
    with told(f"--out {path}", "name another file"), path.open("x", encoding="utf-8") as file:
        file.write(text)


def start_file(dataset: PreparedDataset, path: Path) -> str:
    """The text of a study file. Raises InputError: the dataset has too few items for a cutoff."""
    meta = dataset.meta
    cutoffs = [cutoff for cutoff in (10, 20) if cutoff < meta.items]
    if not cutoffs:
        raise InputError(
            f"dataset {dataset.path} has {meta.items} items, too few for a list of 10: import a longer log"
        )
    name = Path(dataset.path).name
    sizes = sizes_for(meta)
    return _TEXT.format(
        file=path,
        name=name if NAME.fullmatch(name) else "mine",
        # A JSON text is a YAML text, whatever characters a path has.
        path=json.dumps(dataset.path),
        users=f"{meta.users:,}",
        items=f"{meta.items:,}",
        hours=_told(_seconds(meta, full=sizes.full_softmax)),
        seeds=_SEEDS,
        seed_list=", ".join(str(seed) for seed in range(_SEEDS)),
        max_length=sizes.max_length,
        batch_size=sizes.batch_size,
        passes=_PASSES,
        trials=sizes.trials,
        shard_sources=sizes.shard_sources,
        loss="" if sizes.full_softmax else _SAMPLED,
        cutoff=cutoffs[0],
        cutoffs=", ".join(map(str, cutoffs)),
    )


def _seconds(meta: DatasetMeta, *, full: bool) -> float:
    """Of all seeds on one core: three products for each position with the blocks and the items that are scored."""
    scored = meta.items if full else 4096
    blocks = 2 * 8 * _WIDTH**2
    return _SEEDS * _FITS_OF_A_SEED * _PASSES * 6.0 * meta.interactions * (blocks + scored * _WIDTH) / _OPERATIONS_PER_S


def _told(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} minutes"
    return f"{round(seconds / 3600)} hours"
