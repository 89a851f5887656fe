"""The tree of contexts: shared while trials go the same way, forgotten when nobody stands on it, always the truth."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from rsir_scale.augmenters.rsir.contexts import Contexts, ContextTree
from rsir_scale.augmenters.rsir.decode import Decoded, decode
from rsir_scale.augmenters.rsir.state import DecodingRows
from rsir_scale.models import memory
from rsir_scale.models.base import Backbone
from rsir_scale.ranking.exact import ExactSearch
from tests.augmenters.rsir.worlds import RELEASED, World, few_examples, sasrec, sequences_of, worlds


class Watched(ContextTree):
    """A tree that holds what it says of each step to what the rows hold."""

    def __init__(self, backbone: Backbone, *, longest: int) -> None:
        super().__init__(backbone, longest=longest)
        self.rows = self.contexts = 0

    def grow(self, rows: DecodingRows) -> tuple[DecodingRows, Contexts]:
        sources, contexts = rows.source_B.tolist(), rows.context_BL.tolist()
        held = [(one, *items[:n]) for one, items, n in zip(sources, contexts, rows.length_B.tolist(), strict=True)]
        rows, found = super().grow(rows)
        assert [held[row] for row in found.row_U[found.context_B].tolist()] == held
        assert sorted(set(found.context_B.tolist())) == list(range(len(found.row_U)))
        assert torch.allclose(found.query_UD, self._encoded(rows.take(found.row_U)), rtol=0, atol=1e-9)
        self.rows += len(held)
        self.contexts += len(found.row_U)
        return rows, found


def _decode(world: World, tree: ContextTree | None = None) -> Decoded:
    search = ExactSearch(world.backbone.item_vectors())
    return decode(world.backbone, search, world.sources, world.rules, identity=world.identity, tree=tree)


def _longest(world: World) -> int:
    return max(int(world.sources.lengths.max()), world.rules.max_length or 0)


@few_examples
@given(world=worlds())
def test_rows_share_a_context_only_where_they_hold_the_same_items(world: World) -> None:
    watched = Watched(world.backbone, longest=_longest(world))
    _decode(world, watched)
    assert watched.contexts <= watched.rows


@few_examples
@given(world=worlds())
def test_a_memory_that_is_full_at_every_step_changes_nothing(world: World) -> None:
    roomy = _decode(world)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory.Memory, "has_room", lambda self, nodes: False)
        cramped = _decode(world, Watched(world.backbone, longest=_longest(world)))
    for field in fields(Decoded):
        if field.name not in ("tally", "encoder"):
            assert np.array_equal(getattr(roomy, field.name), getattr(cramped, field.name)), field.name


def test_trials_that_start_alike_are_encoded_once() -> None:
    encoded: list[int] = []
    backbone = sasrec(9, seed=0)
    advance = backbone.advance

    def counted(memory: memory.Memory, item_N: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        encoded.append(len(item_N))
        return advance(memory, item_N, position_N, path_NL)

    backbone.advance = counted  # type: ignore[method-assign]
    rules = replace(RELEASED, source_items_left_out=0, exploit_prob=1.0, trials_per_sequence=7, batch_size=14)
    world = World(backbone, sequences_of([[1, 2, 3, 4], [5, 6]]), rules, (1, 0))
    _decode(world)
    # Greedy trials from the first item never part: one node a source and step.
    assert encoded[0] == 2
    assert all(nodes <= 2 for nodes in encoded)
