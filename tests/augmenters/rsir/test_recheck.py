"""The re-check agrees with every row that a run wrote, and names each row that could not have come about."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.part import Rechecked
from rsir_scale.augmenters.rsir.recheck import ShardFacts, recheck_rows
from rsir_scale.augmenters.rsir.rows import EVIDENCE
from rsir_scale.augmenters.rsir.rules import Rules, cut_sources, rules_of
from rsir_scale.data.sequences import offsets_of
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_trained
from rsir_scale.randomness import content_hashes
from rsir_scale.runs.columns import with_evidence
from rsir_scale.runs.commits import read_commits
from rsir_scale.runs.lineage import load_slices
from rsir_scale.runs.plan import read_plan
from tests.loop.tiny_run import tiny_run

VARIANTS = (("paper", "before_choice"), ("paper", "after_choice"), ("released", "after_choice"))
SCHEMA = with_evidence(EVIDENCE)
Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """The part of one shard, and all that it is held to."""

    table: pa.Table
    facts: ShardFacts
    rules: Rules
    backbone: Backbone

    def faults(self, **changes: Any) -> list[tuple[int | None, str]]:
        return [(fault.row, fault.what) for fault in replace(self, **changes).found().faults]

    def found(self, score: np.ndarray | None = None) -> Rechecked:
        return recheck_rows(self.table, self.facts, self.rules, self.backbone, score=score)

    def with_row(self, place: int, change: Callable[[Row], Row | None], *, mend: bool = True) -> "Part":
        """The part with one row changed and, where asked, the row's hash made to fit."""
        rows = self.table.to_pylist()
        rows[place] = change(rows[place]) or rows[place]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        if mend:
            items = np.array([item for row in rows for item in row["items"]], dtype=np.int32)
            hashes = content_hashes(offsets_of([len(row["items"]) for row in rows]), items)
            column = pa.array([value.tobytes() for value in hashes], pa.binary(16))
            table = table.set_column(SCHEMA.get_field_index("content_hash"), SCHEMA.field("content_hash"), column)
        return replace(self, table=table)


@cache
def part(reading: str = "paper", remaining: str = "after_choice", iteration: int = 1, shard: int = 1) -> Part:
    run = tiny_run(reading=reading, remaining=remaining)
    plan, rules = read_plan(run.store, iteration), rules_of(run.config, run.dataset)
    record = read_commits(run.store, plan)[shard]
    sources = load_slices(run, plan.files, plan.shards[shard].slices)
    facts = ShardFacts(
        sources=cut_sources(sources, rules),
        set_aside=np.empty(0, dtype=np.int64),
        first_id=plan.sequence_id(plan.shards[shard], 0, 0),
        seed=run.config.seed,
        iteration=iteration,
    )
    return Part(pq.read_table(run.path / record.part.key), facts, rules, load_trained(run, iteration))


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
@pytest.mark.parametrize("iteration", [0, 1])
def test_every_row_that_a_run_wrote_stands(reading: str, remaining: str, iteration: int) -> None:
    good = part(reading, remaining, iteration)
    assert good.table.num_rows > 10
    assert good.faults() == []


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
def test_a_part_without_rows_stands(reading: str, remaining: str) -> None:
    assert part(reading, remaining).faults(table=SCHEMA.empty_table()) == []


def _set(**values: Any) -> Callable[[Row], Row]:
    return lambda row: row | values


def _change_last(column: str, change: Callable[[Any], Any]) -> Callable[[Row], Row]:
    return lambda row: row | {column: [*row[column][:-1], change(row[column][-1])]}


def _twice(row: Row) -> Row:
    return row | {"items": [*row["items"][:-1], row["items"][0]]}


DAMAGE: dict[str, tuple[Callable[[Row], Row], str]] = {
    "trial": (lambda row: row | {"trial": 1 - row["trial"]}, "sequence_id"),
    "trial out of range": (_set(trial=2), "trial is not in 0..1"),
    "id": (lambda row: row | {"sequence_id": row["sequence_id"] + 1_000_000}, "sequence_id"),
    "source": (_set(source_sequence_id=10**9), "none of the shard's sources"),
    "iteration": (_set(iteration=0), "iteration is not 1"),
    "first target": (_set(first_target=2), "first_target is not 1"),
    "start beyond the row": (_set(start_length=500), "does not leave a start"),
    "start of nothing": (_set(start_length=0), "does not leave a start"),
    "start item": (lambda row: row | {"items": [row["items"][0] % 30 + 1, *row["items"][1:]]}, "prefix of the source"),
    "item beyond the catalogue": (_change_last("items", lambda _: 31), "not in 1..30"),
    "item twice": (_twice, "repeats an earlier one"),
    "stop reason": (_set(stop_reason="going"), "stop_reason is unknown"),
    "evidence cut short": (lambda row: row | {"better_items": row["better_items"][:-1]}, "evidence is not of as many"),
    "explored": (_change_last("explored", lambda flag: not flag), "not what was drawn"),
    "more better items": (_change_last("better_items", lambda count: count + 1), "better_items"),
    "better items beyond the threshold": (_change_last("better_items", lambda _: 4), "better_items"),
    "voucher": (_change_last("vouching_items", lambda item: item % 30 + 1), "vouching_items"),
    "no voucher": (_change_last("vouching_items", lambda _: 0), "vouching_items"),
}


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_changed_row_is_named_with_what_is_wrong(reading: str, remaining: str, kind: str) -> None:
    good, (change, said) = part(reading, remaining), DAMAGE[kind]
    for place in range(3):
        bad = good.with_row(place, change)
        faults = bad.faults()
        assert {row for row, _ in faults} >= {bad.table.column("sequence_id")[place].as_py()}
        assert any(said in what for _, what in faults)
        # A changed id also breaks the order of rows, and so may name its neighbour.
        assert len({row for row, _ in faults}) == 1 or kind == "id"


def _said(bad: Part, **changes: Any) -> set[str]:
    return {what for _, what in bad.faults(**changes)}


def test_rows_are_held_to_the_lengths_and_starts_of_the_rules() -> None:
    paper, released = part(), part("released")
    assert any(
        "fewer items than generation.min_length=99" in what
        for what in _said(paper, rules=replace(paper.rules, min_length=99))
    )
    turned = replace(paper.rules, start_at_prefix=not paper.rules.start_at_prefix)
    assert "start_length is not the one drawn for this trial" in _said(paper, rules=turned)
    assert "more items than the longest context allowed" in _said(released, rules=replace(released.rules, max_length=2))


def test_a_row_that_ended_otherwise_or_is_its_source_is_named() -> None:
    good = part()
    rows = good.table.to_pylist()
    row_of = {int(sequence_id): row for row, sequence_id in enumerate(good.facts.sources.ids)}

    def source(row: Row) -> list[int]:
        return [int(item) for item in good.facts.sources.row(row_of[row["source_sequence_id"]])]

    ended = next(place for place, row in enumerate(rows) if row["stop_reason"] != "length")
    assert any("limit is not reached" in what for what in _said(good.with_row(ended, _set(stop_reason="length"))))
    exploits = next(place for place, row in enumerate(rows) if not row["explored"][-1])
    new = next(item for item in range(1, 31) if item not in source(rows[exploits]))
    foreign = good.with_row(exploits, _change_last("items", lambda _: new))
    assert "an exploited item is not one of the user's own" in _said(foreign)
    equal = next(place for place, row in enumerate(rows) if len(row["items"]) == len(source(row)))
    copied = good.with_row(equal, lambda row: row | {"items": source(row)})
    assert "the row is its source over again" in _said(copied)


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
def test_an_item_changed_with_its_hash_left_alone_is_named(reading: str, remaining: str) -> None:
    good = part(reading, remaining)
    bad = good.with_row(2, _change_last("items", lambda item: item % 30 + 1), mend=False)
    assert bad.faults() == [(good.table.column("sequence_id")[2].as_py(), "content_hash is not that of the items")]


@torch.inference_mode()
def _worst_item(backbone: Backbone, context: list[int]) -> int:
    latest = torch.tensor([context[-backbone.max_length :]])
    scores = (backbone.encode(latest) @ backbone.item_vectors().T)[0]
    scores[context] = float("inf")
    return int(scores[1:].argmin()) + 1


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
@given(place=st.integers(0, 9))
def test_an_item_that_the_model_would_not_have_chosen_is_named_even_with_hashes_mended(
    reading: str, remaining: str, place: int
) -> None:
    good = part(reading, remaining)
    row = good.table.slice(place, 1).to_pylist()[0]
    worst = _worst_item(good.backbone, row["items"][:-1])
    faults = good.with_row(place, _change_last("items", lambda _: worst)).faults()
    assert {row["sequence_id"]} == {named for named, _ in faults}


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
def test_rows_of_another_model_do_not_stand(reading: str, remaining: str) -> None:
    good = part(reading, remaining)
    faults = good.faults(backbone=part(reading, remaining, iteration=0).backbone)
    assert {what.split(" ")[0] for _, what in faults} >= {"better_items"}


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
def test_rows_of_another_seed_do_not_stand(reading: str, remaining: str) -> None:
    good = part(reading, remaining)
    assert good.faults(facts=replace(good.facts, seed=good.facts.seed + 1))


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
def test_a_stricter_threshold_rejects_rows_that_the_laxer_one_let_in(reading: str, remaining: str) -> None:
    good = part(reading, remaining)
    worst = max(max(row) for row in good.table.column("better_items").to_pylist())
    assert worst > 0
    faults = good.faults(rules=replace(good.rules, rank_threshold=1))
    named = {row for row, what in faults if "fails the check" in what}
    rows = good.table.select(["sequence_id", "better_items"]).to_pylist()
    assert named == {row["sequence_id"] for row in rows if max(row["better_items"]) >= 1}


def test_without_fidelity_no_evidence_is_asked_for() -> None:
    good = part()
    bad = good.with_row(0, _change_last("better_items", lambda _: 29))
    assert bad.faults()
    assert bad.faults(rules=replace(good.rules, rank_threshold=None)) == []


def test_only_the_chosen_rows_are_scored_and_all_others_still_held_to_their_structure() -> None:
    good = part()
    scored_only = good.with_row(1, _change_last("better_items", lambda _: 29))
    structural = scored_only.with_row(2, _set(stop_reason="going"))
    nobody = np.zeros(good.table.num_rows, dtype=np.bool_)
    ids = good.table.column("sequence_id").to_pylist()
    everyone, few = structural.found(), structural.found(score=nobody)
    assert {fault.row for fault in everyone.faults} == {ids[1], ids[2]}
    assert {fault.row for fault in few.faults} == {ids[2]}
    # A row that breaks a rule is not scored.
    assert (everyone.again, few.again) == (len(ids) - 1, 0)
    nobody[1] = True
    broken = structural.with_row(0, _set(start_length=0))
    some = broken.found(score=nobody)
    assert {fault.row for fault in some.faults} == {ids[0], ids[1], ids[2]}
    assert some.again == 1


def test_a_table_that_is_no_part_is_refused_whole() -> None:
    good = part()
    assert good.faults(table=good.table.drop_columns(["trial"])) == [
        (None, "columns are not those of a part, or hold nulls")
    ]
    holed = good.table.set_column(
        SCHEMA.get_field_index("trial"), SCHEMA.field("trial"), pa.nulls(good.table.num_rows, pa.int32())
    )
    assert [row for row, _ in good.faults(table=holed)] == [None]
