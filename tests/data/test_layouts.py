"""Every layout by name: the same interactions, written as the data set writes them, come back."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rsir_scale.data.layouts import LAYOUTS, recognised
from rsir_scale.errors import InputError
from tests.data.logs import read

# Whole days, for some layouts tell days alone; out of order, as logs are.
ROWS = [(f"A{user:012d}", f"B{item:09d}", 1_330_560_000 + 86_400 * day) for user, item, day in
        [(1, 5, 3), (2, 5, 1), (1, 7, 2), (2, 9, 4), (1, 9, 40), (2, 7, 50)]]  # fmt: skip


def at(time: int, form: str) -> str:
    return datetime.fromtimestamp(time, UTC).strftime(form)


def table(form: str, header: str = "") -> Callable[[], str]:
    """A text of one row an interaction; {u}, {i} and {t} stand for user, item and seconds, {d:…} for a date."""

    def text() -> str:
        rows = [form.format(u=u, i=i, t=t, ms=t * 1000, d=datetime.fromtimestamp(t, UTC)) for u, i, t in ROWS]
        return "\n".join([*([header] if header else []), *rows, ""])

    return text


def objects(make: Callable[[str, str, int], dict], write: Callable[[dict], str] = json.dumps) -> Callable[[], str]:
    return lambda: "".join(write(make(*row)) + "\n" for row in ROWS)


TWITTER = "%a %b %d %H:%M:%S +0000 %Y"
# One line a layout: this is a table.
# ruff: noqa: E501
TEXTS: dict[str, Callable[[], str]] = {
    "amazon-2014": table("{u},{i},5.0,{t}"),
    "amazon-2018": table("{i},{u},5.0,{t}"),
    "amazon-2018-json": objects(
        lambda u, i, t: {"overall": 5.0, "reviewerID": u, "asin": i, "style": {"Format:": "x"}, "unixReviewTime": t}
    ),
    "amazon-2023": objects(
        lambda u, i, t: {"rating": 5.0, "images": [], "asin": "x", "parent_asin": i, "user_id": u, "timestamp": t * 1000}
    ),
    "amazon-2023-csv": table("{u},{i},5.0,{ms}", "user_id,parent_asin,rating,timestamp"),
    "anime": table("{u},{i},-1", "user_id,anime_id,rating"),
    "beeradvocate": table("1,x,{t},4.0,{u},{i}", "brewery_id,brewery_name,review_time,review_overall,review_profilename,beer_beerid"),
    "book-crossing": table('"{u}";"{i}";"0"', '"User-ID";"ISBN";"Book-Rating"'),
    "brightkite": table("{u}\t{d:%Y-%m-%dT%H:%M:%SZ}\t39.7\t-104.9\t{i}"),
    "diginetica": table("{u};NA;{i};{t};2016-05-09", "sessionId;userId;itemId;timeframe;eventdate"),
    "dunnhumby": table("{u},1,{t},{i},1", "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY"),
    "epinions": table("{u} {i} 5"),
    "foursquare": table("{u}\t{i}\tc\tBar\t40.7\t-74.0\t-240\t{d:" + TWITTER + "}"),
    "foursquare-global": table("{u}\t{i}\t{d:" + TWITTER + "}\t240"),
    "globo": table("{u},1,{ms},2,{i},{ms}", "user_id,session_id,session_start,session_size,click_article_id,click_timestamp"),
    "goodreads": objects(lambda u, i, t: {"user_id": u, "book_id": i, "is_read": True, "date_added": at(t, TWITTER)}),
    "google-local": objects(lambda u, i, t: {"user_id": u, "name": "n", "time": t * 1000, "text": None, "gmap_id": i}),
    "gowalla": table("{u}\t{d:%Y-%m-%dT%H:%M:%SZ}\t30.2\t-97.7\t{i}"),
    "h-and-m": table("{d:%Y-%m-%d},{u},{i},0.05,2", "t_dat,customer_id,article_id,price,sales_channel_id"),
    "hetrec-lastfm": table("{u}\t{i}\t13883", "userID\tartistID\tweight"),
    "jdata": table("{u},{i},{d:%Y-%m-%d %H:%M:%S},,6,8,0", "user_id,sku_id,time,model_id,type,cate,brand"),
    "kuairand": table("{u},{i},20120301,1200,{ms},1", "user_id,video_id,date,hourmin,time_ms,is_click"),
    "kuairec": table("{u},{i},1,2,x,20120301,{t}.5,0.5", "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio"),
    "lastfm-1k": table('{u}\t{d:%Y-%m-%dT%H:%M:%SZ}\tmb\tA "quoted artist\ttrack\t{i}'),
    "lastfm-360k": table("{u}\t\t{i}\t12"),
    "lfm-1b": table("{u}\t1\t2\t{i}\t{t}"),
    "modcloth": table("{i},{u},4.0,{d:%Y-%m-%d %H:%M:%S}+00:00", "item_id,user_id,rating,timestamp"),
    "movielens-1m": table("{u}::{i}::5::{t}"),
    "movielens-20m": table("{u},{i},3.5,{t}", "userId,movieId,rating,timestamp"),
    "movietweetings": table("{u}::{i}::8::{t}"),
    "online-retail": table('536365,{i},"LANTERN, RED",6,{d:%m/%d/%Y %H:%M},2.55,{u},UK', "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"),
    "recipes": table('{u},{i},{d:%Y-%m-%d},4,"Great,\nagain"', "user_id,recipe_id,date,rating,review"),
    "rees46": table("{d:%Y-%m-%d %H:%M:%S} UTC,view,{i},1,,x,9.9,{u},s", "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"),
    "retailrocket": table("{ms},{u},view,{i},", "timestamp,visitorid,event,itemid,transactionid"),
    "steam": objects(lambda u, i, t: {"username": u, "product_id": i, "text": "it's", "date": at(t, "%Y-%m-%d")}, repr),
    "steam-200k": table('{u},"{i}",play,3.5,0'),
    "ta-feng": table('"{d.month}/{d.day}/{d.year}","{u}","25-29","115","1","{i}","1","1","1"', '"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT","ASSET","SALES_PRICE"'),
    "taobao": table("{u},{i},2520377,pv,{t}"),
    "tmall": table("{u},{i},833,2882,2661,{t},0", "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type"),
    "trivago": table("x,{u},{t},1,clickout item,{i}", "user_id,session_id,timestamp,step,action_type,reference"),
    "twitch": table("{u},33842865744,{i},{t},{t}"),
    "yelp": objects(lambda u, i, t: {"review_id": "r", "user_id": u, "business_id": i, "stars": 4.0, "date": at(t, "%Y-%m-%d %H:%M:%S")}),
    "yoochoose": table("{u},{d:%Y-%m-%dT%H:%M:%S}.277Z,{i},0"),
}  # fmt: skip


def test_every_layout_has_a_case() -> None:
    assert sorted(TEXTS) == sorted(LAYOUTS)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_layout_gives_the_interactions_that_were_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "log").write_text(TEXTS[name]())
    frame = read("", tmp_path / "log", layout=name).frame.collect()
    assert frame.select("user_id", "item_id").rows() == [(user, item) for user, item, _ in ROWS]
    if LAYOUTS[name].time is not None:
        order = frame.sort("time")["order"].to_list()
        assert order == sorted(range(len(ROWS)), key=lambda row: ROWS[row][2])
    else:
        assert frame["time"].null_count() == len(ROWS)


def test_a_layout_that_nobody_knows_is_refused_with_a_near_one(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x\n")
    with pytest.raises(InputError, match="did you mean yoochoose"):
        read("", tmp_path / "log", layout="youchoose")


def test_a_layout_is_recognised_by_its_columns_and_named_where_a_column_is_missing(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(TEXTS["retailrocket"]())
    assert recognised(tmp_path / "log") == "retailrocket"
    with pytest.raises(InputError, match="--layout retailrocket"):
        read("csv", tmp_path / "log")


def test_positions_beyond_the_columns_are_refused_with_their_number(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("u\ti\t1\n")
    with pytest.raises(InputError, match="has 3 columns and no header"):
        read("csv", tmp_path / "log", header=False, user="1", item="2", time="7")
