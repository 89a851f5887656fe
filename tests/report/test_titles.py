"""What items are called."""

from pathlib import Path

import pytest

from rsir_scale.errors import InputError
from rsir_scale.report.titles import read_titles

IDS = frozenset({"7", "08"})


@pytest.mark.parametrize(("name", "separator"), [("titles.csv", ","), ("titles.tsv", "\t")])
def test_titles_are_read_by_ids_as_text(tmp_path: Path, name: str, separator: str) -> None:
    file = tmp_path / name
    rows = [("title", "item_id", "price"), ('"A, B"', "08", "1"), ("C", "7", "2"), ("another shop's", "99", "3")]
    file.write_text("\n".join(separator.join(row) for row in rows))
    assert read_titles(file, IDS) == {"08": "A, B", "7": "C"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,title\n7,C\n", "no column item_id"),
        ("item_id,name\n7,C\n", "no column title"),
        ("item_id,title\n8,C\n", "a title for none of the dataset's 2 items"),
        ("item_id,title\n7,C\n7,D\n", "item_id '7' more than once"),
        ("", "cannot be read"),
        ("item_id,title\n7,C,D,E\n", "cannot be read"),
    ],
)
def test_titles_that_say_nothing_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "titles.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_titles(tmp_path / "titles.csv", IDS)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_titles(tmp_path / "none.csv", IDS)
