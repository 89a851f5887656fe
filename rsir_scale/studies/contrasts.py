"""One series against another: differences with intervals, by metric and by group of users.

Comes in: two `Series` and the chosen iteration of each. Goes out: JSON-ready numbers, in the metric's own unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsir_scale.analysis.segments import Mask_U
from rsir_scale.analysis.significance import Difference, difference, holm
from rsir_scale.evaluation.metrics import METRICS
from rsir_scale.studies.file import StudyFile
from rsir_scale.studies.ranks import TEST, VALIDATION, Series, common_seeds

_LEAST_USERS = 10
_SEVERAL = 2
Entry = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """An iteration of a series, which stands for it."""

    series: Series
    iteration: int


def metric_names(file: StudyFile) -> tuple[str, ...]:
    """Every metric at every cutoff of the study."""
    return tuple(f"{metric}@{cutoff}" for metric in METRICS for cutoff in file.cutoffs)


def chosen(series: Series, metric: str) -> Model:
    """The iteration with the best mean validation over the seeds, the earliest of equals, after the first if it can be.

    Iteration 0 is the base, so it stands for nothing that an arm did.
    """
    seeds = sorted(series.stores)
    scores = {
        iteration: float(series.values(seeds=seeds, iteration=iteration, split=VALIDATION, name=metric).mean())
        for iteration in range(min(1, series.last), series.last + 1)
    }
    return Model(series, max(scores, key=lambda iteration: (scores[iteration], -iteration)))


def contrast(ours: Model, theirs: Model, *, against: str, names: Sequence[str]) -> dict[str, Entry]:
    """Differences by `split/metric`; none without a seed that both have."""
    seeds = common_seeds(ours.series, theirs.series)
    if not seeds:
        return {}
    return {
        f"{split}/{name}": {**_entry(_difference(ours, theirs, seeds, split, name)), "against": against}
        for split in (VALIDATION, TEST)
        for name in names
    }


def by_segment(ours: Model, theirs: Model, groups: Mapping[str, Mask_U], metric: str) -> dict[str, Entry]:
    """Differences on test by group of users; a group of fewer than ten users has none."""
    seeds = common_seeds(ours.series, theirs.series)
    pair = [_values(model, seeds, TEST, metric) for model in (theirs, ours)]
    return {
        name: {"users": int(mask_U.sum())}
        | (_entry(difference(pair[0][:, mask_U], pair[1][:, mask_U])) if mask_U.sum() >= _LEAST_USERS else {})
        for name, mask_U in groups.items()
    }


def curve(series: Series, base: Model, *, metric: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Means over seeds and users of every iteration.

    Where there is more than one iteration after theta_0, `gains` has each one's differences from the base on test, too.
    They are a description, corrected for nothing: whoever takes the best of them has chosen on test.
    """
    seeds = sorted(series.stores)
    points = [
        {"iteration": iteration}
        | {
            f"{split}/{metric}": float(_values(Model(series, iteration), seeds, split, metric).mean())
            for split in (VALIDATION, TEST)
        }
        for iteration in range(series.last + 1)
    ]
    if series.last < _SEVERAL:
        return points
    return [{**point, "gains": _gains(series, base, point, names)} for point in points]


def _gains(series: Series, base: Model, point: Mapping[str, Any], names: Sequence[str]) -> dict[str, Entry]:
    ours, seeds = Model(series, point["iteration"]), common_seeds(series, base.series)
    return {name: _entry(_difference(ours, base, seeds, TEST, name)) for name in names}


def with_holm(tables: Sequence[Mapping[str, Entry]]) -> list[dict[str, Entry]]:
    """The tables with p-values corrected over them, metric by metric: what was tried is the family."""
    result = [dict(table) for table in tables]
    for name in {name for table in tables for name in table}:
        holders = [table for table in result if name in table]
        for table, p in zip(holders, holm([table[name]["p"] for table in holders]), strict=True):
            table[name] = {**table[name], "p_holm": p}
    return result


def _difference(ours: Model, theirs: Model, seeds: Sequence[int], split: str, name: str) -> Difference:
    return difference(_values(theirs, seeds, split, name), _values(ours, seeds, split, name))


def _values(model: Model, seeds: Sequence[int], split: str, name: str) -> Any:
    return model.series.values(seeds=seeds, iteration=model.iteration, split=split, name=name)


def _entry(found: Difference) -> Entry:
    share = 1.0 / found.base if found.base else None
    return {
        "value": found.treated,
        "base": found.base,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "percent": None if share is None else [100.0 * share * x for x in (found.mean, found.low, found.high)],
        "detectable": found.detectable,
        "p": found.p,
        "p_holm": None,
    }
