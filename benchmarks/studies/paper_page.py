"""docs/paper.md: what the paper states, and beside it what was measured here.

    python -m benchmarks.studies.paper_page

writes the page from the files of `docs/results/`: reports of finished studies (`paper` keeps them), counts of sequences
(`sequence_counts`), and what earlier scripts left. The paper's figures are in `paper_figures.yaml`. Where nothing was
run the page says so, with the command. A test holds the page to the files, so no figure is copied by hand.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.studies.paper_counts import FILE
from benchmarks.studies.paper_kept import RESULTS, ROOT, Figures, accuracy_lines, kept_report
from benchmarks.studies.paper_lines import HOLDS, OPEN_SMALLER, SMALLER, word
from benchmarks.studies.paper_studies import STUDIES
from benchmarks.studies.paper_tables import SECTIONS, Section

PAGE = ROOT / "docs" / "paper.md"
OTHERS = (
    ("counts of sequences", "Table 4", FILE, "benchmarks.studies.sequence_counts"),
    ("weak to strong", "Fig. 4", "teachers-toys.json", "benchmarks.studies.weak_to_strong"),
)
OF_ALL = "make paper MINUTES=60 WORKERS=2"

HEAD = f"""# The paper's tables, and ours

Written by `python -m benchmarks.studies.paper_page` from the files in `docs/results/`; a test holds this page to them.

Each table of the paper is a study file in `configs/paper/`. `{OF_ALL}` runs what fits into an hour,
the cheapest study first. Given again, it goes on. One study alone, begun or not:

```
rsir study run configs/paper/NAME.yaml --out studies/paper/NAME --workers 2
```

The first lines of each file have the command that imports its log.

How to read a row: bases differ, so the gain over the *own* base is what is compared, on test, with an interval of 95 %
over users, and over seeds where there are several ([how](results.md#how-sure-an-interval-is)). *Holds*: our interval
lies above zero. *Fails*: it lies at or below zero. *Open*: it holds zero. *Smaller*: the paper's gain lies above all of
it. One seed is no claim. The words are about the first metric of a row.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    figures = yaml.safe_load((Path(__file__).parent / "paper_figures.yaml").read_text(encoding="utf-8"))
    lines = [HEAD, "## In short", "", *_in_short(figures), "", "## Which study shows what", "", *_studies()]
    for section in SECTIONS:
        lines += _section(section, figures)
    return "\n".join(lines) + "\n"


def _section(section: Section, figures: Figures) -> Iterator[str]:
    yield from ("", f"## {section.title}", "", section.stated)
    rows = list(section.rows(figures))
    if rows:
        yield from ("", *rows)
    missing = [name for name in section.studies if kept_report(name) is None]
    if missing:
        yield from ("", f"Not run: {', '.join(f'`{name}`' for name in missing)}.")


def _in_short(figures: Figures) -> Iterator[str]:
    """How many of the paper's gains of RSIR are there."""
    lines = [line for line in accuracy_lines(figures) if line.what[2] in ("rsir", "rsir-ft")]
    pairs = [(line.ours["NDCG@10"], line.theirs["NDCG@10"]) for line in lines]
    words = [word(ours, theirs) for ours, theirs in pairs]
    held = sum(each in (HOLDS, SMALLER) for each in words)
    smaller = sum(each in (SMALLER, OPEN_SMALLER) for each in words)
    stronger = sum(ours.base > theirs.base for ours, theirs in pairs)
    yield (
        "The paper's Table 1 has 24 gains of RSIR over its base: two variants, three backbones, four datasets. "
        f"{len(pairs)} of them were measured here, on bases that are stronger than the paper's in {stronger}. In "
        f"{held} the interval of NDCG@10 lies above zero; in {smaller} the paper's gain lies above the whole interval."
    )
    yield ""
    done = [study for study in STUDIES if kept_report(study.name)]
    yield (
        f"{len(done)} of {len(STUDIES)} studies are finished. What was measured by scripts before there were studies "
        "stands in the tables, too; these rows have no control beside them. What RSIR gives on stronger bases than the "
        "paper has, beside longer training, is in [results.md](results.md#in-short)."
    )


def _studies() -> Iterator[str]:
    yield "| study | shows | state |"
    yield "|---|---|---|"
    for study in STUDIES:
        found = kept_report(study.name)
        seeds = "" if found is None else ", ".join(map(str, found["report"]["seeds"]))
        state = "not run" if found is None else f"[finished](results/paper/{study.name}.json), seeds: {seeds}"
        yield f"| [{study.name}](../{study.path}) | {study.shows} | {state} |"
    for name, shows, file, script in OTHERS:
        command = f"`python -m {script} run …`"
        yield f"| {name} | {shows} | {_state(file, command)} |"


def _state(name: str, command: str) -> str:
    return f"[rows](results/{name}), {command}" if (RESULTS / name).exists() else f"not run: {command}"


if __name__ == "__main__":
    main()
