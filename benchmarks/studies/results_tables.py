"""The tables of gains in docs/results.md, made from the JSON files that the studies leave.

    python -m benchmarks.studies.results_tables

writes their rows again; a test holds the page to them, so that no figure is copied by hand. A gain is bold where it is
one of three seeds or more and its interval excludes zero, without correction for several metrics.
"""

import json
from itertools import dropwhile
from pathlib import Path

from benchmarks.record.result_file import Row

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "results.md", ROOT / "docs" / "results"
DATASETS = ("Toys", "Beauty", "Sports", "Yelp")
METRICS = ("NDCG@10", "Recall@10")
RSIR = "rsir-retrain"
# What the base trained on for longer is called, and for how many passes: the first two studies gave it half of them.
LONGER = {
    "Toys": ("extra-finetune", 15),
    "Beauty": ("extra-finetune", 15),
    "Sports": ("extra-retrain", 30),
    "Yelp": ("extra-retrain", 30),
}
COPIES = "copies-retrain"
BOLD_SEEDS = 3
SIZES = ("16x1", "64x2", "128x2")  # of the weak-to-strong study, weakest first
BACKBONES = {"sasrec": "SASRec", "cl4srec": "CL4SRec", "hstu": "HSTU", "semantic_id": "Semantic ids"}
# Base, RSIR-FT and RSIR in the paper's Table 1 (semantic ids: Table 10, which has no RSIR-FT).
Pair = tuple[float, float]
PAPER: dict[tuple[str, str], tuple[Pair, Pair | None, Pair]] = {
    ("Toys", "sasrec"): ((0.0477, 0.0795), (0.0507, 0.0860), (0.0508, 0.0872)),
    ("Beauty", "sasrec"): ((0.0290, 0.0548), (0.0322, 0.0594), (0.0303, 0.0578)),
    ("Toys", "cl4srec"): ((0.0519, 0.0870), (0.0541, 0.0926), (0.0543, 0.0927)),
    ("Beauty", "cl4srec"): ((0.0307, 0.0579), (0.0344, 0.0649), (0.0318, 0.0596)),
    ("Toys", "hstu"): ((0.0512, 0.0869), (0.0536, 0.0914), (0.0544, 0.0924)),
    ("Beauty", "hstu"): ((0.0302, 0.0568), (0.0324, 0.0599), (0.0324, 0.0596)),
    ("Toys", "semantic_id"): ((0.0507, 0.0837), None, (0.0518, 0.0877)),
}


def main() -> None:
    """Write the rows of all tables."""
    PAGE.write_text(rewritten(PAGE.read_text()))


def rewritten(text: str) -> str:
    """The page's text with the rows of its tables written again."""
    for header, rows in tables().items():
        before, _, after = text.partition(f"{header}\n")
        separator, *rest = after.splitlines(keepends=True)
        below = list(dropwhile(lambda line: line.startswith("|"), rest))
        text = "".join([before, f"{header}\n", separator, *(f"{row}\n" for row in rows), *below])
    return text


def tables() -> dict[str, list[str]]:
    """Rows by header."""
    return {
        "| test | seeds | base | RSIR against the base | against longer training | against copies |": [
            _line(name, rows, "test") for name, rows in _studies()
        ],
        "| validation | seeds | base | RSIR against the base | against longer training | against copies |": [
            _line(name, rows, "validation") for name, rows in _studies()
        ],
        "| | seeds | base | RSIR | paper's | RSIR-FT | paper's |": paper_rows(),
        f"| test, teacher | {' | '.join(SIZES)} | mean lift |": teacher_rows("test"),
        f"| validation, teacher | {' | '.join(SIZES)} | mean lift |": teacher_rows("validation"),
    }


def paper_rows() -> list[str]:
    """A row for each backbone and dataset in the paper's sizes: ours beside the paper's."""
    lines = []
    for backbone, shown in BACKBONES.items():
        for dataset in DATASETS:
            path = RESULTS / f"paper-{dataset.lower()}-{backbone}.json"
            if not path.exists():
                continue
            found = _read(path)
            theirs = PAPER.get((dataset, backbone), (None, None, None))
            both = [_pick(found, arm, "base", "test") for arm in ("retrain", "finetune")]
            first = next(pair for pair in both if pair)
            cells = [
                f"{dataset}, [{shown}](results/{path.name})",
                str(len(first[0]["seeds"])),
                _base(first) + (f" (paper {_scores(theirs[0])})" if theirs[0] else ""),
            ]
            for ours, their in zip(both, (theirs[2], theirs[1]), strict=True):
                others = f" ({_numbers(ours)})" if ours and ours[0]["seeds"] != first[0]["seeds"] else ""
                cells += [_gains(ours) + others if ours else "–", _relative(theirs[0], their)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def teacher_rows(split: str) -> list[str]:
    """The students' theta_0, then a row for each teacher: what it gives each student, and all of them in the mean."""
    found = _read(RESULTS / "teachers-toys.json")
    pairs = {
        (teacher, student): _pick(found, f"{teacher}-teaches-{student}", "base", split)
        for teacher in SIZES
        for student in SIZES
    }
    lines = [f"| none: theta_0 | {' | '.join(_base(pairs[size, size]) for size in SIZES)} | – |"]
    for teacher in SIZES:
        own = [pairs[teacher, student] for student in SIZES]
        lifts = [sum(pair[of]["gain"] for pair in own) / len(own) for of in range(len(METRICS))]
        mean = " / ".join(f"{100 * lift:+.1f} %" for lift in lifts)
        lines.append(f"| {teacher} | {' | '.join(_gains(pair) for pair in own)} | {mean} |")
    return lines


def _studies() -> list[tuple[str, list[Row]]]:
    return [(name, _read(RESULTS / f"gain-strong-{name.lower()}-scratch.json")) for name in DATASETS]


def _read(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text())["rows"]
    return rows


def _line(name: str, rows: list[Row], split: str) -> str:
    own = _pick(rows, RSIR, "base", split)
    longer, passes = LONGER[name]
    cells = [name, str(len(own[0]["seeds"])), _base(own), _gains(own)]
    for other, told in ((longer, f"{passes} passes"), (COPIES, "")):
        found = _pick(rows, RSIR, other, split)
        seeds = _numbers(found) if found and found[0]["seeds"] != own[0]["seeds"] else ""
        more = "; ".join(part for part in (told, seeds) if part)
        cells.append(_gains(found) + (f" ({more})" if more else "") if found else "to be run")
    return f"| {' | '.join(cells)} |"


def _pick(rows: list[Row], arm: str, against: str, split: str) -> list[Row]:
    """The two rows of an arm against another, by metric."""
    key = {"arm": arm, "against": against, "split": split, "iteration": 1}
    found = [row for row in rows if all(row[name] == value for name, value in key.items())]
    return [row for metric in METRICS for row in found if row["metric"] == metric]


def _numbers(pair: list[Row]) -> str:
    numbers = [str(seed) for seed in pair[0]["seeds"]]
    return f"{'seeds' if len(numbers) > 1 else 'seed'} {', '.join(numbers)}"


def _base(pair: list[Row]) -> str:
    return _scores((pair[0]["base"], pair[1]["base"]))


def _scores(pair: Pair) -> str:
    return " / ".join(f"{score:.4f}".removeprefix("0") for score in pair)


def _gains(pair: list[Row]) -> str:
    return " / ".join(_gain(row) for row in pair)


def _gain(row: Row) -> str:
    mean = f"{100 * row['gain']:+.1f} %"
    sure = len(row["seeds"]) >= BOLD_SEEDS and (row["low"] > 0 or row["high"] < 0)
    return f"{f'**{mean}**' if sure else mean} [{_bound(row['low'])}, {_bound(row['high'])}]"


def _bound(share: float) -> str:
    """A bound in per cent; one that would be shown as zero gets another digit, for its sign matters."""
    return f"{100 * share:+.1f}" if abs(share) >= 0.0005 else f"{100 * share:+.2f}"


def _relative(base: Pair | None, other: Pair | None) -> str:
    if base is None or other is None:
        return "–"
    return " / ".join(f"{100 * (after / before - 1):+.1f} %" for before, after in zip(base, other, strict=True))


if __name__ == "__main__":
    main()
