"""The page of a study: verdicts, differences with intervals, controls, prices, groups of users.

Comes in: what `studies.report.report_of` returns. Goes out: a `blocks.Page`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rsir_scale.report.blocks import NOTHING, Block, Cell, Claim, Page, Section, Table, Tone
from rsir_scale.report.figures import Axes, Series, bars, lines, points
from rsir_scale.studies.verdict import DOES_NOT, HELPS

Report = Mapping[str, Any]
_TONES: dict[str, Tone] = {HELPS: "good", DOES_NOT: "bad"}
_TERMS = (
    "base",
    "interval [low, high]",
    "p (Holm)",
    "detectable",
    "iteration",
    "validation, test",
    "longer",
    "aa",
    "price",
    "segments",
    "target/new",
)


def study_page(report: Report) -> Page:
    """Describe what a study found."""
    done = report["cells"]
    choice = " ".join(f"The best on {dataset} by validation: {name}." for dataset, name in report["choice"].items())
    seeds = ", ".join(map(str, report["seeds"]))
    missing = report["without_controls"]
    return Page(
        title="What this study shows",
        subtitle=f"{done['done']} of {done['all']} runs are finished; seeds {seeds}. {report['study']}",
        claims=(
            *(Claim(arm["sentence"], _TONES.get(arm["verdict"], "open")) for arm in _arms(report)),
            *([Claim(choice, "open")] if choice else []),
            *(Claim(text, "warning") for text in report["warnings"]),
            *([Claim(f"Controls are missing: {missing}", "warning")] if missing else []),
        ),
        sections=(
            _against_base(report),
            _against_controls(report),
            _iterations(report),
            _top_lists(report),
            _costs(report),
        ),
        terms=_TERMS,
    )


def _arms(report: Report) -> list[Mapping[str, Any]]:
    return [arm for arm in report["arms"] if arm["control"] is None]


def _name(report: Report, arm: Mapping[str, Any]) -> str:
    return f"{arm['name']} ({arm['dataset']})" if len(report["choice"]) > 1 else str(arm["name"])


def _against_base(report: Report) -> Section:
    metric = f"test/{report['metric']}"
    columns = ("arm", "dataset", "iteration", "base", "arm", "difference", "per cent", "p", "p (Holm)", "detectable")
    rows = [
        (
            arm["name"],
            arm["dataset"],
            arm["iteration"],
            *_compared(entry),
            entry["p"],
            entry["p_holm"],
            entry["detectable"],
        )
        for arm in report["arms"]
        for entry in [arm["metrics"][metric]]
    ]
    everything = [
        (arm["name"], arm["dataset"], name, entry["base"], entry["value"], difference(entry), entry["p_holm"])
        for arm in report["arms"]
        for name, entry in arm["metrics"].items()
    ]
    all_columns = ("arm", "dataset", "metric", "base", "arm", "difference", "p (Holm)")
    blocks: tuple[Block, ...] = (
        _forest(report),
        _table(report, "", columns, rows),
        _table(report, "All metrics, against the base", all_columns, everything, folded=True),
    )
    return Section(f"{report['metric']} on test, against the base", "", blocks)


def _forest(report: Report) -> Block:
    """Each arm and control as a point with its interval, against the base and, for arms, against longer training."""
    metric = f"test/{report['metric']}"
    entries: dict[str, list[tuple[str, Any]]] = {
        "against the base": [(_name(report, arm), arm["metrics"][metric]) for arm in report["arms"]],
        "against longer training": [
            (_name(report, arm), arm["against"]["longer"][metric])
            for arm in _arms(report)
            if "longer" in arm["against"]
        ],
    }
    series = [
        Series(
            name,
            [entry["mean"] for _, entry in found],
            [arm for arm, _ in found],  # type: ignore[misc] # names along the y axis
            [entry["low"] for _, entry in found],
            [entry["high"] for _, entry in found],
        )
        for name, found in entries.items()
        if found
    ]
    title = f"{report['metric']} on test: difference with a 95 % interval"
    return points("differences", title, series, Axes("difference", ""))


def _against_controls(report: Report) -> Section:
    metric = f"test/{report['metric']}"
    rows = [
        (arm["name"], arm["dataset"], entry["against"], *_compared(entry), entry["p"], entry["p_holm"])
        for arm in report["arms"]
        for table in arm["against"].values()
        for entry in [table[metric]]
    ]
    columns = ("arm", "dataset", "against", "control", "arm", "difference", "per cent", "p", "p (Holm)")
    return Section(
        f"{report['metric']} on test, against the controls",
        "" if rows else "There is no control that an arm could be set against.",
        (_table(report, "", columns, rows),) if rows else (),
    )


def _iterations(report: Report) -> Section:
    metric = report["metric"]
    series = [
        Series(
            _name(report, arm),
            [row["iteration"] for row in arm["curve"]],
            [row[f"validation/{metric}"] for row in arm["curve"]],
        )
        for arm in report["arms"]
    ]
    drawn = lines("iterations", f"Validation {metric} by iteration", series, Axes("iteration", metric, whole_x=True))
    groups = list(_groups(report))
    columns = ("arm", "dataset", "group", "users", "base", "arm", "difference")
    words = "Iterations are chosen by this curve. The groups are a description: many were looked at."
    return Section("By iteration and by group of users", words, (drawn, _table(report, "", columns, groups)))


def _groups(report: Report) -> Iterator[tuple[Cell, ...]]:
    for arm in _arms(report):
        for group, entry in arm["segments"].items():
            yield (
                arm["name"],
                arm["dataset"],
                group,
                entry["users"],
                entry.get("base"),
                entry.get("value"),
                difference(entry),
            )


def _top_lists(report: Report) -> Section:
    rows = [
        (arm["name"], arm["dataset"], name, entry["base"], entry["value"])
        for arm in report["arms"]
        for name, entry in arm["lists"].items()
    ]
    words = "Means over seeds of what the lists of the test users are like." if rows else "No cell kept its lists."
    table = _table(report, "", ("arm", "dataset", "figure", "base", "arm"), rows, folded=True)
    return Section("Top-n lists", words, (table,) if rows else ())


def _costs(report: Report) -> Section:
    series = [
        Series(
            what,
            [_name(report, arm) for arm in report["arms"]],
            [arm["ledger"]["price"][what] for arm in report["arms"]],
        )
        for what in ("updates", "seconds")
    ]
    names = ("updates", "learner_updates", "seconds", "trials", "sequences")
    rows = tuple(
        (
            arm["name"],
            arm["dataset"],
            *(ledger[name] for name in names),
            *(ledger["price"][name] for name in ("updates", "seconds")),
        )
        for arm in report["arms"]
        for ledger in [arm["ledger"]]
    )
    columns = (
        "arm",
        "dataset",
        "updates",
        "of a learner",
        "seconds",
        "trials",
        "sequences",
        "updates / base",
        "seconds / base",
    )
    drawn = bars("prices", "Price: times the base's", series, Axes("", "times the base's"))
    return Section("What each arm cost", "", (drawn, _table(report, "", columns, rows)))


def _table(
    report: Report, title: str, columns: tuple[str, ...], rows: Sequence[tuple[Cell, ...]], *, folded: bool = False
) -> Table:
    """A table whose second column is the dataset, which is left out where there is only one."""
    if len(report["choice"]) > 1:
        return Table(title, columns, tuple(rows), folded=folded)
    return Table(title, (columns[0], *columns[2:]), tuple((row[0], *row[2:]) for row in rows), folded=folded)


def _compared(entry: Mapping[str, Any]) -> tuple[Cell, ...]:
    return entry["base"], entry["value"], difference(entry), in_percent(entry)


def in_percent(entry: Mapping[str, Any]) -> str:
    """A difference as per cent of what it is set against."""
    if not entry.get("percent"):
        return NOTHING
    mean, low, high = entry["percent"]
    return f"{mean:+.1f} % [{low:+.1f}, {high:+.1f}]"


def difference(entry: Mapping[str, Any]) -> str:
    """A difference in its own unit; a dash for a group too small to have one."""
    if "mean" not in entry:
        return NOTHING
    return f"{entry['mean']:+.4f} [{entry['low']:+.4f}, {entry['high']:+.4f}]"
