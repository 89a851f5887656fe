"""`rsir analyse`: what the data, the lists and the minima of a finished run are like."""

from typing import Annotated

import typer

from rsir_scale.cli.tables import show


def analyse(
    run_dir: Annotated[
        str, typer.Argument(metavar="RUN", help="A run directory, or its address such as s3://bucket/run.")
    ],
    top: Annotated[int, typer.Option(help="Items of a list.")] = 10,
    market_seed: Annotated[
        int | None,
        typer.Option(help="Count noise, too: the --seed that `rsir data synthesize` had for the run's dataset."),
    ] = None,
    sharpness: Annotated[
        bool, typer.Option("--sharpness", help="Look around each minimum, too: minutes on a large model.")
    ] = False,
    backbone: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="The class of your own that the run was made with.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Say how dense and predictable each D_k is, and what each model's top-n lists are like."""
    from rsir_scale.analysis.report import analyse as look
    from rsir_scale.runs.begun import run_to_load
    from rsir_scale.storage.opening import open_store

    run = run_to_load(open_store(run_dir), backbone)
    show(look(run, top=top, market_seed=market_seed, sharpness=sharpness), as_json=as_json)
