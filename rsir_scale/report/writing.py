"""What was written: how much, how long, how new, what the check let through, and what that makes of the data.

Comes in: a finished run. Goes out: sections. Counters are those of the manifests; lengths and entropies are read from
the rows that were kept.

Shapes: N sequences.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rsir_scale.analysis.corpus import corpus_of
from rsir_scale.report.blocks import Block, Cell, Section, turned
from rsir_scale.report.figures import Axes, Series, bars, lines
from rsir_scale.report.finished import Finished
from rsir_scale.runs.lineage import committed_files, load
from rsir_scale.runs.manifest import Generation
from rsir_scale.runs.run import Run

_KINDS = ("true", "own", "other")
_STOP = "stop_"
_BINS = 25  # of lengths, at the most
Lengths_N = npt.NDArray[np.int64]


def written(finished: Finished) -> Section:
    """Counts, acceptance, stops and lengths of every generation."""
    if not finished.written:
        return Section("What was written", "Nothing: this run trained theta_0 alone.", ())
    found = {f"iteration {each.iteration}": each.generation for each in finished.written if each.generation is not None}
    lengths = {"real": finished.real.lengths} | {
        name: _lengths(finished.run, manifest.iteration) for name, manifest in zip(found, finished.written, strict=True)
    }
    facts = {name: generation_facts(generation) for name, generation in found.items()}
    facts = {name: row | {"mean length": _mean(lengths[name])} for name, row in facts.items()}
    names = tuple(dict.fromkeys(key for row in facts.values() for key in row))
    blocks: list[Block] = [turned("", names, facts)]
    if any(generation.counters.get("chosen_own") for generation in found.values()):
        blocks.append(_acceptance(found))
    blocks += [_stops(found), _histogram(lengths)]
    real, augmenter = _mean(lengths["real"]), finished.run.config.generation.augmenter
    words = f"By the augmenter {augmenter}. The real sequences have {real:.1f} items in the mean."
    return Section("What was written", words, tuple(blocks))


def data(finished: Finished) -> Section:
    """Density and entropy of each D_k."""
    rows = [corpus_of(finished.run, manifest.iteration, finished.real) for manifest in finished.manifests]
    named: dict[str, Mapping[str, Cell]] = {f"D_{row['iteration']}": _renamed(row) for row in rows}
    names = tuple(dict.fromkeys(key for row in named.values() for key in row))
    ks = [row["iteration"] for row in rows]
    drawn = (
        lines(
            "density",
            "Density growth of D_k",
            [Series("density growth", ks, [100.0 * row["density_growth"] for row in rows])],
            Axes("iteration", "more training pairs than D_0", whole_x=True, percent=True),
        ),
        lines(
            "entropy",
            "Corpus entropy of D_k, on equally many windows",
            [Series("corpus entropy", ks, [row["corpus_entropy_equal_size"] for row in rows])],
            Axes("iteration", "nats", whole_x=True),
        ),
    )
    words = "What each theta_k was trained on: the real sequences and all that earlier iterations wrote."
    return Section("The data", words, (turned("", names, named), *(drawn if len(rows) > 1 else ())))


def generation_facts(generation: Generation) -> dict[str, Cell]:
    """What a generation's manifest says, by the words of a page; nothing where a counter is not kept."""
    counters = generation.counters

    def share(part: str, whole: str) -> float | None:
        return counters[part] / counters[whole] if part in counters and counters.get(whole) else None

    return {
        "sources": generation.sources,
        "trials": counters.get("trials"),
        "sequences kept": generation.rows,
        "training pairs": generation.pairs,
        "duplicates dropped": generation.dropped,
        "sources replaced": generation.replaced or None,
        "sources set aside, trials lost": counters.get("errors"),
        "acceptance": share("accepted_steps", "steps"),
        **{f"acceptance, {kind} items": share(f"accepted_{kind}", f"chosen_{kind}") for kind in _KINDS},
        "novel share of steps": share("novel_steps", "accepted_steps"),
        "rows of the source's items alone": share("own_only_rows", "rows_kept"),
        "users whose test item was written": counters.get("heldout_test_hits"),
    }


def _renamed(row: Mapping[str, Cell]) -> dict[str, Cell]:
    names = {
        "sequences": "sequences",
        "pairs": "training pairs",
        "density": "density",
        "density_growth": "density growth",
        "apen_mean": "ApEn",
        "apen_excess": "ApEn, excess",
        "apen_repeating": "share with a repeated window",
        "corpus_entropy_equal_size": "corpus entropy",
    }
    return {told: row[name] for name, told in names.items()}


def _lengths(run: Run, iteration: int) -> Lengths_N:
    return load(run, committed_files(run.store, iteration)).lengths


def _mean(lengths_N: Lengths_N) -> float:
    return float(lengths_N.mean()) if len(lengths_N) else 0.0


def _acceptance(found: Mapping[str, Generation]) -> Block:
    facts = {name: generation_facts(generation) for name, generation in found.items()}
    series = [
        Series(name, list(_KINDS), [_hundredfold(row[f"acceptance, {kind} items"]) for kind in _KINDS])
        for name, row in facts.items()
    ]
    return bars("acceptance", "Acceptance by kind of item", series, Axes("chosen item", "accepted", percent=True))


def _stops(found: Mapping[str, Generation]) -> Block:
    """Of each iteration's trials: the share that left a row, or why they left none."""
    reasons = sorted({key for each in found.values() for key in each.counters if key.startswith(_STOP)})
    used = [key for key in reasons if any(each.counters.get(key) for each in found.values())]
    shares = {"left a sequence": "rows_kept", **{key.removeprefix(_STOP).replace("_", " "): key for key in used}}
    series = [
        Series(name, list(found), [_hundredfold(_ratio(each, key)) for each in found.values()])
        for name, key in shares.items()
    ]
    return bars("stops", "What became of the trials", series, Axes("", "of all trials", percent=True), stacked=True)


def _ratio(generation: Generation, key: str) -> float | None:
    trials = generation.counters.get("trials", 0)
    return generation.counters.get(key, 0) / trials if trials else None


def _hundredfold(value: Cell) -> float | None:
    return 100.0 * value if isinstance(value, float) else None


def _histogram(lengths: Mapping[str, Lengths_N]) -> Block:
    longest = max(int(each.max(initial=1)) for each in lengths.values())
    width = -(-longest // _BINS)
    edges = np.arange(1, longest + width + 1, width)
    names = [str(first) if width == 1 else f"{first}–{first + width - 1}" for first in edges[:-1]]
    series = [
        Series(name, names, (100.0 * np.histogram(each, edges)[0] / max(1, len(each))).tolist())
        for name, each in lengths.items()
    ]
    return bars("lengths", "Lengths of sequences", series, Axes("items", "of the sequences", percent=True))
