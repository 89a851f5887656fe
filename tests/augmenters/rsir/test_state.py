"""Tables of rows: a value is put where it belongs and nowhere else, and evidence goes wherever its row goes."""

from dataclasses import fields, replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.rsir.state import Evidence, combine, put
from rsir_scale.augmenters.rsir.waiting import Waiting
from tests.augmenters.rsir.worlds import World, few_examples, worlds


@given(data=st.data(), rows=st.integers(1, 6), width=st.integers(1, 6))
def test_a_value_is_put_at_one_position_of_the_marked_rows_and_nowhere_else(data, rows: int, width: int) -> None:
    where = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    # Only a row that is not marked may name a position beyond the table.
    position = [data.draw(st.integers(0, width - 1 if marked else width)) for marked in where]
    table = torch.full((rows, width), -7, dtype=torch.int32)
    done = put(table, torch.tensor(where), torch.tensor(position), torch.arange(rows))
    expected = [
        [row if marked and at == place else -7 for at in range(width)]
        for row, (marked, place) in enumerate(zip(where, position, strict=True))
    ]
    assert done.tolist() == expected
    assert done.dtype == table.dtype
    assert (table == -7).all()


@few_examples
@given(world=worlds(), data=st.data())
def test_evidence_is_taken_widened_and_joined_with_its_rows(world: World, data: st.DataObject) -> None:
    device = world.backbone.item_vectors().device
    rows = Waiting(world.sources, world.rules, identity=world.identity, device=device).next(1000)
    everywhere_B, first_B = torch.ones_like(rows.proposed_B), torch.zeros_like(rows.length_B)
    number_B = torch.arange(len(rows))
    evidence = rows.evidence.checked(everywhere_B, first_B, number_B, number_B + 1)
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    width = rows.context_BL.shape[1]
    moved = replace(rows, evidence=evidence).take(torch.tensor(picked)).resized(width + 2)
    assert moved.evidence.better_BL[:, 0].tolist() == picked
    assert moved.evidence.voucher_BL[:, 0].tolist() == [number + 1 for number in picked]
    assert (moved.evidence.better_BL[:, width:] == -1).all()
    assert not moved.evidence.voucher_BL[:, width:].any()
    narrow = moved.resized(width)
    joined = combine(lambda *columns: torch.cat(columns), narrow, narrow)
    for field in fields(Evidence):
        column = getattr(narrow.evidence, field.name).numpy()
        assert np.array_equal(getattr(joined.evidence, field.name).numpy(), np.concatenate([column, column]))
