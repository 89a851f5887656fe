"""How well each theta_k recommends, how its fit went, and for whom it does better.

Comes in: a finished run. Goes out: sections. Intervals are over users, from the ranks that the run keeps.

Shapes: U users.
"""

from rsir_scale.analysis.segments import segments_of
from rsir_scale.analysis.significance import Difference, difference
from rsir_scale.analysis.verdict import TEST, VALIDATION, against_first, leading_metrics, percent, told, values_of
from rsir_scale.data.schema import SEQUENCE_ID
from rsir_scale.data.sequences import numbers_of
from rsir_scale.report.blocks import Block, Cell, Figure, Section, Table
from rsir_scale.report.figures import Axes, Series, lines, points
from rsir_scale.report.finished import Finished
from rsir_scale.runs.evaluated import TEST_RANK, ranks_of
from rsir_scale.runs.learned import has_learned, read_learned
from rsir_scale.runs.trained import CurvePoint, read_model

_LEAST_USERS = 10  # of a group that has an interval


def accuracy(finished: Finished) -> Section:
    """Metrics by iteration, and what each gains over theta_0."""
    names = leading_metrics(finished.run.config.evaluation)
    later = range(1, len(finished.manifests)) if finished.verdict.compared else range(0)
    found = {
        (split, name, k): against_first(finished.run.store, k, split, name)
        for split in (TEST, VALIDATION)
        for name in names
        for k in later
    }
    blocks: list[Block] = [
        _gains(name, {split: [found[split, name, k] for k in later] for split in (TEST, VALIDATION)})
        for name in names[:1]
        if later
    ]
    words = (
        "Difference from iteration 0 with a 95 % interval over users. One run has one seed; a study shows how far "
        "models differ by their seed alone."
    )
    return Section("Accuracy by iteration", words, (*blocks, _metrics(finished, names, found), _all_metrics(finished)))


def curves(finished: Finished) -> Section:
    """Validation and loss by update of every fit, the augmenter's among them."""
    store = finished.run.store
    fits = [
        (f"theta_{manifest.iteration}", read_model(store, manifest.iteration).curve) for manifest in finished.manifests
    ]
    learned = [
        (f"augmenter of {manifest.iteration}", read_learned(store, manifest.iteration).curve)
        for manifest in finished.manifests
        if has_learned(store, manifest.iteration)
    ]
    blocks = (
        _curve("validation-curve", "Validation NDCG@20 by update", "NDCG@20", fits, "score"),
        _curve("loss-curve", "Training loss by update", "loss", [*fits, *learned], "loss"),
    )
    return Section("Learning curves", "", tuple(block for block in blocks if block is not None))


def segments(finished: Finished) -> Section:
    """Differences on test by group of users; nothing where there is no later iteration."""
    name, k, store = leading_metrics(finished.run.config.evaluation)[0], finished.compared, finished.run.store
    if not finished.verdict.compared:
        return Section("Who gains", "There is no later iteration to compare.", ())
    ranks = ranks_of(store, 0)
    ids_U = numbers_of(ranks.filter(ranks.column(TEST_RANK).is_valid()).column(SEQUENCE_ID))
    base_U, ours_U = (values_of(store, iteration, TEST, name) for iteration in (0, k))
    groups = segments_of(finished.run.dataset, ids_U)
    found = {
        group: difference(base_U[None, mask_U], ours_U[None, mask_U])
        for group, mask_U in groups.items()
        if mask_U.sum() >= _LEAST_USERS
    }
    rows = tuple(
        (group, int(groups[group].sum()), each.base, each.treated, told(each)) for group, each in found.items()
    )
    words = (
        f"{name} on test of iteration {k} against 0. length: thirds of the users by items in training; target: by how "
        "often the test item occurs there, tail to head. Many groups were looked at: read this as a description."
    )
    drawn = points("segments", f"{name}: difference by group", [_by_group(found)], Axes("difference", ""))
    columns = ("group", "users", "iteration 0", f"iteration {k}", "difference")
    return Section("Who gains", words, (drawn, Table("", columns, rows)) if found else ())


def _by_group(found: dict[str, Difference]) -> Series:
    values = list(found.values())
    return Series(
        "difference",
        [each.mean for each in values],
        list(found),  # type: ignore[arg-type] # names along the y axis
        [each.low for each in values],
        [each.high for each in values],
    )


def _gains(name: str, found: dict[str, list[Difference]]) -> Figure:
    shares = {split: [percent(each) for each in values] for split, values in found.items()}
    in_percent = all(share is not None for values in shares.values() for share in values)
    series = [
        Series(
            split,
            list(range(1, len(values) + 1)),
            *zip(*(percent(each) if in_percent else (each.mean, each.low, each.high) for each in values), strict=True),
        )
        for split, values in found.items()
    ]
    axes = Axes("iteration", f"{name} against iteration 0", whole_x=True, percent=in_percent)
    return lines("gains", f"{name}: gain over iteration 0", series, axes)


def _metrics(finished: Finished, names: tuple[str, ...], found: dict[tuple[str, str, int], Difference]) -> Table:
    rows = []
    for name in names:
        for manifest in finished.manifests:
            row: list[Cell] = [name, manifest.iteration]
            for split in (TEST, VALIDATION):
                each = found.get((split, name, manifest.iteration))
                row += [manifest.metrics.get(f"{split}/{name}"), None if each is None else told(each)]
            rows.append(tuple(row))
    return Table("", ("metric", "iteration", TEST, "against 0", VALIDATION, "against 0"), tuple(rows))


def _all_metrics(finished: Finished) -> Table:
    names = sorted({name for manifest in finished.manifests for name in manifest.metrics})
    columns = tuple(f"iteration {manifest.iteration}" for manifest in finished.manifests)
    rows = tuple((name, *(manifest.metrics.get(name) for manifest in finished.manifests)) for name in names)
    return Table("All recorded metrics", ("metric", *columns), rows, folded=True)


def _curve(
    name: str, title: str, what: str, fits: list[tuple[str, tuple[CurvePoint, ...]]], field: str
) -> Figure | None:
    series = [
        Series(label, [point.update for point in curve], [getattr(point, field) for point in curve])
        for label, curve in fits
        if curve
    ]
    return lines(name, title, series, Axes("update", what)) if series else None
