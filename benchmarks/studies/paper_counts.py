"""Table 4: how many sequences theta_0 writes, by reading and tau, beside the paper's counts.

Comes in: the rows that `sequence_counts` left. Goes out: Markdown: of each dataset and backbone the paper's count, ours
by tau, and the tau that comes nearest. The paper gives neither tau nor m, so nearest is a description, not a match.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.studies.paper_kept import Figures, results_in

FILE = "paper/counts.json"
READINGS = ("released", "paper")
STATED = (
    "The paper gives counts of new sequences and of their training pairs (in brackets), and neither the tau nor the m "
    "that they belong to. Ours have m 5 and p .5, the authors' own. A count rises steeply with tau, so a tau can be "
    "found for nearly any count."
)
CLOSE = 1.25  # a count within a quarter is called near
Counts = Mapping[int, Mapping[str, Any]]


def counts(figures: Figures) -> Iterator[str]:
    """The table, and in words what it means; what was not run is named."""
    rows = (results_in(FILE) or {"rows": []})["rows"]
    measured = [
        (backbone, dataset, reading, found)
        for backbone in figures["counts"]
        for dataset in figures["counts"][backbone]
        for reading in READINGS
        if (found := _by_tau(rows, backbone, dataset, reading))
    ]
    if measured:
        yield from (*_table(figures, measured), "", _in_words(figures, measured), "")
    missing = [
        f"{dataset} with {backbone}"
        for backbone in figures["counts"]
        for dataset in figures["counts"][backbone]
        if (backbone, dataset) not in {(each[0], each[1]) for each in measured}
    ]
    if missing:
        command = "python -m benchmarks.studies.sequence_counts run --datasets NAME --backbones NAME --out runs/counts"
        yield f"Not run: {', '.join(missing)}. Each by `{command}`, then `… report`."


def _by_tau(rows: Sequence[Mapping[str, Any]], backbone: str, dataset: str, reading: str) -> Counts:
    wanted = backbone, dataset, reading
    return {row["tau"]: row for row in rows if (row["backbone"], row["dataset"], row["reading"]) == wanted}


def nearest(found: Counts, stated: int) -> int:
    """The tau whose count is nearest by ratio."""
    return min(found, key=lambda tau: abs(math.log(max(1, found[tau]["sequences"]) / stated)))


def _table(figures: Figures, measured: Sequence[tuple[str, str, str, Counts]]) -> Iterator[str]:
    yield "| data, backbone | paper | reading | nearest tau tried | there | against the paper | tau: sequences |"
    yield "|---|---|---|---|---|---|---|"
    for backbone, dataset, reading, found in measured:
        sequences, pairs = figures["counts"][backbone][dataset]
        tau = nearest(found, sequences)
        row = found[tau]
        ratios = f"{row['sequences'] / sequences:.2f} ({row['pairs'] / pairs:.2f}) times"
        every = ", ".join(f"{each}: {found[each]['sequences']:,}" for each in sorted(found))
        yield (
            f"| {dataset}, {backbone} | {sequences:,} ({pairs:,}) | {reading} | {tau} | {row['sequences']:,} "
            f"({row['pairs']:,}) | {ratios} | {every} |"
        )


def _in_words(figures: Figures, measured: Sequence[tuple[str, str, str, Counts]]) -> str:
    """Whether one tau explains the counts of a reading."""
    said = []
    for reading in READINGS:
        own = [(b, d, found) for b, d, other, found in measured if other == reading]
        if not own:
            continue
        taus = {(b, d): nearest(found, figures["counts"][b][d][0]) for b, d, found in own}
        near = sum(_is_near(found[taus[b, d]]["sequences"], figures["counts"][b][d][0]) for b, d, found in own)
        told = ", ".join(f"{d} with {b} at {tau}" for (b, d), tau in taus.items())
        said.append(
            f"Under `{reading}` {near} of {len(own)} counts come within a quarter of the paper's at some tau that "
            f"was tried; nearest are {told}."
        )
        if len(set(taus.values())) > 1:
            said.append("So no single tau gives the paper's table.")
    return " ".join(said)


def _is_near(ours: int, stated: int) -> bool:
    return max(ours, stated) <= CLOSE * max(1, min(ours, stated))
