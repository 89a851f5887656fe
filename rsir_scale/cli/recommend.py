"""`rsir recommend`: the best items for users of the log, or for sessions from a file."""

from pathlib import Path
from typing import Annotated

import typer

from rsir_scale.cli.showing import shown_progress
from rsir_scale.errors import InputError, shown
from rsir_scale.runs.begun import run_to_load
from rsir_scale.storage.opening import open_store

IdFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Item ids, one a line.")]


def recommend(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or its address.")],
    out: Annotated[str, typer.Option(help="File to write; must not exist.")],
    top: Annotated[int, typer.Option(help="Items a user.")] = 10,
    users: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of user ids, one a line; default all.")
    ] = None,
    sessions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Sessions in place of users: CSV, Parquet, JSON lines or text."),
    ] = None,
    unknown: Annotated[
        str, typer.Option(help="Of ids that the dataset lacks: refuse, or skip and list them beside the output.")
    ] = "refuse",
    allow: IdFile = None,
    deny: IdFile = None,
    iteration: Annotated[int | None, typer.Option(metavar="I", help="Which iteration; default the best.")] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="The class of your own that the run was made with.")
    ] = None,
) -> None:
    """Write each user's or session's best unseen items, by default from the iteration with the best validation."""
    from rsir_scale.outputs.recommend import recommend as write
    from rsir_scale.outputs.recommend import skipped_beside
    from rsir_scale.outputs.requests import read_ids, read_sessions

    if unknown not in ("refuse", "skip"):
        raise InputError(f"--unknown {shown(unknown)} is neither refuse nor skip: give one of them")
    stored = run_to_load(open_store(run_dir), backbone)
    asked_users = None if users is None else read_ids(users, "--users")
    asked_sessions = None if sessions is None else read_sessions(sessions)
    allowed = None if allow is None else read_ids(allow, "--allow")
    denied = [] if deny is None else read_ids(deny, "--deny")
    with shown_progress() as tell:
        written = write(
            stored,
            top=top,
            out=out,
            users=asked_users,
            sessions=asked_sessions,
            unknown="skip" if unknown == "skip" else "refuse",
            allow=allowed,
            deny=denied,
            iteration=iteration,
            tell=tell,
        )
    if skipped_beside(out).exists():
        typer.echo(f"skipped ids: {skipped_beside(out)}", err=True)
    typer.echo(str(written), err=True)
