"""What a study found, as `rsir study report --json` prints it.

Comes in: a study, finished or not. Goes out: one JSON-ready mapping: of each arm and control its differences from the
base, and of each arm those from the controls; groups of users; iterations; what was spent; and a verdict in words. The
iteration that stands for an arm is chosen on validation, and test decides nothing but the verdict. Only finished cells
count, and what is missing is said.
"""

from collections.abc import Mapping
from typing import Any

from rsir_scale.analysis.segments import Mask_U, segments_of
from rsir_scale.data.dataset import open_dataset
from rsir_scale.errors import InputError
from rsir_scale.studies.cells import Cell
from rsir_scale.studies.contrasts import (
    Model,
    by_segment,
    chosen,
    contrast,
    curve,
    metric_names,
    with_holm,
)
from rsir_scale.studies.file import BASE
from rsir_scale.studies.folder import Study
from rsir_scale.studies.ledger import ledger_of
from rsir_scale.studies.lists import CellLists, compared, read_lists
from rsir_scale.studies.looks import models_digest, record_look, warning_of
from rsir_scale.studies.ranks import Series, common_seeds
from rsir_scale.studies.verdict import sentence_for, word_for

_NAMES = ("longer", "copies", "random")


def report_of(study: Study) -> dict[str, Any]:
    """Describe what a study found, and keep that its test set was looked at.

    Raises:
        InputError: no base and arm are finished yet, or a dataset is gone.
        IntegrityError: a run is damaged.
    """
    cells = study.cells()
    done = [cell for cell in cells if study.is_done(cell)]
    arms: list[dict[str, Any]] = []
    for dataset in study.file.datasets:
        arms += _Dataset(study, dataset, [cell for cell in done if cell.dataset == dataset]).entries()
    if not arms:
        raise InputError(f"{study.store.root}: no base and no arm are finished yet: let `rsir study run` go on")
    arms = [_judged(arm, study.file.metric) for arm in _corrected(arms)]
    digest = models_digest(study.run_store(cell) for cell in done)
    earlier = record_look(study.store, done=len(done), cells=len(cells), models_sha256=digest)
    return {
        "study": study.store.root,
        "metric": study.file.metric,
        "seeds": list(study.seeds()),
        "cells": {"done": len(done), "all": len(cells)},
        "verdict": " ".join(arm["sentence"] for arm in arms if arm["control"] is None),
        "choice": _choice(arms, study.file.metric),
        "warnings": [*_missing(cells, done), *_alike(arms, study.file.metric), *warning_of(earlier)],
        "without_controls": study.file.without_controls,
        "arms": arms,
    }


class _Dataset:
    """The finished cells of one dataset."""

    def __init__(self, study: Study, name: str, done: list[Cell]) -> None:
        self._study, self._name = study, name
        stores: dict[str, dict[int, Any]] = {}
        self._lists: dict[tuple[str, int], CellLists] = {}
        for cell in done:
            stores.setdefault(cell.name, {})[cell.seed] = study.run_store(cell)
            if (lists := read_lists(study.store, cell)) is not None:
                self._lists[cell.name, cell.seed] = lists
        self._series = {name: Series(of_seed) for name, of_seed in stores.items()}
        self._kinds = {cell.name: cell for cell in done if not cell.is_base}

    def entries(self) -> list[dict[str, Any]]:
        """One for each arm and control that shares a finished seed with the base."""
        base = self._series.get(BASE)
        if base is None:
            return []
        paired = [cell for cell in self._kinds.values() if common_seeds(self._series[cell.name], base)]
        models = {cell.name: chosen(self._series[cell.name], self._study.file.metric) for cell in paired}
        return [self._entry(cell, models, Model(base, 0)) for cell in paired]

    def _entry(self, cell: Cell, models: Mapping[str, Model], base: Model) -> dict[str, Any]:
        names, metric, ours = metric_names(self._study.file), self._study.file.metric, models[cell.name]
        seeds = common_seeds(ours.series, base.series)
        against = {
            kind: table
            for kind, name in self._controls_of(cell).items()
            if name in models and (table := contrast(ours, models[name], against=name, names=names))
        }
        groups = self._groups(base.series.test_ids(seeds[0]))
        return {
            "name": cell.name,
            "dataset": self._name,
            "control": cell.control,
            "of": cell.of,
            "seeds": list(seeds),
            "iteration": ours.iteration,
            "metrics": contrast(ours, base, against=BASE, names=names),
            "against": against,
            "segments": by_segment(ours, base, groups, metric),
            "curve": curve(ours.series, base, metric=metric, names=names),
            "lists": self._lists_beside_the_base(cell, ours.iteration, seeds),
            "ledger": self._ledger(ours.series, base.series, seeds),
        }

    def _controls_of(self, cell: Cell) -> dict[str, str]:
        """The name of each control that an arm is set against."""
        if cell.control is not None:
            return {}
        return {
            str(other.control): other.name
            for other in self._kinds.values()
            if other.control in _NAMES and other.of in (None, cell.name)
        }

    def _groups(self, ids: Any) -> dict[str, Mask_U]:
        return segments_of(open_dataset(self._study.file.datasets[self._name]), ids)

    def _lists_beside_the_base(self, cell: Cell, iteration: int, seeds: tuple[int, ...]) -> dict[str, Any]:
        both = [seed for seed in seeds if {(cell.name, seed), (BASE, seed)} <= self._lists.keys()]
        return compared(
            [self._lists[cell.name, seed].iterations[iteration] for seed in both],
            [self._lists[BASE, seed].iterations[0] for seed in both],
        )

    def _ledger(self, ours: Series, base: Series, seeds: tuple[int, ...]) -> dict[str, Any]:
        spent, of_base = (ledger_of([series.stores[seed] for seed in seeds]) for series in (ours, base))
        return spent | {"price": {name: _ratio(spent[name], of_base[name]) for name in ("updates", "seconds")}}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _corrected(arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Correct over the arms of all datasets: they are what was tried. Of controls nothing is claimed."""
    compared = [arm for arm in arms if arm["control"] is None]
    metrics = iter(with_holm([arm["metrics"] for arm in compared]))
    against = {kind: iter(with_holm([arm["against"].get(kind, {}) for arm in compared])) for kind in _NAMES}
    return [
        arm
        if arm["control"] is not None
        else arm | {"metrics": next(metrics), "against": {kind: t for kind in _NAMES if (t := next(against[kind]))}}
        for arm in arms
    ]


def _judged(arm: dict[str, Any], metric: str) -> dict[str, Any]:
    """Say what came of an arm; of a control there is nothing to say."""
    if arm["control"] is not None:
        return arm
    name = f"test/{metric}"
    judged = arm | {"verdict": word_for(arm["metrics"][name], arm["against"].get("longer", {}).get(name))}
    return judged | {"sentence": sentence_for(judged, metric)}


def _choice(arms: list[dict[str, Any]], metric: str) -> dict[str, str]:
    """What to take by validation alone: of each dataset the base, the arm or the control with the best mean."""
    best: dict[str, tuple[float, str]] = {}
    for arm in arms:
        entry = arm["metrics"][f"validation/{metric}"]
        for value, name in ((entry["base"], BASE), (entry["value"], arm["name"])):
            if arm["dataset"] not in best or value > best[arm["dataset"]][0]:
                best[arm["dataset"]] = value, name
    return {dataset: name for dataset, (_, name) in best.items()}


def _missing(cells: tuple[Cell, ...], done: list[Cell]) -> list[str]:
    count = len(cells) - len(done)
    return [f"{count} of {len(cells)} cells are not finished, and count for nothing here"] if count else []


def _alike(arms: list[dict[str, Any]], metric: str) -> list[str]:
    """Where the A/A control shows a difference without a cause, others of its size show nothing."""
    return [
        f"{arm['name']} on {arm['dataset']}: two bases that differ in their seed alone differ by "
        f"{entry['mean']:+.4f} [{entry['low']:+.4f}, {entry['high']:+.4f}] {metric}: take no difference of that size "
        "for a gain"
        for arm in arms
        if arm["control"] == "aa"
        for entry in [arm["metrics"][f"test/{metric}"]]
        if not entry["low"] <= 0.0 <= entry["high"]
    ]
