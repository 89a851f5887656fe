"""The command line: one verb, one call.

Comes in: arguments. Goes out: progress and messages on stderr, tables or one JSON object on stdout, and an exit code: 0
done, 2 bad configuration or input, 3 stopped or failed but resumable, 4 integrity broken. Each verb imports what it
needs when it is called, so that `rsir status` and `rsir --help` load neither torch nor Ray.
"""

import io
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rsir_scale.cli.analyse import analyse
from rsir_scale.cli.data import data_app
from rsir_scale.cli.doctor import doctor
from rsir_scale.cli.recommend import recommend
from rsir_scale.cli.report import compare, report
from rsir_scale.cli.showing import shown_progress
from rsir_scale.cli.study import study_app
from rsir_scale.cli.tables import show
from rsir_scale.cli.version import version_lines
from rsir_scale.config.file import load_config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.environment import settle_ray
from rsir_scale.errors import IntegrityError, ResumableError, RsirError
from rsir_scale.runs.begun import read_config, run_to_load, run_to_write, stored_run
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store

app = typer.Typer(
    name="rsir",
    help="Recursive self-improving recommendation: a recommender that writes, checks and learns from its own data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: the other kind writes <bool> behind every option that takes no value.
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")
app.command()(recommend)
app.command()(analyse)
app.command()(report)
app.command()(compare)
app.command()(doctor)
_INTERRUPTED = 130

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of settings.")]
RunDir = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or its address such as s3://bucket/run.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
OwnClass = Annotated[
    str | None,
    typer.Option(metavar="MODULE:CLASS", help="The class of your own that the run was made with."),
]
RowsAgain = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Rows of an iteration to make again, spread evenly; all unless given."),
]
Iteration = Annotated[int | None, typer.Option(metavar="I", help="Which iteration; its default is in the text above.")]


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo("\n".join(version_lines()))
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks must not end the command.
        sys.stdout.reconfigure(errors="replace")
    try:
        app(args=arguments)
    except SystemExit as end:
        sys.exit(ResumableError.exit_code if end.code == _INTERRUPTED else end.code)
    except RsirError as error:
        typer.echo(f"rsir: {error}", err=True)
        if getattr(error, "leave_at_once", False):
            # Threads and a cluster are still there, and would take longer to end than a stopped run has.
            os._exit(error.exit_code)
        sys.exit(error.exit_code)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say what is installed here.")
    ] = False,
) -> None:
    """Declare the options that stand before a verb."""


@app.command()
def init(
    out: Annotated[Path, typer.Option(help="Config to write; must not exist.")],
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET", help="Folder or address of a prepared dataset.")
    ] = None,
) -> None:
    """Write a commented config, its budgets by the size of a dataset."""
    from rsir_scale.outputs.start_config import write_start_config

    write_start_config(None if dataset is None else open_dataset(dataset), out)
    typer.echo(f"{out}: next, rsir plan {shlex.quote(str(out))}", err=True)


@app.command()
def plan(config_file: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what a run would do, and on which resources; refuse what would hang."""
    from rsir_scale.loop.outline import outline
    from rsir_scale.loop.preflight import check, local_nodes

    config = load_config(config_file, overrides or ())
    dataset = open_dataset(config.data.path)
    if os.environ.get("RAY_ADDRESS"):
        settle_ray()
        from rsir_scale.loop.driver import cluster_nodes

        nodes = cluster_nodes(config)
    else:
        nodes = local_nodes(config)
    check(config, nodes)
    show(outline(config, dataset, nodes), as_json=as_json)


@app.command()
def run(
    config_file: ConfigFile,
    run_dir: Annotated[str, typer.Option(help="Where the run lies, a folder or s3://…; the same call resumes it.")],
    overrides: Overrides = None,
) -> None:
    """Train, generate, retrain; on this machine, or on the Ray cluster that RAY_ADDRESS names."""
    config = load_config(config_file, overrides or ())
    dataset = open_dataset(config.data.path)
    _drive(Run(open_store(run_dir), dataset, config))


@app.command()
def resume(run_dir: RunDir, backbone: OwnClass = None, augmenter: OwnClass = None) -> None:
    """Go on with a run by the settings that it holds."""
    _drive(run_to_write(open_store(run_dir), backbone=backbone, augmenter=augmenter))


@app.command()
def status(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Say where a run stands; answers at once, also while it works."""
    from rsir_scale.analysis.verdict import verdict_of
    from rsir_scale.runs.manifest import read_chain
    from rsir_scale.runs.status import DONE, read_status

    store = open_store(run_dir)
    config = read_config(store)
    facts = read_status(store, config)
    verdict = verdict_of(store, read_chain(store), config.evaluation) if facts["state"] == DONE else None
    if as_json:
        show(facts | {"verdict": None if verdict is None else verdict.to_json()}, as_json=True)
        return
    show(facts, as_json=False)
    for sentence in verdict.sentences if verdict else ():
        typer.echo(sentence)


@app.command()
def verify(
    run_dir: RunDir,
    backbone: OwnClass = None,
    augmenter: OwnClass = None,
    rows: RowsAgain = None,
    as_json: AsJson = False,
) -> None:
    """Hash every file of the run again, and check its stored rows with the plain exact reference."""
    from rsir_scale.verification.verify import verify as check_run

    stored = run_to_write(open_store(run_dir), backbone=backbone, augmenter=augmenter)
    with shown_progress() as tell:
        report = check_run(stored, rows_per_iteration=rows, tell=tell)
    show(report.to_json(), as_json=as_json)
    if not report.ok:
        raise typer.Exit(IntegrityError.exit_code)


@app.command()
def clean(
    run_dir: RunDir,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what attempts that were killed left behind: no record names it, so it is only room lost."""
    from rsir_scale.runs.leftovers import clean as clean_run

    show(clean_run(open_store(run_dir), dry_run=dry_run), as_json=as_json)


@app.command()
def evaluate(
    run_dir: RunDir,
    iteration: Annotated[int, typer.Option(metavar="I", help="Whose model.")],
    backbone: OwnClass = None,
    as_json: AsJson = False,
) -> None:
    """Rank the held-out items again by a stored model, beside what the run recorded."""
    from rsir_scale.outputs.reevaluate import reevaluate

    stored = run_to_load(open_store(run_dir), backbone)
    with shown_progress() as tell:
        found = reevaluate(stored, iteration, tell)
    show(found, as_json=as_json)


@app.command()
def export(
    run_dir: RunDir,
    out: Annotated[str, typer.Option(help="File or, for recbole, folder to write; must not exist.")],
    format_name: Annotated[str, typer.Option("--format", help="parquet, csv, sequences or recbole.")] = "parquet",
    iteration: Iteration = None,
    synthetic_share: Annotated[
        float | None, typer.Option(help="About as many synthetic sequences for each real one; default all.")
    ] = None,
) -> None:
    """Write the augmented training data, by default all that is written so far, under the log's own ids and times."""
    from rsir_scale.outputs.export import export as write

    # The format is checked where its kinds are known.
    with shown_progress() as tell:
        written = write(
            stored_run(open_store(run_dir)),
            format=format_name,  # type: ignore[arg-type]
            out=out,
            iteration=iteration,
            synthetic_share=synthetic_share,
            tell=tell,
        )
    typer.echo(str(written), err=True)


def _drive(asked: Run) -> None:
    settle_ray()
    from rsir_scale.analysis.verdict import verdict_of
    from rsir_scale.loop.driver import drive
    from rsir_scale.runs.manifest import read_chain

    drive(asked)
    store = asked.store
    for sentence in verdict_of(store, read_chain(store), asked.config.evaluation).sentences:
        typer.echo(sentence)
    typer.echo(f"Next: rsir report {shlex.quote(store.root)} --html report.html")
