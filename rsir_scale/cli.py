"""The command line: one verb, one call.

Comes in: arguments. Goes out: text on stderr, tables or one JSON object on stdout, and an exit code: 0 done, 2 bad
configuration or input, 3 stopped or failed but resumable, 4 integrity broken. Each verb imports what it needs, so that
`rsir status` and `rsir --help` load neither torch nor Ray.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from rich.console import Console

from rsir_scale.cli_data import data_app
from rsir_scale.cli_tables import facts_table as plan_table
from rsir_scale.cli_tables import status_table
from rsir_scale.config import Config, load_config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.errors import InputError, ResumableError, RsirError
from rsir_scale.runs.open_run import read_config
from rsir_scale.storage import Store, open_store

app = typer.Typer(
    name="rsir",
    help="Recursive self-improving recommendation: a recommender that writes, checks and learns from its own data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of settings.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Out = Annotated[Path, typer.Option(help="Where to write; must not exist.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(ResumableError.exit_code)
    except RsirError as error:
        _leave(error)
    sys.exit(code if isinstance(code, int) else 0)


def _leave(error: RsirError) -> None:
    print(f"rsir: {error}", file=sys.stderr, flush=True)
    if type(error).__name__ == "StoppedError":
        # A stopped run may hold threads and a cluster that would take longer to end than the ten seconds it has.
        os._exit(error.exit_code)
    sys.exit(error.exit_code)


@app.command()
def plan(config_file: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what a run would do and on which resources; refuse what would hang."""
    from rsir_scale.loop.plan import describe

    description = describe(load_config(config_file, overrides or ()))
    _print(description, as_json=as_json, table=plan_table)


@app.command()
def run(
    config_file: ConfigFile,
    run_dir: Annotated[Path, typer.Option(help="Where the run lies; the same call resumes it.")],
    overrides: Overrides = None,
) -> None:
    """Train, generate and retrain; the same call resumes what was stopped."""
    _drive(load_config(config_file, overrides or ()), run_dir)


@app.command()
def resume(run_dir: RunDir) -> None:
    """Go on with a run, by the settings that it holds."""
    _drive(read_config(open_store(run_dir)), run_dir)


@app.command()
def status(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Say where a run stands; needs neither torch nor Ray."""
    from rsir_scale.runs.status import read_status

    _print(read_status(open_store(run_dir)), as_json=as_json, table=status_table)


@app.command()
def verify(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Re-hash the chain of manifests and re-check stored rows with the plain exact reference."""
    raise NotImplementedError


@app.command()
def evaluate(
    run_dir: RunDir,
    iteration: Annotated[int, typer.Option(help="Which model.")],
    as_json: AsJson = False,
) -> None:
    """Rank the held-out items again by a stored model; full catalogue, history masked as the run says."""
    from rsir_scale.loop.reevaluate import reevaluate

    store, dataset = _open(run_dir)
    _print(reevaluate(store, dataset, iteration), as_json=as_json, table=None)


def _drive(config: Config, run_dir: Path) -> None:
    from rsir_scale.loop.driver import run as drive

    drive(config, run_dir)


def _open(run_dir: Path) -> tuple[Store, PreparedDataset]:
    store = open_store(run_dir)
    return store, open_dataset(read_config(store).data.path)


def _print(value: dict[str, Any], *, as_json: bool, table: Any) -> None:
    if as_json:
        print(json.dumps(value))
    else:
        Console().print(table(value))
