"""The tables of the paper one by one, each beside what was measured here.

Comes in: the paper's figures. Goes out: for each table its title, what the paper states, the studies that give it, and
the Markdown rows of what is there. The page around them is the business of `paper_page`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.studies.paper_counts import STATED, counts
from benchmarks.studies.paper_kept import (
    ALL,
    AT_10,
    AT_20,
    Figures,
    accuracy_lines,
    arms_of,
    earlier_gains,
    kept_report,
    our_gains,
    stated_gains,
)
from benchmarks.studies.paper_lines import Gain, Line, interval, of_study, table
from benchmarks.studies.paper_studies import ACCURACY, LOGS


@dataclass(frozen=True)
class Section:
    """A table of the paper: the studies that give it, and its rows."""

    title: str
    stated: str
    studies: tuple[str, ...]
    rows: Callable[[Figures], Iterator[str]]


def _accuracy(metrics: tuple[str, str]) -> Callable[[Figures], Iterator[str]]:
    def rows(figures: Figures) -> Iterator[str]:
        yield from table(("data, backbone", "made by", "row"), metrics, list(accuracy_lines(figures)))

    return rows


def _check(figures: Figures) -> Iterator[str]:
    """Table 2: by iteration, with the check and without."""
    base = figures["accuracy"]["sasrec"]["base"]["sports"][:2]
    lines = [
        Line(
            (arm["name"], str(point["iteration"])),
            stated_gains(base, figures["check"][arm["name"]][point["iteration"]], AT_10),
            {metric: of_study(point["gains"][metric]) for metric in AT_10},
            len(arm["seeds"]),
        )
        for arm in arms_of("sports-check")
        if arm["control"] is None
        for point in arm["curve"][1:]
    ]
    yield from table(("check", "iteration"), AT_10, lines)


def _ranking(figures: Figures) -> Iterator[str]:
    """Table 6: other metrics of the same runs."""
    metrics = ("Precision@10", "F1@10", "MRR@10")
    lines = [
        Line(
            (dataset,),
            stated_gains(stated["base"], stated["rsir"], metrics),
            our_gains(arm, metrics),
            len(arm["seeds"]),
        )
        for dataset, stated in figures["ranking"].items()
        for arm in arms_of(f"{dataset}-sasrec")
        if arm["name"] == "rsir"
    ]
    yield from table(("data",), metrics, lines)


def _iterations(figures: Figures) -> Iterator[str]:
    """Table 7, and what the data of each iteration are like (Fig. 5)."""
    lines = [
        Line(
            (dataset, arm["name"], str(point["iteration"])),
            stated_gains(stated[0], stated[point["iteration"]]),
            {metric: of_study(point["gains"][metric]) for metric in ALL},
            len(arm["seeds"]),
        )
        for dataset, stated in figures["iterations"].items()
        for arm in arms_of(f"{dataset}-iterations")
        if arm["control"] is None and arm["name"] != "insertion"
        for point in arm["curve"][1:]
    ]
    yield from table(("data", "reading", "iteration"), AT_10, lines)
    for dataset in figures["iterations"]:
        analysis = (kept_report(f"{dataset}-iterations") or {"analysis": {}})["analysis"]
        if analysis:
            yield from _density(dataset, analysis, figures["density_growth"])


def _density(dataset: str, analysis: Mapping[str, Any], stated: float) -> Iterator[str]:
    yield ""
    yield f"Data of the last iteration, {dataset} (paper: density {stated:+.0f} % on its data after eight iterations):"
    yield ""
    yield "| arm | density against D_0 | ApEn, as defined | corpus entropy, first and last |"
    yield "|---|---|---|---|"
    for name, found in analysis.items():
        first, last = found["iterations"][0], found["iterations"][-1]
        apen = next((key for key in last if key.startswith("apen_")), "")
        both = f"{first['corpus_entropy']:.3f}, {last['corpus_entropy']:.3f}"
        yield f"| {name} | {100 * last['density_growth']:+.1f} % | {first[apen]:.4f}, {last[apen]:.4f} | {both} |"


def _settings(figures: Figures) -> Iterator[str]:
    """Tables 8 and 9: one setting at a time."""
    base = figures["accuracy"]["sasrec"]["base"]["sports"]
    arms = {arm["name"]: arm for arm in arms_of("sports-settings")}
    stated = {f"tau-{tau}": row for tau, row in figures["thresholds"].items()}
    stated |= {f"p-{p}": row for p, row in figures["exploitation"].items() if p != 0.5}  # tau-20 has p .5
    lines = [
        Line((name,), stated_gains(base, row), our_gains(arms[name]), len(arms[name]["seeds"]))
        for name, row in stated.items()
        if name in arms
    ]
    lines += [
        Line((name,), {}, our_gains(arm), len(arm["seeds"])) for name, arm in arms.items() if name.startswith("m-")
    ]
    yield from table(("setting",), AT_10, lines)


def _semantic_ids(figures: Figures) -> Iterator[str]:
    stated, metrics = figures["semantic_ids"], ALL
    theirs = stated_gains(stated["base"], stated["rsir"])
    arms = [arm for arm in arms_of("toys-semantic-ids") if arm["name"] == "rsir"]
    lines = [Line(("study",), theirs, our_gains(arm, metrics), len(arm["seeds"])) for arm in arms]
    found = earlier_gains("paper-toys-semantic_id.json", "retrain")
    if not lines and found:
        lines = [Line(("[script](results/paper-toys-semantic_id.json)",), theirs, found[0], found[1])]
    yield from table(("made by",), AT_10, lines)


def _clusters(figures: Figures) -> Iterator[str]:
    """Table 11: each check against the base; Toys is not in the paper."""
    lines = []
    for dataset in ("toys", "sports", "yelp"):
        arms = [arm for arm in arms_of(f"{dataset}-clusters") if arm["control"] is None]
        for arm in arms:
            theirs = _clustered(figures, dataset, arm["name"])
            lines.append(Line((dataset, arm["name"], "study"), theirs, our_gains(arm), len(arm["seeds"])))
        for name, check in (("exact", "exact"), ("count32", "count")):
            found = None if arms else earlier_gains(f"clusters-{dataset}.json", name)
            if found:
                made = f"[script, before batches were fair](results/clusters-{dataset}.json)"
                lines.append(Line((dataset, check, made), _clustered(figures, dataset, check), *found))
    yield from table(("data", "check", "made by"), AT_10, lines)


def _clustered(figures: Figures, dataset: str, check: str) -> dict[str, Gain]:
    """The paper's gain with a check; nothing for data that its table leaves out."""
    if dataset not in figures["clusters"]:
        return {}
    both = figures["accuracy"]["sasrec"]
    value = both["rsir"][dataset] if check == "exact" else figures["clusters"][dataset]
    return stated_gains(both["base"][dataset], value)


def _seconds(figures: Figures) -> Iterator[str]:
    """Table 12: what writing and retraining took on the machine that made the study."""
    arms = {arm["name"]: arm for arm in arms_of("toys-sasrec")}
    if not arms:
        return
    yield "| | paper: generate, train | ours: generate, train | generate, against RSIR: paper, ours |"
    yield "|---|---|---|---|"
    stated, rsir = figures["seconds"], arms["rsir"]["ledger"]
    fit = rsir["seconds"] / rsir["price"]["seconds"]
    yield f"| base | –, {stated['base']['train']:.0f} s | –, {fit:.0f} s | |"
    for name in ("rsir", "dr4sr", "asrep"):
        theirs, ours = stated[name], arms[name]["ledger"]
        ratios = theirs["generate"] / stated["rsir"]["generate"], ours["generate_seconds"] / rsir["generate_seconds"]
        yield (
            f"| {name} | {theirs['generate']:.0f} s, {theirs['train']:.0f} s | {ours['generate_seconds']:.0f} s, "
            f"{ours['retrain_seconds']:.0f} s | {ratios[0]:.1f}, {ratios[1]:.1f} |"
        )


def _noise(figures: Figures) -> Iterator[str]:
    """Table 13: the gain by the share of noise; the paper has it on Sports and Yelp."""
    lines = []
    for dataset in ("sports", "toys"):
        for arm in arms_of(f"{dataset}-noise"):
            if arm["name"] == "rsir":
                share = int(arm["dataset"].partition("-noise-")[2] or 0) / 100
                stated = figures["noise"].get(dataset, {}).get(share)
                theirs = stated_gains(stated["base"], stated["rsir"]) if stated else {}
                lines.append(Line((dataset, f"{100 * share:.0f} %"), theirs, our_gains(arm), len(arm["seeds"])))
    yield from table(("data", "noise"), AT_10, lines)


def _teachers(_: Figures) -> Iterator[str]:
    found = earlier_gains("teachers-toys.json", "16x1-teaches-128x2")
    if found:
        yield (
            "The weakest of three sizes as teacher of the strongest, Toys, one seed "
            "([all rows](results/teachers-toys.json), [in detail](results.md#weak-to-strong)): "
            f"NDCG@10 {interval(found[0]['NDCG@10'])}."
        )


SECTIONS: tuple[Section, ...] = (
    Section(
        "Table 1: accuracy at 10",
        "The paper: one iteration of RSIR beats the base and five rivals on every dataset with every backbone.",
        tuple(study.name for study in ACCURACY),
        _accuracy(AT_10),
    ),
    Section(
        "Table 2: without the check",
        "The paper: without the fidelity check Sports' Recall@10 falls from .0474 to .0210 in three iterations.",
        ("sports-check",),
        _check,
    ),
    Section("Table 4: how much is written", STATED, (), counts),
    Section(
        "Table 5: accuracy at 20",
        "The same runs as in Table 1.",
        (),
        _accuracy(AT_20),
    ),
    Section(
        "Table 6: precision, F1 and MRR",
        "The same runs as in Table 1, SASRec.",
        tuple(f"{dataset}-sasrec" for dataset in LOGS),
        _ranking,
    ),
    Section(
        "Table 7, Figures 2, 5 and 6: eight iterations",
        "The paper: gains build up for three to six iterations; density grows, and entropy with it.",
        ("sports-iterations", "yelp-iterations"),
        _iterations,
    ),
    Section(
        "Tables 8 and 9, Figure 3: tau, p and m",
        "The paper: tau 20 and p .5 are best on Sports.",
        ("sports-settings",),
        _settings,
    ),
    Section("Table 10: semantic ids", "The paper: RSIR adds 2 to 5 % on Toys.", ("toys-semantic-ids",), _semantic_ids),
    Section(
        "Table 11: the check by clusters",
        "The paper: nothing is lost beyond 3.4 % of NDCG@10 on Sports.",
        ("sports-clusters", "yelp-clusters"),
        _clusters,
    ),
    Section(
        "Table 12: seconds",
        "The paper: DR4SR takes 18 times as long as RSIR to generate, ASReP 5 times, on Toys.",
        ("toys-sasrec",),
        _seconds,
    ),
    Section(
        "Table 13, Figure 7: noise",
        "The paper *inserts* random items, and gains grow with their share. `rsir data noise` *replaces* items, so "
        "that two shares have as many pairs; the two are not the same experiment.",
        ("toys-noise", "sports-noise"),
        _noise,
    ),
    Section("Figure 4: weak teachers", "The paper: a weak model lifts a strong one by 1.95 %.", (), _teachers),
)
