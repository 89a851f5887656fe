"""Text formats read line by line: sequences, pairs, Amazon reviews and ratings, MovieLens `.data` and `.dat`.

Comes in: a text file, plain or gzipped, with or without a byte order mark, LF or CR LF. Goes out: a lazy frame of raw
columns user_id, item_id, time (text; of type Null where there is none), line (from 1) and fault (text, null where the
line is well formed). Nothing is checked here beyond the shape of a line; `readers` turns faults into errors.
"""

import polars as pl

from rsir_scale.data.schema import ITEM_ID, TIME, USER_ID

LINE = "line"
FAULT = "fault"
REVIEW_KEYS = ("reviewerID", "asin", "unixReviewTime")
_TEXT = "text"
_FIELDS = "fields"
_NO_TIME = pl.lit(None).alias(TIME)


def scan_sequences(source: str) -> pl.LazyFrame:
    """`user item item …` a line, oldest first; item ids must be integers, and stay the text that they were."""
    rows = _lines(source).with_columns(_words()).filter(pl.col(_FIELDS).list.len() > 1)
    items = rows.select(
        LINE, pl.col(_FIELDS).list.first().alias(USER_ID), pl.col(_FIELDS).list.slice(1).alias(ITEM_ID)
    ).explode(ITEM_ID)
    integer = pl.col(ITEM_ID).str.contains(r"^[+-]?[0-9]+$")
    fault = (
        "item id "
        + _quoted(pl.col(ITEM_ID))
        + " is not an integer: renumber the items, or use --format pairs with one `user item` a line"
    )
    return items.select(USER_ID, ITEM_ID, _NO_TIME, LINE, _fault_unless(integer, fault))


def scan_pairs(source: str) -> pl.LazyFrame:
    """`user item` a line, oldest first; ids are any text without blanks."""
    rows = _lines(source).with_columns(_words())
    fault = (
        pl.lit("'") + pl.col(_TEXT).str.slice(0, 80) + "' is not `user item`: use another --format for other columns"
    )
    return rows.select(
        pl.col(_FIELDS).list.get(0, null_on_oob=True).alias(USER_ID),
        pl.col(_FIELDS).list.get(1, null_on_oob=True).alias(ITEM_ID),
        _NO_TIME,
        LINE,
        _fault_unless(pl.col(_FIELDS).list.len() == 2, fault),
    )


def scan_amazon_json(source: str) -> pl.LazyFrame:
    """One review a line, with reviewerID, asin and unixReviewTime; other keys are ignored."""
    review = pl.col(_TEXT).str.json_decode(pl.Struct(dict.fromkeys(REVIEW_KEYS, pl.String)))
    rows = _lines(source).select(LINE, review.alias("review")).unnest("review")
    return rows.select(
        pl.col("reviewerID").alias(USER_ID),
        pl.col("asin").alias(ITEM_ID),
        pl.col("unixReviewTime").alias(TIME),
        LINE,
        pl.lit(None, dtype=pl.String).alias(FAULT),
    )


def scan_amazon_csv(source: str) -> pl.LazyFrame:
    """`user,item,rating,timestamp` a line, no header."""
    return _four_fields(source, ",")


def scan_movielens_data(source: str) -> pl.LazyFrame:
    """`user item rating timestamp` a line, tab-separated, no header (MovieLens 100K)."""
    return _four_fields(source, "\t")


def scan_movielens_dat(source: str) -> pl.LazyFrame:
    """`user::item::rating::timestamp` a line."""
    return _four_fields(source, "::")


def _four_fields(source: str, separator: str) -> pl.LazyFrame:
    rows = _lines(source).with_columns(pl.col(_TEXT).str.split(separator).alias(_FIELDS))
    fields = [
        pl.col(_FIELDS).list.get(position, null_on_oob=True).str.strip_chars().alias(name)
        for position, name in ((0, USER_ID), (1, ITEM_ID), (3, TIME))
    ]
    form = separator.join(("user", "item", "rating", "timestamp"))
    fault = _quoted(pl.col(_TEXT)) + f" is not `{form}`: use --format csv for other columns"
    return rows.select(*fields, LINE, _fault_unless(pl.col(_FIELDS).list.len() == 4, fault))


def _lines(source: str) -> pl.LazyFrame:
    lines = pl.scan_lines(source, name=_TEXT, row_index_name=LINE, row_index_offset=1, glob=False)
    # A byte order mark can only open a file; taking it off every line spares a special case.
    clean = pl.col(_TEXT).str.strip_prefix("\ufeff").str.strip_chars()
    return lines.select(pl.col(LINE).cast(pl.Int64), clean).filter(pl.col(_TEXT) != "")


def _words() -> pl.Expr:
    # A carriage return within a line is no blank: two lines would be read as one.
    return pl.col(_TEXT).str.extract_all(r"(?:\S|\r)+").alias(_FIELDS)


def _fault_unless(good: pl.Expr, fault: pl.Expr) -> pl.Expr:
    return pl.when(~good).then(fault).otherwise(None).alias(FAULT)


def _quoted(text: pl.Expr) -> pl.Expr:
    return pl.lit("'") + text.str.slice(0, 80) + "'"
