"""A few synthetic sequences beside their sources, with the evidence for each step.

Comes in: a finished run, and what items are called. Goes out: a section. The rows are spread evenly over the last
generation by id, so nobody picked them. RSIR's rows tell which item of the source vouched for a step and how many items
scored higher; rows of other augmenters show their items alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rsir_scale.data.dataset import Sequences
from rsir_scale.data.schema import ITEMS, SEQUENCE_ID
from rsir_scale.data.sequences import numbers_of
from rsir_scale.report.blocks import Example, Item, Section
from rsir_scale.report.finished import Finished
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, START_LENGTH
from rsir_scale.runs.lineage import committed_files, kept_ids, load, read_columns, read_omitted, training_files
from rsir_scale.runs.run import Run

_SHOWN = 10
_ROW = [SEQUENCE_ID, ITEMS, SOURCE_SEQUENCE_ID, START_LENGTH]
# RSIR's evidence (augmenters/rsir/rows.py), which loads torch.
_EVIDENCE = ["vouching_items", "better_items", "explored"]
_MARKS = "Framed: taken over from the source. Blue: another item of the source. Orange: an item that is not in it."


def examples(finished: Finished, titles: Mapping[str, str]) -> Section:
    """Show rows of the last generation.

    Args:
        finished: the run.
        titles: of items, by id; others are shown by their ids.
    """
    if not finished.written:
        return Section("Examples", "Nothing was written.", ())
    run, iteration = finished.run, finished.written[-1].iteration
    ids = run.dataset.item_ids()
    names = {index + 1: titles.get(str(item), str(item)) for index, item in enumerate(ids)}
    rows = list(_spread(run, iteration))
    sources = _sources(run, iteration, [row[SOURCE_SEQUENCE_ID] for row in rows])
    shown = tuple(_example(row, sources[row[SOURCE_SEQUENCE_ID]], names, finished) for row in rows)
    rows_kept = sum(manifest.generation.rows for manifest in finished.written[-1:] if manifest.generation)
    words = f"{len(shown)} of {rows_kept:,} sequences of iteration {iteration}, spread evenly. {_MARKS}"
    return Section("Examples", words, shown)


def _spread(run: Run, iteration: int) -> Iterator[dict[str, Any]]:
    """Rows that were kept, evenly by their place, with what is known of each."""
    files = committed_files(run.store, iteration)
    omitted = read_omitted(run.store, files)
    kept = [kept_ids(_ids(run, file.key), file, omitted) for file in files]
    place = np.cumsum([0, *(int(each.sum()) for each in kept)])
    wanted = np.unique(np.linspace(0, place[-1] - 1, _SHOWN).astype(np.int64)) if place[-1] else ()
    for number in wanted:
        part = int(np.searchsorted(place, number, side="right")) - 1
        row = int(np.flatnonzero(kept[part])[number - place[part]])
        yield _row(run, files[part].key, row)


def _ids(run: Run, key: str) -> Any:
    return numbers_of(read_columns(run.store, key, [SEQUENCE_ID]).column(0))


def _row(run: Run, key: str, row: int) -> dict[str, Any]:
    has_evidence = run.config.generation.augmenter == "rsir"
    columns = [*_ROW, *(_EVIDENCE if has_evidence else [])]
    found: dict[str, Any] = read_columns(run.store, key, columns, rows=(row, 1)).to_pylist()[0]
    return found


def _sources(run: Run, iteration: int, wanted: Sequence[int]) -> dict[int, list[int]]:
    """The items of some sequences of D_k, by id."""
    everything: Sequences = load(run, training_files(run, iteration))
    rows = np.flatnonzero(np.isin(everything.ids, list(wanted)))
    return {int(everything.ids[row]): everything.row(row).tolist() for row in rows}


def _example(row: Mapping[str, Any], source: list[int], names: Mapping[int, str], finished: Finished) -> Example:
    users = finished.run.dataset.meta.users
    whose = row[SOURCE_SEQUENCE_ID]
    name = f"user {whose}" if whose < users else f"synthetic sequence {whose}"
    return Example(
        title=f"Sequence {row[SEQUENCE_ID]}, written from {name}",
        source=tuple(Item(names[item], "source") for item in source),
        written=tuple(_written(row, source, names)),
    )


def _written(row: Mapping[str, Any], source: list[int], names: Mapping[int, str]) -> Iterator[Item]:
    own, start = frozenset(source), row[START_LENGTH] or 0
    for place, item in enumerate(row[ITEMS]):
        if place < start:
            yield Item(names[item], "start")
        else:
            yield Item(names[item], "own" if item in own else "new", _reason(row, place - start, names))


def _reason(row: Mapping[str, Any], step: int, names: Mapping[int, str]) -> str:
    """Why a step was accepted, where the augmenter says so."""
    if _EVIDENCE[0] not in row or step >= len(row[_EVIDENCE[0]]):
        return ""
    vouching, better, explored = (row[name][step] for name in _EVIDENCE)
    how = "chosen among the whole catalogue" if explored else "chosen among the source's items"
    if better < 0:
        return f"{how}; nothing was checked"
    return f"{how}; {names.get(vouching, vouching)} vouched for it, {better} items scored higher"
