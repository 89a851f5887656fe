"""Hostile prepared datasets: whoever reads one refuses what an import does not write."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hostile.attack import assert_refused, call, held
from tests.hostile.damage import Damage, bytes_of, cut, edited, folder_for, linked, moved_out, pipe_for, put
from tests.loop.tiny_run import ITEMS, USERS, tiny_run

META, TRAIN, HELDOUT = "dataset.json", "train/part-00000.parquet", "heldout/part-00000.parquet"
CONFIG = "data: {{path: {data}, max_length: 8}}\nmodel: {{width: 16}}\ntraining: {{loss: cross_entropy}}\n"
# Only dataset.json, its files' columns, the held-out items, or all of it is read.
STATS, PLAN, EVALUATE, EXPORT, RECOMMEND = "stats", "plan", "evaluate", "export", "recommend"


def _column(key: str, name: str, change: Callable[[pa.ChunkedArray], object]) -> Damage:
    """Put another column in the place of one."""

    def damage(folder: Path) -> None:
        table = pq.read_table(folder / key)
        place = table.column_names.index(name)
        column = change(table.column(name))
        pq.write_table(table.set_column(place, name, column), folder / key)

    return damage


def _first_list(values: list[object], kind: pa.DataType) -> Callable[[pa.ChunkedArray], object]:
    return lambda column: pa.array([values, *column.to_pylist()[1:]], kind)


def _first(value: object) -> Callable[[pa.ChunkedArray], object]:
    return lambda column: pa.array([value, *column.to_pylist()[1:]], column.type)


LISTS = pa.list_(pa.int32())
READ_ALL = (PLAN, EVALUATE, EXPORT, RECOMMEND)
Case = tuple[Damage, tuple[str, ...], tuple[str, ...]]
METAS: dict[str, Case] = {
    f"dataset.json: {name}": (damage, (STATS, PLAN, EXPORT), named)
    for name, damage, named in (
        ("missing", lambda folder: (folder / META).unlink(), ("no dataset.json",)),
        ("empty", bytes_of(META, b""), ("JSON",)),
        ("cut", cut(META), ("JSON",)),
        ("Latin-1", bytes_of(META, b'{"a": "\xe9"}'), ("JSON",)),
        ("UTF-16", bytes_of(META, "{}".encode("utf-16")), ("JSON",)),
        ("NUL", bytes_of(META, b"\0" * 50), ("JSON",)),
        ("brackets without end", bytes_of(META, b"[" * 100_000), ("JSON",)),
        ("a list", bytes_of(META, b"[]"), ("format_version None",)),
        ("a version of tomorrow", edited(META, put("format_version", value=2)), ("format_version 2",)),
        ("a version that is a text", edited(META, put("format_version", value="x" * 10**5)), ("'xxx",)),
        ("no users", edited(META, put("users", value=0)), ("users=0",)),
        ("users beyond all", edited(META, put("users", value=10**15)), ("1000000000000000",)),
        ("items beyond all", edited(META, put("items", value=10**15)), ("1000000000000000",)),
        ("a negative count", edited(META, put("training_pairs", value=-1)), ("training_pairs=-1",)),
        ("NaN", edited(META, put("density", value=float("nan"))), ("density=nan",)),
        ("a text for a number", edited(META, put("users", value="many")), ("users='many'",)),
        ("an unknown key", edited(META, put("surprise", value=1)), ("surprise",)),
        ("no files", edited(META, put("files", value=[])), ("rows",)),
        ("a file twice", edited(META, lambda meta: meta["files"].append(meta["files"][0])), ("rows",)),
        ("a file outside", edited(META, put("files", 0, "path", value="../x.parquet")), ("../x.parquet",)),
        ("a file at an absolute path", edited(META, put("files", 0, "path", value="/etc/passwd")), ("/etc/passwd",)),
        ("a file with NUL", edited(META, put("files", 0, "path", value="a\0b")), (r"a\x00b",)),
        ("a file that is not there", edited(META, put("files", 0, "path", value="train/x")), ("train/x",)),
        ("a hash that is none", edited(META, put("files", 0, "sha256", value="x")), ("files.0.sha256='x'",)),
        ("a link out of the dataset", moved_out(META), ("symbolic link",)),
        ("a link to a device", linked(META, "/dev/zero"), ("symbolic link",)),
        ("a folder", folder_for(META), ("a folder",)),
        ("a pipe", pipe_for(META), ("a pipe",)),
    )
}
FILES: dict[str, Case] = {
    f"{key}: {name}": (damage, commands, (key,))
    for key, commands in ((TRAIN, READ_ALL), ("items.parquet", (EXPORT, RECOMMEND)), (HELDOUT, (EVALUATE, RECOMMEND)))
    for name, damage in (
        ("empty", bytes_of(key, b"")),
        ("cut", cut(key)),
        ("rubbish", bytes_of(key, b"PAR1" + b"x" * 500 + b"PAR1")),
        ("no rows", lambda folder, key=key: pq.write_table(pq.read_table(folder / key).slice(0, 0), folder / key)),
        ("other columns", lambda folder, key=key: pq.write_table(pa.table({"a": [1]}), folder / key)),
        ("a link out of the dataset", moved_out(key)),
        ("a folder", folder_for(key)),
    )
}
ROWS: dict[str, Case] = {
    name: (_column(key, column, change), commands, (key.split("/")[-1], *named))
    for name, key, column, change, commands, named in (
        ("an item of 0", TRAIN, "items", _first_list([0, 1], LISTS), READ_ALL, ("holds 0", f"1..{ITEMS}")),
        ("a negative item", TRAIN, "items", _first_list([-5, 1], LISTS), READ_ALL, ("holds -5",)),
        ("an item beyond", TRAIN, "items", _first_list([1, 10**9], LISTS), READ_ALL, ("holds 1000000000",)),
        ("an item that is null", TRAIN, "items", _first_list([None, 1], LISTS), READ_ALL, ("'items'", "null")),
        ("a row that is null", TRAIN, "items", _first(None), READ_ALL, ("'items'", "null")),
        ("items as floats", TRAIN, "items", lambda column: column.cast(pa.list_(pa.float64())), READ_ALL, ("double",)),
        ("items as text", TRAIN, "items", lambda column: column.cast(pa.list_(pa.string())), READ_ALL, ("string",)),
        ("items as numbers", TRAIN, "items", lambda column: pa.array([1] * USERS), READ_ALL, ("int64",)),
        ("items in lists of lists", TRAIN, "items", lambda column: pa.array([[[1]]] * USERS), READ_ALL, ("list",)),
        ("a negative id", TRAIN, "sequence_id", _first(-1), READ_ALL, ("holds -1",)),
        ("an id beyond", TRAIN, "sequence_id", _first(10**15), READ_ALL, ("holds 1000000000000000",)),
        ("an id that is null", TRAIN, "sequence_id", _first(None), READ_ALL, ("'sequence_id'", "null")),
        ("ids as text", TRAIN, "sequence_id", lambda column: column.cast(pa.string()), READ_ALL, ("string",)),
        ("times as text", TRAIN, "times", lambda column: column.cast(pa.list_(pa.string())), (EXPORT,), ("string",)),
        ("a time that is null", TRAIN, "times", _first(None), (EXPORT,), ("'times'", "null")),
        ("a held-out item beyond", HELDOUT, "test_item", _first(10**6), (EVALUATE, RECOMMEND), ("holds 1000000",)),
        ("a held-out item that is null", HELDOUT, "test_item", _first(None), (EVALUATE, RECOMMEND), ("null",)),
        ("a negative held-out item", HELDOUT, "validation_item", _first(-2), (EVALUATE, RECOMMEND), ("holds -2",)),
        ("item ids that are null", "items.parquet", "item_id", _first(None), (EXPORT, RECOMMEND), ("null",)),
        ("item ids as numbers", "items.parquet", "item_id", lambda c: pa.array(range(ITEMS)), (EXPORT,), ("int64",)),
        ("user ids as bytes", "users.parquet", "user_id", lambda c: c.cast(pa.binary()), (EXPORT,), ("binary",)),
    )
} | {
    "ids out of order": (
        _column(TRAIN, "sequence_id", lambda column: pa.array(np.arange(USERS)[::-1].copy())),
        (PLAN, EVALUATE, RECOMMEND),
        ("in order",),
    ),
    "one id twice": (_column(TRAIN, "sequence_id", _first(1)), (PLAN, EVALUATE, RECOMMEND), ("in order",)),
}
CASES = METAS | FILES | ROWS


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("damage", "commands", "named"), CASES.values(), ids=CASES)
def test_a_dataset_that_no_import_wrote_is_refused(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    damage: Damage,
    commands: tuple[str, ...],
    named: tuple[str, ...],
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    data, run = tmp_path / "data", tiny_run().copy_to(tmp_path / "run").path
    shutil.copytree(tiny_run().dataset.path, data)
    settings = (run / "run.yaml").read_text().replace(str(tiny_run().dataset.path), str(data))
    (run / "run.yaml").write_text(settings)
    (tmp_path / "config.yaml").write_text(CONFIG.format(data=data))
    damage(data)
    before = held(tmp_path)
    for command in commands:
        arguments = {
            STATS: ("data", "stats", data, "--json"),
            PLAN: ("plan", tmp_path / "config.yaml", "--json"),
            EVALUATE: ("evaluate", run, "--iteration", 0),
            EXPORT: ("export", run, "--out", tmp_path / "out.parquet"),
            RECOMMEND: ("recommend", run, "--out", tmp_path / "out.csv"),
        }[command]
        ended = call(capfd, *arguments)
        assert_refused(ended, 4 if command == EXPORT and ended.code == 4 else 2, named)
        assert held(tmp_path) == before
