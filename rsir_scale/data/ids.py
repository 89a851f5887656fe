"""One rule for ids, in every reader: blanks around an id do not count, and a whole number is written without `.0`.

Comes in: a column of text. Goes out: the same ids by the rule. pandas writes whole numbers as `2.0` where a column has
a gap, so `2` and `2.0` are one id. Words that often stand for "no id" are counted, and left out where the user says so.
"""

from collections.abc import Sequence

import polars as pl

MISSING_WORDS = ("nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "none", "nil", "undefined", "unknown", "\\n", "-1")
MAX_ID_BYTES = 1024
_WHOLE_FLOAT = r"^([+-]?[0-9]+)\.0+$"


def clean_id(column: str) -> pl.Expr:
    """The id by the rule; null stays null."""
    return pl.col(column).str.strip_chars().str.replace(_WHOLE_FLOAT, "${1}")


def was_float(column: str) -> pl.Expr:
    """Whether the id is a whole number that is written as a float."""
    return pl.col(column).str.strip_chars().str.contains(_WHOLE_FLOAT).fill_null(False)


def is_word_for_missing(column: str) -> pl.Expr:
    """Whether a clean id is one of the words that often stand for none."""
    return pl.col(column).str.to_lowercase().is_in(MISSING_WORDS).fill_null(False)


def stands_for_none(column: str, words: Sequence[str]) -> pl.Expr:
    """Whether a clean id is one of the words that the user says stand for none."""
    return pl.col(column).is_in(list(words)).fill_null(False) if words else pl.lit(False)


def fault_of_id(column: str, name: str) -> pl.Expr:
    """What is wrong with a clean id, in words, or null. `name` is what the log calls the column."""
    size = pl.col(column).str.len_bytes().fill_null(0)
    missing = pl.lit(f"{name} is missing or empty: give it a value, or take the line out")
    long = pl.format(
        "{} '{}…' is longer than {} bytes: check --format, or give a shorter one",
        pl.lit(name),
        pl.col(column).str.slice(0, 80),
        pl.lit(MAX_ID_BYTES),
    )
    return pl.when(size == 0).then(missing).when(size > MAX_ID_BYTES).then(long)
