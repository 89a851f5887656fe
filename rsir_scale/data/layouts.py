"""Layouts of public data sets by name: which reader, which columns, whether there is a header.

Comes in: a name, or the columns that a file has. Goes out: a `Layout`, which settles what the user would otherwise say
with `--format`, `--no-header` and the column options. A further one is a line of the table; docs/layouts.md says where
each is described.
"""

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rsir_scale.data.asked import Asked
from rsir_scale.errors import InputError, shown

_LINE_BYTES = 1 << 16


@dataclass(frozen=True)
class Layout:
    """How a public data set is written.

    Attributes:
        log_format: its reader.
        user: name of the column of users, or its position from 1 where there is no header.
        item: likewise of items.
        time: likewise of times; None where it has none.
        header: whether the first row names the columns.
        separator: of a text table; None: found in its first line.
        quoted: whether fields may be quoted.
        time_format: as for `strptime`; None: numbers or ISO-8601.
    """

    log_format: str
    user: str
    item: str
    time: str | None
    header: bool = True
    separator: str | None = None
    quoted: bool = True
    time_format: str | None = None


def _bare(user: int, item: int, time: int | None, separator: str, *, time_format: str | None = None) -> Layout:
    """A text table without header and quotes."""
    position = None if time is None else str(time)
    return Layout("csv", str(user), str(item), position, False, separator, False, time_format)


_TWITTER = "%a %b %d %H:%M:%S %z %Y"
LAYOUTS: dict[str, Layout] = {
    "amazon-2014": _bare(1, 2, 4, ","),
    "amazon-2018": _bare(2, 1, 4, ","),
    "amazon-2018-json": Layout("jsonl", "reviewerID", "asin", "unixReviewTime"),
    "amazon-2023": Layout("jsonl", "user_id", "parent_asin", "timestamp"),
    "amazon-2023-csv": Layout("csv", "user_id", "parent_asin", "timestamp"),
    "anime": Layout("csv", "user_id", "anime_id", None),
    "beeradvocate": Layout("csv", "review_profilename", "beer_beerid", "review_time"),
    "book-crossing": Layout("csv", "User-ID", "ISBN", None),
    "brightkite": _bare(1, 5, 2, "\t"),
    "diginetica": Layout("csv", "sessionId", "itemId", "timeframe", separator=";"),
    "dunnhumby": Layout("csv", "household_key", "PRODUCT_ID", "DAY"),
    "epinions": _bare(1, 2, None, " "),
    "foursquare": _bare(1, 2, 8, "\t", time_format=_TWITTER),
    "foursquare-global": _bare(1, 2, 3, "\t", time_format=_TWITTER),
    "globo": Layout("csv", "user_id", "click_article_id", "click_timestamp"),
    "goodreads": Layout("jsonl", "user_id", "book_id", "date_added", time_format=_TWITTER),
    "google-local": Layout("jsonl", "user_id", "gmap_id", "time"),
    "gowalla": _bare(1, 5, 2, "\t"),
    "h-and-m": Layout("csv", "customer_id", "article_id", "t_dat"),
    "hetrec-lastfm": Layout("csv", "userID", "artistID", None, separator="\t", quoted=False),
    "jdata": Layout("csv", "user_id", "sku_id", "time"),
    "kuairand": Layout("csv", "user_id", "video_id", "time_ms"),
    "kuairec": Layout("csv", "user_id", "video_id", "timestamp"),
    "lastfm-1k": _bare(1, 6, 2, "\t"),
    "lastfm-360k": _bare(1, 3, None, "\t"),
    "lfm-1b": _bare(1, 4, 5, "\t"),
    "modcloth": Layout("csv", "user_id", "item_id", "timestamp"),
    "movielens-1m": _bare(1, 2, 4, "::"),
    "movielens-20m": Layout("csv", "userId", "movieId", "timestamp"),
    "movietweetings": _bare(1, 2, 4, "::"),
    "online-retail": Layout("csv", "CustomerID", "StockCode", "InvoiceDate", time_format="%m/%d/%Y %H:%M"),
    "recipes": Layout("csv", "user_id", "recipe_id", "date"),
    "rees46": Layout("csv", "user_id", "product_id", "event_time"),
    "retailrocket": Layout("csv", "visitorid", "itemid", "timestamp"),
    "steam": Layout("jsonl", "username", "product_id", "date"),
    "steam-200k": Layout("csv", "1", "2", None, header=False, separator=","),
    "ta-feng": Layout("csv", "CUSTOMER_ID", "PRODUCT_ID", "TRANSACTION_DT", time_format="%m/%d/%Y"),
    "taobao": _bare(1, 2, 5, ","),
    "tmall": Layout("csv", "user_id", "item_id", "time_stamp"),
    "trivago": Layout("csv", "session_id", "reference", "timestamp"),
    "twitch": _bare(1, 3, 4, ","),
    "yelp": Layout("jsonl", "user_id", "business_id", "date"),
    "yoochoose": _bare(1, 3, 2, ","),
}


def asked_by_layout(name: str, asked: Asked) -> Asked:
    """Fill in what a layout settles; what the user said stands.

    Raises:
        InputError: no layout is called so, or another format was given with it.
    """
    layout = LAYOUTS.get(name)
    if layout is None:
        near = difflib.get_close_matches(name, LAYOUTS, n=1)
        guess = f": did you mean {near[0]}?" if near else ":"
        raise InputError(f"--layout {shown(name)} is unknown{guess} the known ones are {', '.join(LAYOUTS)}")
    if asked.log_format not in ("", layout.log_format):
        raise InputError(
            f"--layout {name} is read as {layout.log_format}, and --format is {asked.log_format}: leave --format out"
        )
    no_times = asked.no_times or (layout.time is None and asked.time is None)
    return replace(
        asked,
        log_format=layout.log_format,
        user=asked.user or layout.user,
        item=asked.item or layout.item,
        time=None if no_times else asked.time or layout.time,
        no_times=no_times,
        time_format=asked.time_format or layout.time_format,
        header=layout.header,
        separator=layout.separator,
        quoted=layout.quoted,
        layout=name,
    )


def like(present: Sequence[str], log_format: str | None = None) -> str | None:
    """The first layout, of a format or of any, whose columns are all there; None where no layout has them by name."""
    for name, layout in LAYOUTS.items():
        columns = {column for column in (layout.user, layout.item, layout.time) if column is not None}
        if layout.header and log_format in (None, layout.log_format) and columns <= set(present):
            return name
    return None


def recognised(source: str | Path) -> str | None:
    """The layout that a local text file's first line shows, by its columns or keys; None where it shows none."""
    path = Path(source)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        line = file.readline(_LINE_BYTES).decode(errors="replace").strip().lstrip("\ufeff")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        names = [name.strip().strip('"') for name in re.split(r"[,;\t|]", line)]
        return like(names, "csv")
    return like(list(found), "jsonl") if isinstance(found, dict) else None
