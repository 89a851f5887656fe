"""No figure on the pages is copied by hand."""

from benchmarks.studies.results_tables import rewritten, tables


def test_the_pages_tables_of_gains_are_those_of_the_studies_files() -> None:
    for page, header in tables():
        assert page.read_text().count(f"{header}\n") == 1, header
        assert rewritten(page) == page.read_text(), "write them again: python -m benchmarks.studies.results_tables"
