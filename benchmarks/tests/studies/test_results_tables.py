"""No figure on the page is copied by hand."""

from benchmarks.studies.results_tables import PAGE, rewritten, tables


def test_the_page_s_tables_of_gains_are_those_of_the_studies_files() -> None:
    text = PAGE.read_text()
    assert {header: text.count(f"{header}\n") for header in tables()} == dict.fromkeys(tables(), 1)
    assert rewritten(text) == text, "write them again: python -m benchmarks.studies.results_tables"
