"""The compiled loss is the plain one, with its gradients, on every set of instructions that is here."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.errors import ConfigError
from rsir_scale.training.compiled import instructions, softmax_sum, takes

pytestmark = pytest.mark.skipif(not instructions(), reason="the kernel was not built: no C++ compiler was found")

WIDTHS = (16, 48, 64, 80, 144)


def _plain(
    query_TD: Tensor,
    table_ND: Tensor,
    target_T: Tensor,
    weight_T: Tensor,
    *,
    target_in_table: bool,
    hidden: tuple[Tensor, Tensor] | None,
) -> Tensor:
    score_TN = query_TD @ table_ND.T
    if hidden is not None:
        score_TN = score_TN.index_put(hidden, score_TN.new_tensor(float("-inf")))
    if not target_in_table:
        score_TN = torch.cat([target_T[:, None], score_TN], dim=1)
    return (weight_T * (score_TN.logsumexp(1) - target_T)).sum()


class _World:
    """Random queries, table, targets and hidden pairs; `column_T` are the targets' columns."""

    def __init__(self, rows: int, columns: int, width: int, *, spread: float, seed: int) -> None:
        draws = torch.Generator().manual_seed(seed)
        self.query_TD = torch.randn(rows, width, generator=draws) * spread
        self.table_ND = torch.randn(columns, width, generator=draws) * spread
        self.other_TD = torch.randn(rows, width, generator=draws) * spread
        self.column_T = torch.randint(0, columns, (rows,), generator=draws)
        self.weight_T = torch.rand(rows, generator=draws)
        row_H = torch.randint(0, rows, (2 * rows,), generator=draws)
        column_H = torch.randint(0, columns, (2 * rows,), generator=draws)
        away = column_H != self.column_T[row_H]
        self.hidden = row_H[away], column_H[away]

    def losses(self, loss, *, precision, in_table: bool, hidden: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, and gradients by query and table, scaled as a mean would scale them."""
        query_TD = self.query_TD.to(precision, copy=True).requires_grad_()
        table_ND = self.table_ND.to(precision, copy=True).requires_grad_()
        target_T = (query_TD * (table_ND[self.column_T] if in_table else self.other_TD.to(precision))).sum(1)
        total = loss(
            query_TD,
            table_ND,
            target_T,
            self.weight_T.to(precision),
            target_in_table=in_table,
            hidden=self.hidden if hidden else None,
        )
        (total / 7).backward()
        return total.detach().double(), query_TD.grad.double(), table_ND.grad.double()


@pytest.mark.parametrize("using", instructions())
@given(
    rows=st.integers(1, 60),
    columns=st.one_of(st.integers(1, 60), st.integers(380, 400), st.integers(700, 1000)),
    width=st.sampled_from(WIDTHS),
    spread=st.sampled_from([0.02, 1.0, 4.0]),
    in_table=st.booleans(),
    hidden=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_loss_and_gradients_are_those_of_double_precision(
    using, rows, columns, width, spread, in_table, hidden, seed
) -> None:
    world = _World(rows, columns, width, spread=spread, seed=seed)
    form = {"in_table": in_table, "hidden": hidden}
    expected = world.losses(_plain, precision=torch.float64, **form)
    found = world.losses(
        lambda *arguments, **named: softmax_sum(*arguments, **named, using=using), precision=torch.float32, **form
    )
    # A score is wrong by some units in the last place of its greatest term, and so is its power in relation.
    tolerance = 3e-6 * max(1.0, spread**2 * width**0.5)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= tolerance * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("using", instructions())
def test_chunks_of_rows_change_nothing_but_rounding(using) -> None:
    """So many scores that they are kept for a part of the rows only."""
    world = _World(300, 40_000, 16, spread=1.0, seed=3)
    form = {"in_table": True, "hidden": True}
    expected = world.losses(_plain, precision=torch.float64, **form)
    found = world.losses(
        lambda *arguments, **named: softmax_sum(*arguments, **named, using=using), precision=torch.float32, **form
    )
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 1e-4 * float(other.abs().max())


def test_the_number_of_threads_changes_no_bit() -> None:
    world = _World(100, 1500, 32, spread=1.0, seed=4)
    form = {"in_table": False, "hidden": True}
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(world.losses(softmax_sum, precision=torch.float32, **form))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for result in results[1:] for one, other in zip(result, results[0], strict=True))


def test_a_row_whose_columns_are_all_hidden_has_no_loss() -> None:
    query_TD, table_ND = torch.ones(1, 16), torch.ones(2, 16)
    hidden = torch.tensor([0, 0]), torch.tensor([0, 1])
    loss = softmax_sum(query_TD, table_ND, torch.tensor([-3.0]), torch.ones(1), target_in_table=False, hidden=hidden)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def test_a_score_that_is_no_number_makes_the_loss_none() -> None:
    query_TD, table_ND = torch.ones(1, 16), torch.ones(3, 16)
    table_ND[1, 3] = float("nan")
    assert softmax_sum(query_TD, table_ND, torch.zeros(1), torch.ones(1), target_in_table=True).isnan()


def test_instructions_that_are_not_here_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="compiled softmax cannot use abacus here"):
        softmax_sum(
            torch.ones(1, 16), torch.ones(3, 16), torch.zeros(1), torch.ones(1), target_in_table=True, using="abacus"
        )


def test_other_precisions_and_widths_are_left_to_torch() -> None:
    assert takes(torch.ones(2, 32), torch.ones(3, 32))
    assert not takes(torch.ones(2, 32).double(), torch.ones(3, 32).double())
    assert not takes(torch.ones(2, 20), torch.ones(3, 20))


NO_ROOM_FOR_THREADS = """
import resource
import torch
from rsir_scale.training.compiled import softmax_sum

torch.set_num_threads(1)
query, table, target = torch.randn(600, 64), torch.randn(3000, 64), torch.randint(3000, (600,))
def loss(): return softmax_sum(query, table, (query * table[target]).sum(1), torch.ones(600), target_in_table=True)
with torch.no_grad():
    alone = loss()
    torch.get_num_threads = lambda: 8
    assert torch.equal(loss(), alone)
    room = 4096 * int(open("/proc/self/statm").read().split()[0]) + 2**20
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    torch.get_num_threads = lambda: 64
    assert torch.equal(loss(), alone)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_where_no_more_threads_can_be_made_the_loss_is_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", NO_ROOM_FOR_THREADS], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
