"""What is exported is D_k, named and dated so that its reader can tell real from written and is told no future."""

import re
from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.config.file import resolve
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.prepare import prepare
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.errors import InputError, StorageFullError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.outputs import augmented, export_formats
from rsir_scale.outputs.augmented import AugmentedData, spread_times
from rsir_scale.outputs.export import export
from rsir_scale.outputs.staging import appearing
from rsir_scale.runs.lineage import load, training_files
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.owners import owners
from rsir_scale.storage.opening import open_store
from tests.data.logs import read
from tests.loop.tiny_run import TinyRun, interactions, tiny_dataset, tiny_run

Rows = dict[str, list[tuple[str, float]]]


def _exported(run: TinyRun, folder: Path, form: str, iteration: int | None = None) -> Path:
    return export(run, format=form, out=folder / f"market.{form}", iteration=iteration)  # type: ignore[arg-type]


def _by_user(frame: pl.DataFrame) -> Rows:
    rows: Rows = defaultdict(list)
    for user, item, time in frame.select(pl.nth(0), pl.nth(1), pl.nth(2)).iter_rows():
        rows[str(user)].append((str(item), float(time)))
    return rows


def _expected(run: TinyRun, iteration: int) -> dict[str, list[str]]:
    """D_k from the lineage, under the names that the export promises."""
    users, items = run.dataset.user_ids(), run.dataset.item_ids()
    sequences = load(run, training_files(run, iteration))
    known = owners(run, iteration)
    expected = {}
    for row, (sequence_id, user) in enumerate(zip(sequences.ids, known.of(sequences.ids), strict=True)):
        name = users[user] if sequence_id < len(users) else f"{users[user]}~{sequence_id}"
        expected[name] = [items[item - 1] for item in sequences.row(row)]
    return expected


def _items_of(rows: Rows) -> dict[str, list[str]]:
    return {user: [item for item, _ in pairs] for user, pairs in rows.items()}


def _synthetic_users(run: TinyRun, out: Path, share: float | None, iteration: int | None = None) -> set[str]:
    path = export(run, format="parquet", out=out, synthetic_share=share, iteration=iteration)
    rows = _by_user(pl.read_parquet(path))
    assert {user for user in rows if "~" not in user} == set(run.dataset.user_ids())
    return {user for user in rows if "~" in user}


def test_a_share_of_the_synthetic_sequences_is_chosen_by_their_ids(tmp_path: Path) -> None:
    run = tiny_run()
    everything = _synthetic_users(run, tmp_path / "all", None)
    shares = [0.3, 0.6, 100.0]
    taken = [_synthetic_users(run, tmp_path / f"{share}", share) for share in shares]
    assert taken[0] < taken[1] < taken[2] == everything
    for share, users in zip(shares[:2], taken, strict=False):
        wanted = share * run.dataset.meta.users
        assert wanted < len(everything)
        assert abs(len(users) - wanted) < 4 * wanted**0.5
    assert _synthetic_users(run, tmp_path / "none", 0.3, iteration=0) == set()


@cache
def _run_in_place() -> TinyRun:
    """Theta_0 and theta_1 each wrote up to two rows in place of a source."""
    dataset = tiny_dataset()
    config = resolve(
        {
            "data": {"path": str(dataset.path), "max_length": 8},
            "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 2},
            "training": {"max_epochs": 1, "batch_size": 64, "negatives": 16},
            "generation": {"augmenter": "tests.augmenters.own:ShuffledInPlace", "trials_per_sequence": 2},
            "loop": {"iterations": 2},
        }
    )
    store = open_store(Path(mkdtemp(prefix="rsir-test-")) / "run")
    with open_run(store, config, dataset) as run:
        run_recursion(run, LocalPhases())
    return TinyRun(store, dataset, config)


@pytest.mark.parametrize("iteration", [1, 2])
@pytest.mark.parametrize("share", [None, 0.01])
def test_each_user_keeps_one_sequence_whatever_was_written_in_its_place(
    tmp_path: Path, iteration: int, share: float | None
) -> None:
    run = _run_in_place()
    path = export(run, format="parquet", out=tmp_path / "x", iteration=iteration, synthetic_share=share)
    frame = pl.read_parquet(path)
    users = frame.get_column("user_id").rle().struct.field("value")
    assert users.is_unique().all()
    assert {user for user in users if "~" not in user} == set(run.dataset.user_ids())
    assert any(frame.filter(~pl.col("user_id").str.contains("~")).get_column("iteration").is_not_null())


def test_rows_in_place_of_a_source_lie_in_the_time_of_their_user(tmp_path: Path) -> None:
    run = _run_in_place()
    begins, ends = {}, {}
    for user, _, time in interactions(with_times=True):
        begins.setdefault(user, time)
        ends[user] = time
    frame = pl.read_parquet(_exported(run, tmp_path, "parquet")).filter(pl.col("iteration").is_not_null())
    spans = frame.group_by("source_user_id").agg(pl.col("timestamp").min().alias("low"), pl.max("timestamp"))
    assert len(spans) > 0
    for user, low, high in spans.iter_rows():
        # Where a user's interactions are of one time, a row begins earlier, a unit for each of its items.
        assert begins[user] - 20 < low <= high < ends[user]


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan"), float("inf")])
def test_a_share_that_is_no_positive_number_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(InputError, match=r"synthetic_share=.* is no positive number"):
        export(tiny_run(), format="csv", out=tmp_path / "out", synthetic_share=share)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("iteration", [0, 1, 2])
def test_every_format_holds_the_training_data_of_the_iteration(tmp_path: Path, iteration: int) -> None:
    run, expected = tiny_run(), _expected(tiny_run(), iteration)
    assert iteration == 0 or any("~" in user for user in expected)
    parquet = _by_user(pl.read_parquet(_exported(run, tmp_path, "parquet", iteration)))
    assert _items_of(parquet) == expected
    assert _by_user(pl.read_csv(_exported(run, tmp_path, "csv", iteration))) == parquet
    lines = _exported(run, tmp_path, "sequences", iteration).read_text().splitlines()
    assert {line.split(" ")[0]: line.split(" ")[1:] for line in lines} == expected
    folder = _exported(run, tmp_path, "recbole", iteration)
    assert _by_user(pl.read_csv(folder / "market.recbole.train.inter", separator="\t")) == parquet


def test_everything_written_is_exported_when_no_iteration_is_named(tmp_path: Path) -> None:
    run = tiny_run()
    assert _items_of(_by_user(pl.read_parquet(_exported(run, tmp_path, "parquet")))) == _expected(run, 2)


def test_synthetic_rows_name_their_source_and_iteration_and_real_ones_name_none(tmp_path: Path) -> None:
    run = tiny_run()
    frame = pl.read_parquet(_exported(run, tmp_path, "parquet"))
    written = frame.filter(pl.col("source_user_id").is_not_null())
    assert (written["user_id"].str.split("~").list.first() == written["source_user_id"]).all()
    assert set(written["iteration"].unique()) == {0, 1}
    real = frame.filter(pl.col("source_user_id").is_null())
    assert not real["user_id"].str.contains("~").any()
    assert real["iteration"].null_count() == len(real)


def test_real_users_keep_their_own_times_and_nothing_held_out_is_in_training(tmp_path: Path) -> None:
    run = tiny_run()
    frame = pl.read_parquet(_exported(run, tmp_path, "parquet"))
    log: Rows = defaultdict(list)
    for user, item, time in interactions(with_times=True):
        assert time is not None
        log[user].append((item, time))
    real = _by_user(frame.filter(pl.col("iteration").is_null()))
    assert real == {user: rows[:-2] if len(rows) > 2 else rows for user, rows in log.items()}


def test_synthetic_times_rise_strictly_and_end_before_the_source_is_held_out(tmp_path: Path) -> None:
    run = tiny_run()
    frame = pl.read_parquet(_exported(run, tmp_path, "parquet")).filter(pl.col("iteration").is_not_null())
    times_of = {}
    for user, _, time in interactions(with_times=True):
        times_of.setdefault(user, []).append(time)
    beyond_training = []
    for name, rows in _by_user(frame).items():
        times, own = np.array([time for _, time in rows]), times_of[name.split("~")[0]]
        assert (np.diff(times) > 0).all()
        assert times[-1] < own[-2]
        beyond_training.append(len(own) > 3 and times[-1] > own[-3])
    # They fill the time up to the first held-out item, not that up to the last one trained on.
    assert any(beyond_training)


def test_a_log_without_times_gets_positions(tmp_path: Path) -> None:
    rows = _by_user(pl.read_parquet(_exported(tiny_run(with_times=False), tmp_path, "parquet")))
    assert all([time for _, time in pairs] == list(range(len(pairs))) for pairs in rows.values())


def test_recbole_files_are_split_already_and_hold_real_users_only_where_they_judge(tmp_path: Path) -> None:
    run = tiny_run()
    folder = _exported(run, tmp_path, "recbole")
    read = {
        part: pl.read_csv(folder / f"market.recbole.{part}.inter", separator="\t")
        for part in ("train", "valid", "test", "seq_train", "seq_valid", "seq_test")
    }
    assert read["train"].columns == ["user_id:token", "item_id:token", "timestamp:float"]
    log: dict[str, list[str]] = defaultdict(list)
    for user, item, _ in interactions(with_times=True):
        log[user].append(item)
    judged = {user: items for user, items in log.items() if len(items) > 2}
    for part, place in (("valid", -2), ("test", -1)):
        assert {user: [item for item, _ in rows] for user, rows in _by_user(read[part]).items()} == {
            user: [items[place]] for user, items in judged.items()
        }
        listed = {row[0]: [*row[1].split(), str(row[2])] for row in read[f"seq_{part}"].iter_rows()}
        assert listed == {user: items[: place + 1 or None] for user, items in judged.items()}
    predictions = {
        (row[0], *row[1].split(), str(row[2]))
        for row in read["seq_train"].with_columns(pl.nth(1).cast(pl.String)).iter_rows()
    }
    expected = {(user, *items[: end + 1]) for user, items in _expected(run, 2).items() for end in range(1, len(items))}
    assert predictions == expected
    assert len(read["seq_train"]) == sum(len(items) - 1 for items in _expected(run, 2).values())


def test_cutting_predictions_into_pieces_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run()
    whole = _exported(run, tmp_path / "a", "recbole") / "market.recbole.seq_train.inter"
    monkeypatch.setattr(export_formats, "_LISTED_ITEMS", 7)
    pieces = _exported(run, tmp_path / "b", "recbole") / "market.recbole.seq_train.inter"
    assert whole.read_bytes() == pieces.read_bytes()


def test_an_export_can_be_imported_again(tmp_path: Path) -> None:
    run = tiny_run()
    log = read("csv", _exported(run, tmp_path, "csv")).frame
    meta = prepare(log, tmp_path / "again", min_count=0)
    again = open_dataset(tmp_path / "again")
    assert meta.users == len(_expected(run, 2))
    assert meta.interactions == sum(len(items) for items in _expected(run, 2).values())
    assert set(again.user_ids()) == set(_expected(run, 2))


@given(st.lists(st.tuples(st.floats(0, 2e18), st.floats(0, 1e9), st.integers(1, 50)), min_size=1, max_size=8))
def test_times_rise_strictly_below_their_end_whatever_the_unit(windows: list[tuple[float, float, int]]) -> None:
    first = np.array([start for start, _, _ in windows])
    until = first + np.array([width for _, width, _ in windows])
    offsets = offsets_of([length for *_, length in windows])
    sequences = Sequences(np.arange(len(windows)), offsets, np.ones(offsets[-1], dtype=np.int32))
    times = spread_times(first, until, sequences)
    for row, end in enumerate(until):
        own = times[offsets[row] : offsets[row + 1]]
        assert (np.diff(own) > 0).all()
        assert own[-1] < end


@given(st.lists(st.from_regex(r"[ab~]{0,3}~{0,2}[0-9]{0,2}", fullmatch=True), min_size=1, max_size=10, unique=True))
def test_synthetic_names_never_meet_a_users_name(users: list[str]) -> None:
    separator = augmented._separator(pl.Series(users, dtype=pl.String))
    written = {f"{user}{separator}{number}" for user in users for number in range(100)}
    assert not written & set(users)


def test_what_exists_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "market.csv").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        _exported(tiny_run(), tmp_path, "csv")
    assert (tmp_path / "market.csv").read_text() == "mine"


@pytest.mark.parametrize("form", ["parquet", "csv", "sequences", "recbole"])
def test_a_failure_midway_leaves_nothing(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = AugmentedData.groups

    def torn(data: AugmentedData):  # type: ignore[no-untyped-def]
        yield next(groups(data))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AugmentedData, "groups", torn)
    with pytest.raises(StorageFullError, match="nothing was written"):
        _exported(tiny_run(), tmp_path, form)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another --out"), appearing(tmp_path / "file" / "x.csv"):
        pass


def test_bad_requests_are_refused_in_words(tmp_path: Path) -> None:
    run = tiny_run()
    with pytest.raises(InputError, match="choose one of parquet"):
        _exported(run, tmp_path, "xml")
    with pytest.raises(InputError, match=r"0\.\.2"):
        _exported(run, tmp_path, "csv", 3)
    with pytest.raises(InputError, match="finished no iteration"):
        export(replace(run, store=open_store(tmp_path / "none")), format="csv", out=tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["sequences", "recbole"])
def test_ids_that_a_text_format_cannot_hold_are_refused(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run()
    names = run.dataset.user_ids()
    names[3] = "a\tb"
    monkeypatch.setattr(type(run.dataset), "user_ids", lambda _: names)
    with pytest.raises(InputError, match=r"'a\\tb'.*--format parquet or csv"):
        _exported(run, tmp_path, form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["NA", "null", "None", "nan", "<NA>", "#N/A"])
def test_ids_that_pandas_takes_for_no_value_are_refused_for_recbole(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run()
    names = run.dataset.user_ids()
    names[3] = name
    monkeypatch.setattr(type(run.dataset), "user_ids", lambda _: names)
    with pytest.raises(InputError, match=r"user id .* takes for no value"):
        _exported(run, tmp_path, "recbole")
    assert list(tmp_path.iterdir()) == []


def test_no_name_that_pandas_takes_for_no_value_is_forgotten() -> None:
    # `na_values` of pandas.read_csv, without the empty one, which no id is.
    names = "#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null"
    assert [name for name in names.split(",") if not re.search(export_formats._NO_VALUE, name)] == []
    assert not re.search(export_formats._NO_VALUE, "NAN-bread")
