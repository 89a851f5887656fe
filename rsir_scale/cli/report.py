"""`rsir report` and `rsir compare`: finished runs and studies as pages."""

from pathlib import Path
from typing import Annotated

import typer

from rsir_scale.errors import ConfigError
from rsir_scale.storage.opening import open_store

Html = Annotated[Path, typer.Option("--html", metavar="FILE", help="The page to write; one that is there is replaced.")]


def report(
    directory: Annotated[str, typer.Argument(metavar="RUN|STUDY", help="Folder or address of a run or a study.")],
    html: Html,
    titles: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV or TSV of item_id and title, for the examples of a run.")
    ] = None,
) -> None:
    """Write what a run or a study found as one HTML page."""
    from rsir_scale.report.page import write_page
    from rsir_scale.report.run_page import run_page
    from rsir_scale.report.study_page import study_page
    from rsir_scale.studies.folder import STUDY, read_study
    from rsir_scale.studies.report import report_of

    store = open_store(directory)
    if not store.exists(STUDY):
        write_page(run_page(store, titles), html)
    elif titles is None:
        write_page(study_page(report_of(read_study(store))), html)
    else:
        raise ConfigError(f"--titles {titles}: {directory} is a study, whose page shows no items: leave --titles out")
    typer.echo(str(html), err=True)


def compare(
    directories: Annotated[list[str], typer.Argument(metavar="RUN RUN…", help="Folders or addresses of runs.")],
    html: Html,
) -> None:
    """Write runs side by side as one HTML page."""
    from rsir_scale.report.comparison import comparison_page
    from rsir_scale.report.page import write_page

    write_page(comparison_page([open_store(directory) for directory in directories]), html)
    typer.echo(str(html), err=True)
