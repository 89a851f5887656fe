"""Runs side by side: `rsir compare RUN RUN … --html FILE`.

Comes in: the stores of two runs or more. Goes out: a `blocks.Page`: the verdict of each, what each has by validation
and on test, differences from the first where all are of one dataset, settings that differ, what was written, and time.
Of each run the iteration with the best validation stands for it. Differences are paired by user and have the interval
of users alone: a study knows more.

Shapes: U users.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rsir_scale.analysis.significance import difference
from rsir_scale.analysis.verdict import TEST, VALIDATION, Verdict, leading_metrics, told, values_of
from rsir_scale.config.settings import Config
from rsir_scale.errors import InputError
from rsir_scale.report.blocks import Cell, Claim, Page, Section, Table, turned
from rsir_scale.report.figures import Axes, Series, bars, lines
from rsir_scale.report.finished import judged
from rsir_scale.report.origin import phase_seconds, setting
from rsir_scale.report.writing import generation_facts
from rsir_scale.runs.begun import read_config
from rsir_scale.runs.manifest import Manifest
from rsir_scale.storage.base import Store

_TERMS = (
    "iteration",
    "validation, test",
    "NDCG@n",
    "Recall@n",
    "interval [low, high]",
    "acceptance",
    "duplicates dropped",
)


@dataclass(frozen=True)
class _Side:
    """One of the runs."""

    name: str
    store: Store
    config: Config
    manifests: list[Manifest]
    verdict: Verdict

    @property
    def best(self) -> Manifest:
        return self.manifests[self.verdict.best_iteration]

    @property
    def dataset(self) -> str:
        return self.manifests[0].model.dataset_fingerprint


def comparison_page(stores: Sequence[Store]) -> Page:
    """Set runs side by side.

    Raises:
        InputError: fewer than two runs, one twice, or one that has finished nothing.
        IntegrityError: a file is damaged.
    """
    roots = [store.root for store in stores]
    if len(roots) < 2 or len(set(roots)) < len(roots):
        raise InputError(f"{', '.join(roots) or 'nothing'}: a comparison needs two runs or more, each named once")
    sides = [_side(store, name) for store, name in zip(stores, _names(roots), strict=True)]
    return Page(
        title=f"{len(sides)} runs side by side",
        subtitle=", ".join(f"{side.name}: {side.store.root}" for side in sides),
        claims=tuple(_claims(sides)),
        sections=(_accuracy(sides), _written(sides), _time(sides), _settings(sides)),
        terms=_TERMS,
    )


def _side(store: Store, name: str) -> _Side:
    config = read_config(store)
    manifests, verdict = judged(store, config.evaluation)
    return _Side(name, store, config, manifests, verdict)


def _names(roots: Sequence[str]) -> list[str]:
    """The last part of each address, or all of it where two share that."""
    short = [Path(root).name for root in roots]
    return [name if short.count(name) == 1 else root for name, root in zip(short, roots, strict=True)]


def _claims(sides: Sequence[_Side]) -> list[Claim]:
    best = max(sides, key=lambda side: _validation(side, sides[0]))
    found = [Claim(f"{side.name}: {side.verdict.sentences[0]}", "open") for side in sides]
    found.append(
        Claim(f"By validation {_metric(sides[0])} {best.name} is best, with iteration {best.best.iteration}.", "open")
    )
    if _on_one_dataset(sides):
        return found
    return [*found, Claim("The runs are of different datasets: no difference between them means anything.", "warning")]


def _validation(side: _Side, first: _Side) -> float:
    return side.best.metrics.get(f"{VALIDATION}/{_metric(first)}", float("-inf"))


def _metric(first: _Side) -> str:
    return leading_metrics(first.config.evaluation)[0]


def _on_one_dataset(sides: Sequence[_Side]) -> bool:
    return len({side.dataset for side in sides}) == 1


def _accuracy(sides: Sequence[_Side]) -> Section:
    names = leading_metrics(sides[0].config.evaluation)
    rows = []
    for name in names:
        for side in sides:
            row: list[Cell] = [name, side.name, side.best.iteration]
            for split in (TEST, VALIDATION):
                row += [side.best.metrics.get(f"{split}/{name}"), _against(sides, side, split, name)]
            rows.append(tuple(row))
    series = [
        Series(
            side.name,
            [manifest.iteration for manifest in side.manifests],
            [manifest.metrics.get(f"{TEST}/{names[0]}") for manifest in side.manifests],
        )
        for side in sides
    ]
    drawn = lines("accuracy", f"{names[0]} on test by iteration", series, Axes("iteration", names[0], whole_x=True))
    against = f"against {sides[0].name}"
    columns = ("metric", "run", "iteration", TEST, against, VALIDATION, against)
    words = "Each run by its best iteration on validation. Differences are paired by user, intervals (95 %) over users."
    return Section("Accuracy", words, (drawn, Table("", columns, tuple(rows))))


def _against(sides: Sequence[_Side], side: _Side, split: str, name: str) -> str | None:
    first = sides[0]
    if side is first or not _on_one_dataset(sides):
        return None
    base_U, ours_U = (values_of(each.store, each.best.iteration, split, name) for each in (first, side))
    return told(difference(base_U[None], ours_U[None])) if len(base_U) == len(ours_U) > 1 else None


def _written(sides: Sequence[_Side]) -> Section:
    columns = {
        f"{side.name}, iteration {manifest.iteration}": generation_facts(manifest.generation)
        for side in sides
        for manifest in side.manifests
        if manifest.generation is not None
    }
    names = tuple(dict.fromkeys(key for facts in columns.values() for key in facts))
    return Section("What was written", "" if columns else "Nothing.", (turned("", names, columns),) if columns else ())


def _time(sides: Sequence[_Side]) -> Section:
    taken = {side.name: _seconds(side) for side in sides}
    phases = tuple(dict.fromkeys(name for row in taken.values() for name in row))
    series = [Series(name, list(taken), [row.get(name) for row in taken.values()]) for name in phases]
    drawn = bars("time", "Seconds by phase", series, Axes("", "seconds"), stacked=True)
    words = "Seconds are comparable where one quiet machine made all runs. Evaluation is not among them."
    return Section("Time", words, (drawn, turned("", phases, taken)))


def _seconds(side: _Side) -> dict[str, float]:
    total: dict[str, float] = {}
    for manifest in side.manifests:
        for name, seconds in phase_seconds(manifest.timings).items():
            total[name] = total.get(name, 0.0) + seconds
    return total


def _settings(sides: Sequence[_Side]) -> Section:
    settings = {side.name: side.manifests[-1].model.settings for side in sides}
    keys = sorted({key for each in settings.values() for key in each})
    rows = tuple(
        (key, *(setting(each[key]) if key in each else None for each in settings.values()))
        for key in keys
        if len({setting(each.get(key)) for each in settings.values()}) > 1
    )
    words = "" if rows else "The runs have the same settings."
    return Section("Settings that differ", words, (Table("", ("setting", *settings), rows),) if rows else ())
