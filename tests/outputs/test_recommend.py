"""Recommendations come from everything known of a user, never repeat it, and are the scores' own order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import rsir_scale
from rsir_scale.errors import InputError
from rsir_scale.outputs.recommend import LoadedModel, load_model, recommend
from rsir_scale.outputs.requests import read_sessions
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.selection import SELECTION_METRIC
from rsir_scale.steps import Step
from rsir_scale.storage.opening import open_store
from tests.evaluation.worlds import LastItemBackbone
from tests.loop.tiny_run import ITEMS, TinyRun, interactions, tiny_run


def _log() -> dict[str, list[str]]:
    log: dict[str, list[str]] = {}
    for user, item, _ in interactions(with_times=True):
        log.setdefault(user, []).append(item)
    return log


def _naive(model: LoadedModel, context: list[str], top: int) -> list[str]:
    """Score one context at a time, sort, leave out what it holds."""
    index = {item: place for place, item in enumerate(model.item_ids.tolist(), start=1)}
    items = torch.tensor([[index[item] for item in context][-model.backbone.max_length :]])
    with torch.inference_mode():
        scores = (model.backbone.encode(items) @ model.backbone.item_vectors().T)[0].tolist()
    allowed = [item for item in index if not (model.mask_history and item in context)]
    return sorted(allowed, key=lambda item: (-scores[index[item]], index[item]))[:top]


def _written(run: TinyRun, folder: Path, name: str = "top.parquet", **asked: object) -> pl.DataFrame:
    settings: dict[str, object] = {"top": 5, "users": None} | asked
    path = recommend(run, out=folder / name, **settings)  # type: ignore[arg-type]
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, schema_overrides={"item_id": pl.String})


def test_the_best_iteration_by_validation_ranks_everything_known_of_each_user(tmp_path: Path) -> None:
    run = tiny_run()
    frame, log = _written(run, tmp_path), _log()
    scores = [manifest.metrics[SELECTION_METRIC] for manifest in read_chain(run.store)]
    model = load_model(run.path, scores.index(max(scores)))
    assert frame["user_id"].unique(maintain_order=True).to_list() == list(log)
    for (user,), rows in frame.group_by("user_id", maintain_order=True):
        assert rows["item_id"].to_list() == _naive(model, log[str(user)], 5)
        assert not set(rows["item_id"]) & set(log[str(user)])
        assert rows["rank"].to_list() == [1, 2, 3, 4, 5]
        assert rows["score"].is_sorted(descending=True)


def test_sessions_with_unknown_items_a_ban_and_a_list_get_what_a_plain_search_gives(tmp_path: Path) -> None:
    run, model = tiny_run(), load_model(tiny_run().path)
    rng = np.random.default_rng(5)
    known = model.item_ids.tolist()
    sessions = {
        f"s{place}": [str(item) for item in rng.choice([*known, "never"], size=rng.integers(1, 6))]
        for place in range(40)
    }
    allow, deny = known[2:], known[5:7]
    frame = _written(run, tmp_path, sessions=sessions, unknown="skip", allow=[*allow, "new"], deny=deny, top=4)
    expected = {}
    for name, items in sessions.items():
        context = [item for item in items if item in known]
        if context:
            ranked = _naive(model, context, len(known))
            expected[name] = [item for item in ranked if item in allow and item not in deny][:4]
    got = frame.group_by("session_id", maintain_order=True).agg("item_id")
    assert dict(got.iter_rows()) == {name: items for name, items in expected.items() if items}
    skipped = pl.read_csv(tmp_path / "top.skipped.csv")
    assert set(skipped["id"]) >= {"never", "new"}
    assert set(skipped.filter(kind="item")["why"]) == {"not in the dataset"}


def test_unknown_ids_are_refused_unless_they_are_to_be_skipped(tmp_path: Path) -> None:
    run = tiny_run()
    with pytest.raises(InputError, match=r"item 'never' \(s\) is not in the dataset .*--unknown skip"):
        _written(run, tmp_path, sessions={"s": ["101", "never"]})
    frame = _written(run, tmp_path, users=["u7", "nobody"], unknown="skip")
    assert frame["user_id"].unique().to_list() == ["u7"]
    with pytest.raises(InputError, match="leave no item"):
        _written(run, tmp_path, "b.csv", deny=load_model(run.path).item_ids.tolist())


def test_sessions_are_read_alike_from_every_form(tmp_path: Path) -> None:
    rows = [("b", "x2", 5), ("a", "x1", 9), ("a", "x3", 2), ("b", "x2", 7)]
    text = "".join(f"{name},{item},{time}\n" for name, item, time in rows)
    (tmp_path / "s.csv").write_text("session_id,item_id,timestamp\n" + text)
    pl.DataFrame(rows, schema=["session_id", "item_id", "timestamp"], orient="row").write_parquet(
        tmp_path / "s.parquet"
    )
    (tmp_path / "s.jsonl").write_text(
        '{"session_id": "b", "items": ["x2", "x2"]}\n{"session_id": "a", "items": ["x3", "x1"]}\n'
    )
    (tmp_path / "s.txt").write_text("b x2 x2\na x3 x1\n")
    for name in ("s.csv", "s.parquet", "s.jsonl", "s.txt"):
        assert list(read_sessions(tmp_path / name).items()) == [("b", ["x2", "x2"]), ("a", ["x3", "x1"])]


def test_ids_of_sessions_and_of_lists_follow_the_rule_for_ids(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"session_id": 7, "items": [2.0, " x ", 3]}\n')
    (tmp_path / "s.txt").write_text("7.0 2.0 x 3\n")
    for name in ("s.jsonl", "s.txt"):
        assert read_sessions(tmp_path / name) == {"7": ["2", "x", "3"]}


@pytest.mark.parametrize(("items", "said"), [('"abc"', "items='abc' is not a list"), ("[true]", "'True' is neither")])
def test_items_that_are_no_ids_are_refused(tmp_path: Path, items: str, said: str) -> None:
    (tmp_path / "s.jsonl").write_text(f'{{"session_id": "a", "items": {items}}}\n')
    with pytest.raises(InputError, match=f"line 1: .*{said}"):
        read_sessions(tmp_path / "s.jsonl")


def test_csv_says_what_parquet_says_and_users_come_in_the_order_asked(tmp_path: Path) -> None:
    run = tiny_run()
    whole = _written(run, tmp_path, iteration=1)
    some = _written(run, tmp_path, "a.csv", iteration=1, users=["u7", "u2"])
    assert some["user_id"].unique(maintain_order=True).to_list() == ["u7", "u2"]
    for user in ("u7", "u2"):
        assert some.filter(user_id=user)["item_id"].to_list() == whole.filter(user_id=user)["item_id"].to_list()


def test_asking_for_nobody_gives_an_empty_table(tmp_path: Path) -> None:
    frame = _written(tiny_run(), tmp_path, users=[])
    assert frame.columns == ["user_id", "item_id", "rank", "score"]
    assert len(frame) == 0


def test_progress_ends_with_all_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsir_scale.outputs.recommend._ROWS_PER_BLOCK", 25)
    told: list[Step] = []
    _written(tiny_run(), tmp_path, tell=told.append)
    assert [step.what for step in told] == ["recommending"] * 3
    assert [(step.done, step.total) for step in told] == [(25, 60), (50, 60), (60, 60)]


@pytest.mark.parametrize("candidates", [1, 1 << 20])
def test_a_list_of_the_whole_catalogue_holds_each_unseen_item_once(
    candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsir_scale.outputs.recommend._CANDIDATES_PER_PIECE", candidates)
    model = load_model(tiny_run().path)
    ranked = model.recommend([["101", "105"], ["107"]], ITEMS)
    assert [sorted(item for item, _ in items) for items in ranked] == [
        sorted(set(model.item_ids) - seen) for seen in ({"101", "105"}, {"107"})
    ]


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _written(tiny_run(), tmp_path, "a.parquet")
    monkeypatch.setattr("rsir_scale.outputs.recommend._ROWS_PER_BLOCK", 4)
    blocks = _written(tiny_run(), tmp_path, "b.parquet")
    assert whole.drop("score").equals(blocks.drop("score"))
    np.testing.assert_allclose(whole["score"], blocks["score"], rtol=1e-5)


def test_a_loaded_model_ranks_any_context_and_leaves_out_what_it_holds() -> None:
    model = rsir_scale.load_model(tiny_run().path)
    contexts = [["101"], ["105", "107", "101"], [str(100 + item) for item in range(ITEMS - 2)]]
    for context, ranked in zip(contexts, model.recommend(contexts, 4), strict=True):
        assert [item for item, _ in ranked] == _naive(model, context, 4)
        assert len(ranked) == min(4, ITEMS - len(context))
    assert model.recommend([], 3) == []


@pytest.mark.parametrize("items", [100, 1000])
def test_equal_scores_come_in_the_catalogues_order_at_the_cut_too(items: int) -> None:
    backbone = LastItemBackbone(torch.zeros((items + 1, 2)), torch.zeros((items + 1, 2)), max_length=3)
    names = np.array([f"i{item}" for item in range(1, items + 1)], dtype=object)
    model = LoadedModel(backbone, names, mask_history=True)
    (ranked,) = model.recommend([["i2"]], 4)
    assert [item for item, _ in ranked] == ["i1", "i3", "i4", "i5"]


def test_history_may_be_recommended_where_the_run_does_not_mask_it() -> None:
    masked = load_model(tiny_run().path)
    model = LoadedModel(masked.backbone, masked.item_ids, mask_history=False)
    everything = model.recommend([["101", "102"]], ITEMS)[0]
    assert {item for item, _ in everything} == set(masked.item_ids)


def test_bad_requests_are_refused_in_words(tmp_path: Path) -> None:
    run, model = tiny_run(), load_model(tiny_run().path)
    with pytest.raises(InputError, match="'nobody'"):
        _written(run, tmp_path, users=["u1", "nobody"])
    with pytest.raises(InputError, match=f"top={ITEMS + 1}"):
        _written(run, tmp_path, "new/deep/top.csv", top=ITEMS + 1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"0\.\.2"):
        _written(run, tmp_path, iteration=3)
    with pytest.raises(InputError, match=r"\.txt"):
        _written(run, tmp_path, "top.txt")
    with pytest.raises(InputError, match="'7' of context 1"):
        model.recommend([["101"], ["101", "7"]], 3)
    with pytest.raises(InputError, match="context 0 is empty"):
        model.recommend([[]], 3)
    with pytest.raises(InputError, match="no run"):
        load_model(tmp_path / "none")
    other = replace(run.dataset, meta=run.dataset.meta.model_copy(update={"fingerprint": "0" * 64}))
    with pytest.raises(InputError, match="fingerprint"):
        recommend(replace(run, dataset=other), top=1, users=None, out=tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_finished_iteration_has_nothing_to_use(tmp_path: Path) -> None:
    run = tiny_run()
    store = open_store(tmp_path)
    for name in ("run.yaml", "provenance.json"):
        store.put(name, run.store.read(name))
    with pytest.raises(InputError, match="finished no iteration"):
        load_model(tmp_path)
