"""The verbs of `rsir study`: from a dataset to a verdict.

Comes in: arguments. Goes out: what `cli.main` promises of every command. Nothing heavy is loaded before it is needed.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from rsir_scale.cli.tables import show, show_rows
from rsir_scale.errors import ConfigError
from rsir_scale.storage.opening import open_store

study_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Compare ways of training: arms x seeds x datasets, with controls.",
)

StudyDir = Annotated[str, typer.Argument(metavar="DIR", help="Folder or address of a study.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@study_app.command()
def init(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or address of a prepared dataset.")],
    out: Annotated[Path, typer.Option(help="Study file to write; must not exist.")],
) -> None:
    """Write a commented study file for a dataset."""
    from rsir_scale.data.dataset import open_dataset
    from rsir_scale.studies.start_file import write_start_file

    write_start_file(open_dataset(dataset), out)
    typer.echo(str(out), err=True)


@study_app.command()
def run(
    study_file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of a study.")],
    out: Annotated[str, typer.Option(help="Where the study lies, a folder or s3://…; the same call resumes it.")],
    more_seeds: Annotated[list[int] | None, typer.Argument(metavar="", min=0, hidden=True)] = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seeds", min=0, metavar="S…", help="Make these seeds, as --seeds 0 1 2; default the file's."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs under way at once; default as many as fit.")] = None,
) -> None:
    """Make every run that is missing; on this machine, or on the Ray cluster that RAY_ADDRESS names."""
    from rsir_scale.environment import settle_ray
    from rsir_scale.studies.file import load_study_file

    if more_seeds and not seeds:
        raise ConfigError(f"{more_seeds} stand behind no --seeds: write --seeds {' '.join(map(str, more_seeds))}")
    wanted = [*(seeds or ()), *(more_seeds or ())]
    file = load_study_file(study_file)
    settle_ray()
    from rsir_scale.studies.schedule import run_study

    chosen = f" --seeds {' '.join(map(str, wanted))}" if wanted else ""
    capped = f" --workers {workers}" if workers else ""
    again = f"rsir study run {shlex.quote(str(study_file))} --out {shlex.quote(out)}{chosen}{capped}"
    run_study(file, out, again=again, seeds=wanted, workers=workers, tell=lambda text: typer.echo(text, err=True))


@study_app.command()
def status(study_dir: StudyDir, as_json: AsJson = False) -> None:
    """Say which runs are done, running, failed or to do; answers at once, also while they work."""
    from rsir_scale.studies.folder import read_study
    from rsir_scale.studies.status import study_status

    facts = study_status(read_study(open_store(study_dir)))
    if as_json:
        show(facts, as_json=True)
        return
    show({name: value for name, value in facts.items() if name != "rows"}, as_json=False)
    show_rows("cells", facts["rows"])


@study_app.command()
def report(
    study_dir: StudyDir,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a study found: differences with intervals, prices, and a verdict in words."""
    from rsir_scale.report.page import write_page
    from rsir_scale.report.study_page import study_page
    from rsir_scale.studies.folder import read_study
    from rsir_scale.studies.report import report_of

    found = report_of(read_study(open_store(study_dir)))
    if html is not None:
        write_page(study_page(found), html)
    if as_json:
        show(found, as_json=True)
        return
    _show_report(found)


@study_app.command()
def add(
    study_dir: StudyDir,
    other_dir: Annotated[str, typer.Argument(metavar="OTHER_DIR", help="The same study, made on another machine.")],
) -> None:
    """Copy the finished runs of the same study from another machine, and check every file of them."""
    from rsir_scale.studies.adding import add_cells
    from rsir_scale.studies.folder import read_study

    copied, left = add_cells(read_study(open_store(study_dir)), read_study(open_store(other_dir)))
    typer.echo(f"{copied} cells copied, {left} were here already", err=True)


def _show_report(found: dict[str, Any]) -> None:
    metric = f"test/{found['metric']}"
    # A column that says the same in each row takes the room of one that does not.
    several = len(found["choice"]) > 1
    rows = [
        {"dataset": arm["dataset"]} | line if several else line for arm in found["arms"] for line in _lines(arm, metric)
    ]
    show_rows(metric, rows)
    if lists := _list_rows(found):
        show_rows("top-n lists, mean of the seeds", lists)
    for arm in found["arms"]:
        if arm["control"] is None:
            typer.echo(arm["sentence"])
    for dataset, name in found["choice"].items():
        typer.echo(f"the best on {dataset} by validation: {name}")
    for warning in found["warnings"]:
        typer.echo(f"warning: {warning}")


def _list_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What lists of each dataset's base and of each arm are like, at the length of the study's metric."""
    length = f"@{found['metric'].partition('@')[2]}"
    rows: dict[str, dict[str, Any]] = {}
    for arm in found["arms"]:
        figures = {name: entry for name, entry in arm["lists"].items() if name.endswith(length)}
        if figures:
            told = f"{arm['dataset']}: " if len(found["choice"]) > 1 else ""
            base = {name: entry["base"] for name, entry in figures.items()}
            rows.setdefault(f"{told}base", base)
            rows[f"{told}{arm['name']}"] = {name: entry["value"] for name, entry in figures.items()}
    return [{"lists of": name} | row for name, row in rows.items()]


def _lines(arm: dict[str, Any], metric: str) -> Iterator[dict[str, Any]]:
    """An arm or control against the base, and an arm against each kind of control."""
    for against, table in {"base": arm["metrics"], **arm["against"]}.items():
        entry = table[metric]
        yield {
            "arm": arm["name"],
            "value": entry["value"],
            "against": against,
            "difference [low, high]": f"{entry['mean']:+.4f} [{entry['low']:+.4f}, {entry['high']:+.4f}]",
            "p (Holm)": entry["p_holm"],
        }
