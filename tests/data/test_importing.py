"""Logs in the forms that people have: each gives the right dataset, or is refused with a way out that works."""

import bz2
import gzip
import io
import lzma
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from rsir_scale.data.asked import Asked
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.importing import Imported, import_files
from rsir_scale.data.where import conditions
from rsir_scale.errors import InputError
from rsir_scale.storage.opening import open_store
from tests.data.logs import read

USERS, ITEMS = 4, 5
ROWS = [(user, (user + 2 * step) % ITEMS, 1_400_000_000 + 997 * step) for step in (3, 1, 0, 2) for user in range(USERS)]
CSV = Asked("csv")
HEADER = "user_id,item_id,timestamp"


def lines(form: str = "u{u},i{i},{t}", header: str = HEADER) -> str:
    made = [form.format(u=u, i=i, t=t, d=datetime.fromtimestamp(t, UTC), n=n) for n, (u, i, t) in enumerate(ROWS)]
    return "\n".join([*([header] if header else []), *made, ""])


def bring(folder: Path, asked: Asked = CSV, *, name: str = "log", split: str = "leave-one-out", k: int = 0) -> Imported:
    out = folder / f"out-{len(list(folder.iterdir()))}"
    return import_files(folder / name, out, asked, min_count=k, max_length=50, duplicates="keep", split=split)


def put(folder: Path, body: str | bytes, name: str = "log") -> Path:
    path = folder / name
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return path


@pytest.fixture
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("reference")
    put(folder, lines())
    return bring(folder).meta.fingerprint


def zipped(text: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", text)
        archive.writestr("__MACOSX/._log.csv", "rubbish")
    return held.getvalue()


FORMS: dict[str, tuple[str, Asked]] = {
    "a time column of another name": (lines(header="user_id,item_id,ts"), replace(CSV, time="ts")),
    "ISO dates": (lines("u{u},i{i},{d:%Y-%m-%dT%H:%M:%SZ}"), CSV),
    "zones": (lines("u{u},i{i},{d:%Y-%m-%d %H:%M:%S}+00:00"), CSV),
    "day first": (lines("u{u},i{i},{d:%d.%m.%Y %H:%M:%S}"), replace(CSV, time_format="%d.%m.%Y %H:%M:%S")),
    "milliseconds": (lines("u{u},i{i},{t}000"), CSV),
    "blanks around ids": (lines("u{u} ,  i{i},{t}"), CSV),
    "JSON lines": (
        lines('{{"who": "u{u}", "what": "i{i}", "at": {t}, "more": ["x"]}}', ""),
        Asked("jsonl", user="who", item="what", time="at"),
    ),
    "no header": (lines("u{u}\t{t}\ti{i}", ""), replace(CSV, header=False, user="1", item="3", time="2")),
    "a header that comes again": (lines().replace("\n", f"\n{HEADER}\n", 3), CSV),
    "one event of two": (
        "".join(f"{line},{event}\n" for line in lines().splitlines() for event in ("buy", "view"))
        .replace(f"{HEADER},buy\n{HEADER},view\n", f"{HEADER},event\n"),
        replace(CSV, where=conditions(["event=buy"])),
    ),
    "junk that is skipped": (lines() + ",i2,1\nu3,i3,soon\nu4\n", replace(CSV, skip_bad_rows=True)),
    "ids that stand for none": (lines() + "nan,i2,1400000000\n", replace(CSV, missing_ids=("nan",))),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_form_gives_the_dataset_of_the_plain_one(tmp_path: Path, reference: str, form: str) -> None:
    text, asked = FORMS[form]
    put(tmp_path, text)
    assert bring(tmp_path, asked).meta.fingerprint == reference


PACKED: dict[str, Callable[[str], bytes]] = {
    "gzip": lambda text: gzip.compress(text.encode()),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "zstd": lambda text: pa.compress(text.encode(), "zstd", asbytes=True),
    "ZIP": zipped,
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_log_is_the_plain_one(tmp_path: Path, reference: str, kind: str) -> None:
    put(tmp_path, PACKED[kind](lines()))
    assert bring(tmp_path).meta.fingerprint == reference


def test_a_folder_and_a_glob_of_parts_are_one_log(tmp_path: Path, reference: str) -> None:
    (tmp_path / "log").mkdir()
    header, *rows = lines().splitlines()
    for part in range(2):
        put(tmp_path / "log", "\n".join([header, *rows[8 * part : 8 * part + 8], ""]), f"part-{part}.csv")
    put(tmp_path / "log", b"", "_SUCCESS")
    assert bring(tmp_path).meta.fingerprint == reference
    assert bring(tmp_path, name="log/part-*.csv").meta.fingerprint == reference


def test_folders_that_name_a_value_are_columns_of_parquet(tmp_path: Path) -> None:
    for day in (2, 1):
        (tmp_path / f"log/day=2024-01-0{day}").mkdir(parents=True)
        part = pl.DataFrame({"user_id": ["u"] * 2, "item_id": [2 * day, 2 * day + 1]})
        part.write_parquet(tmp_path / f"log/day=2024-01-0{day}/part.parquet")
    asked = Asked("parquet", time="day")
    assert read("parquet", tmp_path / "log", time="day").frame.collect()["item_id"].to_list() == ["2", "3", "4", "5"]
    with pytest.raises(InputError, match="'day' looks like times"):
        bring(tmp_path, replace(asked, time=None))
    chosen = replace(asked, where=conditions(["day>=2024-01-02"]))
    assert bring(tmp_path, chosen).meta.interactions == 2


REFUSED: dict[str, tuple[str, Asked, tuple[str, ...]]] = {
    "a time column that is not spoken of": (
        lines(header="user_id,item_id,created_at"), CSV, ("'created_at' looks like times", "--no-times")
    ),
    "times under a name that says nothing": (lines(header="user_id,item_id,x"), CSV, ("'x' looks like times",)),
    "no header": (lines(header=""), CSV, ("not a header", "--no-header")),
    "the item first": (lines("B00000000{i},A00000000000{u},5.0,{t}", ""), Asked("amazon-csv"),
                       ("has the item first", "--layout amazon-2018", "--layout amazon-2014")),
    "two units": (lines().replace("1400000997", "1400000997000"), CSV, ("seconds", "milliseconds", "--no-times")),
    "junk": (lines() + ",i2,1\nu3,i3,soon\n", CSV, ("line 18: user_id", "line 19", "2 bad rows", "--skip-bad-rows")),
    "a time format that fits no row": (lines(), replace(CSV, time_format="%d.%m.%Y"), ("--time-format %d.%m.%Y",)),
    "a condition on no column": (lines(), replace(CSV, where=conditions(["event=buy"])), ("no column 'event'",)),
    "a condition that no row meets": (lines(), replace(CSV, where=conditions(["item_id=x"])), ("no row of 16",)),
    "a JSON list": ('[{"user_id": 1}]\n', Asked("jsonl"), ("one JSON list", "jq")),
    "no format at all": (lines(header="visitorid,itemid,timestamp"), Asked(""), ("--layout retailrocket",)),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    text, asked, says = REFUSED[case]
    put(tmp_path, text)
    with pytest.raises(InputError) as caught:
        bring(tmp_path, asked)
    assert [word for word in says if word not in str(caught.value)] == []
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_the_advice_about_a_time_column_works_when_followed(tmp_path: Path) -> None:
    put(tmp_path, lines(header="user_id,item_id,created_at"))
    with pytest.raises(InputError) as caught:
        bring(tmp_path)
    words = shlex.split(str(caught.value).replace("'", ""))
    assert words[words.index("--time-column") + 1] == "created_at"
    assert bring(tmp_path, replace(CSV, time="created_at")).meta.has_times
    assert not bring(tmp_path, replace(CSV, no_times=True)).meta.has_times


def test_what_may_surprise_is_told(tmp_path: Path) -> None:
    put(tmp_path, lines("{u}.0,{i},1.4E+09") + "nan,2,1400000000\n")
    said = " ".join(bring(tmp_path).notes)
    for words in ("such as 0.0", "--missing-ids nan", "1.4E+09", "ties: 4 of 5 users"):
        assert words in said


def test_skipped_rows_are_listed_with_their_reasons_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    put(tmp_path, lines() + ",i2,1\nu3,i3,soon\n")
    imported = bring(tmp_path, replace(CSV, skip_bad_rows=True))
    (out,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert pl.read_csv(out / "skipped.csv")["line"].to_list() == [18, 19]
    assert imported.meta.log is not None
    assert (imported.meta.log.read, imported.meta.log.kept) == (18, 16)
    assert imported.meta.log.dropped == {"no time": 1, "user_id missing or too long": 1}
    assert sum(int(str(step["rows"])) for step in imported.steps[:-1]) == 16


def test_a_split_by_time_trains_on_nothing_that_came_after(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [(f"u{rng.integers(12)}", f"i{rng.integers(9)}", 1_400_000_000 + 86_400 * n) for n in range(200)]
    put(tmp_path, "\n".join([HEADER, *(f"{u},{i},{t}" for u, i, t in rows), ""]))
    bring(tmp_path, split="time:0.25")
    (out,) = (path for path in tmp_path.iterdir() if path.is_dir())
    data = open_dataset(out)
    boundary = sorted(t for _, _, t in rows)[150]
    assert data.training_times().max() < boundary
    held, users, items = data.held_out(), data.user_ids(), data.item_ids()
    for row, user in enumerate(users):
        before = [i for u, i, t in rows if u == user and t < boundary]
        after = [i for u, i, t in rows if u == user and t >= boundary]
        assert [items[item - 1] for item in data.training_sequences().row(row)] == before[-50:]
        found = [items[item - 1] for item in (held.validation[row], held.test[row]) if item]
        assert found == (after[:2] if len(after) >= 2 else [])


def test_given_splits_are_kept(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for name, rows in {"train": ["u,a,1", "u,b,2", "v,a,9", "v,b,8"], "valid": ["u,a,3"], "test": ["u,b,0"]}.items():
        put(tmp_path / "log", "\n".join([HEADER, *rows, ""]), f"{name}.csv")
    bring(tmp_path, split="given")
    (out,) = (path for path in tmp_path.iterdir() if path.name.startswith("out"))
    data = open_dataset(out)
    held, items = data.held_out(), data.item_ids()
    assert [[items[item - 1] for item in data.training_sequences().row(row)] for row in (0, 1)] == [
        ["a", "b"],
        ["b", "a"],
    ]
    assert [items[held.validation[0] - 1], items[held.test[0] - 1]] == ["a", "b"]
    assert held.test[1] == 0


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("time:2031-01-01", "leaves nothing on one side"),
        ("time:1.5", "between 0 and 1"),
        ("time:soon", "not a date"),
        ("random", "unknown"),
    ],
)
def test_a_split_that_cannot_be_is_refused(tmp_path: Path, split: str, message: str) -> None:
    put(tmp_path, lines())
    with pytest.raises(InputError, match=message):
        bring(tmp_path, split=split)


def test_ids_below_the_k_core_are_kept_apart_from_unknown_ones(tmp_path: Path) -> None:
    put(tmp_path, lines() + "rare,i1,1400000000\n")
    bring(tmp_path, k=2)
    (out,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert open_dataset(out).dropped_ids("users") == {"rare"}


TRIES = """
import sys
from pathlib import Path
from rsir_scale.cli.main import main
main(["data", "import", "--format", "parquet", sys.argv[1], "--time-column", "when", "--out", sys.argv[2]])
"""


@pytest.mark.slow
def test_a_fault_that_is_found_while_the_rest_is_unread_ends_with_exit_2_each_time(tmp_path: Path) -> None:
    count = 300_000
    frame = pl.DataFrame(
        {
            "when": pl.Series([None if k % 40_000 == 18 else k + 10**9 for k in range(count)]),
            "user_id": [None if k % 50_000 == 23 else f"u{k % 997}" for k in range(count)],
            "item_id": [k % 800 for k in range(count)],
        }
    )
    frame.write_parquet(tmp_path / "log.parquet", row_group_size=9_000)
    codes = [
        subprocess.run(
            [sys.executable, "-c", TRIES, tmp_path / "log.parquet", tmp_path / "out"], check=False
        ).returncode
        for _ in range(40)
    ]
    assert codes == [2] * 40


def test_no_reader_gives_polars_a_python_source() -> None:
    """Its threads may still be in one when the process leaves, and the interpreter then aborts with exit code 134."""
    package = Path(__file__).resolve().parents[2] / "rsir_scale"
    callers = [path for path in package.rglob("*.py") if "register_io_source" in path.read_text(encoding="utf-8")]
    assert callers == []


def test_an_object_and_a_prefix_of_parts_are_read_from_a_bucket(tmp_path: Path, bucket: str, reference: str) -> None:
    store = open_store(f"{bucket}/logs")
    header, *rows = lines().splitlines()
    store.put("whole.csv.gz", gzip.compress(lines().encode()))
    for part in range(2):
        store.put(f"parts/{part}.csv", "\n".join([header, *rows[8 * part : 8 * part + 8], ""]).encode())
    for place, name in enumerate(("whole.csv.gz", "parts")):
        imported = import_files(
            f"{bucket}/logs/{name}",
            tmp_path / str(place),
            CSV,
            min_count=0,
            max_length=50,
            duplicates="keep",
            split="leave-one-out",
        )
        assert imported.meta.fingerprint == reference
