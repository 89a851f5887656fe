"""Text formats read line by line: sequences, pairs, and tables without header and quotes, of any separator.

Comes in: a plain text file, with or without a byte order mark, LF or CR LF. Goes out: a `Raw`. Nothing is checked here
beyond the shape of a line; `readers` turns faults into errors.
"""

import polars as pl

from rsir_scale.data.asked import Asked, Part
from rsir_scale.data.columns import Columns, resolve
from rsir_scale.data.raw import FIXED, LINE, Raw, raw_columns
from rsir_scale.errors import InputError, shown

REVIEW_FIELDS = ("user", "item", "rating", "timestamp")
SEPARATORS = (",", "\t", ";", "|")
_TEXT = "text"
_FIELDS = "fields"
_SAMPLE_ROWS = 50


def scan_sequences(part: Part, asked: Asked) -> Raw:
    """`user item item …` a line, oldest first; item ids must be integers, and stay the text that they were."""
    rows = lines_of(part).with_columns(_words()).filter(pl.col(_FIELDS).list.len() > 1)
    items = rows.select(
        LINE, pl.col(_FIELDS).list.first().alias("user"), pl.col(_FIELDS).list.slice(1).alias("item")
    ).explode("item")
    integer = pl.col("item").str.contains(r"^[+-]?[0-9]+$")
    fault = (
        "item id "
        + _quoted(pl.col("item"))
        + " is not an integer: renumber the items, or use --format pairs with one `user item` a line"
    )
    found = raw_columns(
        user=pl.col("user"), item=pl.col("item"), time=None, asked=asked, fault=_fault_unless(integer, fault)
    )
    return Raw(items.select(*found, LINE), FIXED)


def scan_pairs(part: Part, asked: Asked) -> Raw:
    """`user item` a line, oldest first; ids are any text without blanks."""
    fault = (
        pl.lit("'") + pl.col(_TEXT).str.slice(0, 80) + "' is not `user item`: use another --format for other columns"
    )
    found = raw_columns(
        user=_field(0), item=_field(1), time=None, asked=asked, fault=_fault_unless(_has_fields(2), fault)
    )
    return Raw(lines_of(part).with_columns(_words()).select(*found, LINE), FIXED)


def scan_four_fields(part: Part, asked: Asked, separator: str) -> Raw:
    """`user,item,rating,timestamp` a line under any separator, no header."""
    form = separator.join(REVIEW_FIELDS)
    fault = _quoted(pl.col(_TEXT)) + f" is not `{form}`: use --format csv for other columns"
    rows = lines_of(part).with_columns(pl.col(_TEXT).str.split(separator).alias(_FIELDS))
    names = [_field(place).alias(name) for place, name in enumerate(REVIEW_FIELDS)]
    table = rows.select(LINE, *names, _fault_unless(_has_fields(4), fault).alias("odd"))
    found = raw_columns(
        user=pl.col("user"),
        item=pl.col("item"),
        time=None if asked.no_times else pl.col("timestamp"),
        asked=asked,
        fault=pl.col("odd"),
    )
    return Raw(table.select(*found, LINE), FIXED)


def scan_positions(part: Part, asked: Asked, separator: str) -> Raw:
    """A table without header and quotes; columns are called by position, from 1. A blank stands for several."""
    split = _words() if separator == " " else pl.col(_TEXT).str.split(separator).alias(_FIELDS)
    rows = lines_of(part).with_columns(split)
    sample = rows.head(_SAMPLE_ROWS).select(_FIELDS).collect()[_FIELDS].to_list()
    width = max((len(fields) for fields in sample), default=0)
    values = {str(n + 1): [fields[n] for fields in sample if n < len(fields)] for n in range(width)}
    present = [*values, *part.constants]
    columns = resolve(asked, present, part.name, rows=values)
    _refuse_header(sample, columns, part)
    needed = {name: _field(int(name) - 1) for name in columns.names() if name in values}
    least = max((int(name) for name in needed), default=1)
    fault = _quoted(pl.col(_TEXT)) + f" has fewer than {least} columns: check the positions, or take it out"
    constants = [pl.lit(value).alias(name) for name, value in part.constants.items()]
    odd = _fault_unless(pl.col(_FIELDS).list.len() >= least, fault).alias("odd")
    table = rows.select(LINE, odd, *constants, *[field.alias(name) for name, field in needed.items()])
    found = raw_columns(
        user=pl.col(columns.user),
        item=pl.col(columns.item),
        time=None if columns.time is None else pl.col(columns.time),
        asked=asked,
        fault=pl.col("odd"),
    )
    return Raw(table.select(*found, LINE), columns)


def first_line(part: Part) -> str:
    """The first line that is not blank; empty where there is none."""
    found = lines_of(part).head(1).collect(engine="streaming")
    return str(found[_TEXT].item()) if found.height else ""


def separator_of(line: str) -> str:
    """What separates the fields of a line: `::`, the most frequent of `SEPARATORS`, or blanks."""
    if "::" in line:
        return "::"
    most = max(SEPARATORS, key=line.count)
    return most if most in line else " "


def lines_of(part: Part) -> pl.LazyFrame:
    """Lines that are not blank, without blanks around them, numbered from 1."""
    lines = pl.scan_lines(str(part.path), name=_TEXT, row_index_name=LINE, row_index_offset=1, glob=False)
    # A byte order mark can only open a file; taking it off every line spares a special case.
    clean = pl.col(_TEXT).str.strip_prefix("\ufeff").str.strip_chars("\r\n ")
    return lines.select(pl.col(LINE).cast(pl.Int64), clean).filter(pl.col(_TEXT).str.strip_chars() != "")


def _refuse_header(sample: list[list[str]], columns: Columns, part: Part) -> None:
    """A header read as an interaction would be a user of its own; where times are used it shows at once."""
    if columns.time is None and len(sample) > 1 and columns.user.isdigit():
        first, second = (row[int(columns.user) - 1] for row in sample[:2])
        if second.strip().isdigit() and not first.strip().lstrip("-").isdigit():
            raise InputError(
                f"{part.name} begins with {shown(first)} where later lines have numbers, as a header does: leave "
                "--no-header out, and name the columns"
            )


def _field(place: int) -> pl.Expr:
    return pl.col(_FIELDS).list.get(place, null_on_oob=True).str.strip_chars()


def _has_fields(count: int) -> pl.Expr:
    return pl.col(_FIELDS).list.len() == count


def _words() -> pl.Expr:
    # A carriage return within a line is no blank: two lines would be read as one.
    return pl.col(_TEXT).str.extract_all(r"(?:\S|\r)+").alias(_FIELDS)


def _fault_unless(good: pl.Expr, fault: pl.Expr) -> pl.Expr:
    return pl.when(~good).then(fault).otherwise(None)


def _quoted(text: pl.Expr) -> pl.Expr:
    return pl.lit("'") + text.str.slice(0, 80) + "'"
