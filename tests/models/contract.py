"""What the engine relies on in any backbone, stated once.

Inherit `BackboneContract` in a test module and implement `description`. Everything is checked in float64, so that
"equal" can be asked to twelve digits; contexts are random, of all lengths up to the model's.
"""

from abc import abstractmethod

import numpy as np
import pytest
import torch
from torch import Tensor

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.data.dataset import Sequences
from rsir_scale.data.sequences import offsets_of
from rsir_scale.errors import ConfigError
from rsir_scale.models import layers
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.models.dropout import Dropout
from rsir_scale.models.packed import pack
from rsir_scale.runs.trained import ModelDescription
from rsir_scale.training.optimiser import optimiser_of, require_rows, row_tables
from tests.models.stored import loaded, weights_bytes

ITEMS, LENGTH = 30, 9
TINY = 1e-12


def contexts(rows: int = 40, *, length: int = LENGTH, seed: int = 0) -> Tensor:
    """Random contexts of 1..length items, right-padded; one of them is full."""
    numbers = torch.Generator().manual_seed(seed)
    length_B = torch.randint(1, length + 1, (rows,), generator=numbers)
    length_B[0] = length
    items_BL = torch.randint(1, ITEMS + 1, (rows, length), generator=numbers)
    return items_BL.masked_fill(torch.arange(length) >= length_B[:, None], 0)


def dropped_shapes(backbone: Backbone) -> list[tuple[int, ...]]:
    """The shapes of all that dropout acts on, in order, while `contexts()` are encoded in training mode."""
    shapes: list[tuple[int, ...]] = []
    for module in backbone.modules():
        if isinstance(module, Dropout):
            module.register_forward_hook(lambda _, inputs, output: shapes.append(tuple(inputs[0].shape)))
    backbone.train().hidden(contexts())
    return shapes


def some_sequences(rows: int = 50) -> Sequences:
    """Training sequences in which neighbouring items occur together."""
    draws = np.random.default_rng(12)
    first, lengths = draws.integers(ITEMS, size=rows), draws.integers(2, LENGTH, size=rows)
    items = [1 + (first[row] + draws.integers(5, size=lengths[row])) % ITEMS for row in range(rows)]
    return Sequences(np.arange(rows), offsets_of(lengths), np.concatenate(items).astype(np.int32))


class BackboneContract:
    """Tests that every backbone inherits."""

    @abstractmethod
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        """Describe a small model of `ITEMS` items and `LENGTH` positions."""

    def built(self, *, seed: int = 0) -> Backbone:
        """An untrained model without dropout, in float64 and evaluation mode, its scores well apart."""
        backbone = build_backbone(self.description(), seed=seed)
        backbone.prepare(some_sequences(), item_vectors=None, seed=1)
        backbone = backbone.double().eval()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
        return backbone

    def test_there_is_a_query_for_each_position_and_a_vector_for_each_item(self) -> None:
        backbone, context_BL = self.built(), contexts()
        assert backbone.hidden(context_BL).shape == (*context_BL.shape, backbone.width)
        assert backbone.encode(context_BL).shape == (len(context_BL), backbone.width)
        assert backbone.item_vectors().shape == (ITEMS + 1, backbone.width)

    def test_the_vectors_of_some_items_are_rows_of_the_table_in_value_and_in_gradient(self) -> None:
        backbone = self.built()
        item_BN = torch.randint(0, ITEMS + 1, (4, 7), generator=torch.Generator().manual_seed(3))
        pull_BND = torch.randn((4, 7, backbone.width), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        rows = backbone.vectors_of(item_BN), backbone.item_vectors()[item_BN]
        assert torch.equal(*rows)
        gradients = []
        for vectors_BND in rows:
            backbone.zero_grad()
            (vectors_BND * pull_BND * (item_BN > 0)[:, :, None]).sum().backward()
            gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        assert all(torch.allclose(gradients[0][name], gradients[1][name]) for name in gradients[0])

    def test_a_position_reads_nothing_after_itself(self) -> None:
        backbone, context_BL = self.built(), contexts(seed=1)
        hidden_BLD = backbone.hidden(context_BL)
        for position in range(LENGTH - 1):
            changed_BL = context_BL.clone()
            changed_BL[:, position + 1 :] = contexts(len(context_BL), seed=2 + position)[:, position + 1 :]
            until = slice(None, position + 1)
            real_BL = (context_BL[:, until] > 0)[:, :, None]
            difference = (backbone.hidden(changed_BL)[:, until] - hidden_BLD[:, until]) * real_BL
            assert difference.abs().max() < TINY

    def test_a_position_reads_every_item_before_it(self) -> None:
        backbone = self.built()
        context_BL = torch.arange(1, LENGTH + 1)[None]
        query_BD = backbone.encode(context_BL)
        for position in range(LENGTH):
            changed_BL = context_BL.clone()
            changed_BL[0, position] = ITEMS
            assert (backbone.encode(changed_BL) - query_BD).abs().max() > 1e-6, position

    def test_padding_changes_nothing(self) -> None:
        backbone, context_BL = self.built(), contexts(seed=3)
        query_BD = backbone.encode(context_BL)
        for row, context_L in enumerate(context_BL):
            alone_1D = backbone.encode(context_L[context_L > 0][None])
            assert (alone_1D[0] - query_BD[row]).abs().max() < TINY

    def test_a_query_is_the_hidden_state_of_the_last_item(self) -> None:
        backbone, context_BL = self.built(), contexts(seed=4)
        hidden_BLD, query_BD = backbone.hidden(context_BL), backbone.encode(context_BL)
        for row, length in enumerate((context_BL > 0).sum(1).tolist()):
            assert torch.allclose(query_BD[row], hidden_BLD[row, length - 1], rtol=0, atol=TINY)

    @pytest.mark.parametrize("at_once", [1, 1 << 24])
    @torch.inference_mode()
    def test_contexts_advanced_item_by_item_have_the_queries_of_those_encoded_anew(
        self, at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(layers, "_GATHERED", at_once)
        backbone, context_BL = self.built(), contexts(seed=8)
        memory = backbone.memory()
        if memory is None:
            with pytest.raises(NotImplementedError):
                backbone.advance(None, *torch.zeros((3, 1, 1), dtype=torch.int64))  # type: ignore[arg-type]
            return
        length_B = (context_BL > 0).sum(1)
        path_BL = torch.zeros_like(context_BL)
        # The first items of each context at once, in an order of no meaning, then one more of each that goes on.
        prefix_B = 1 + (torch.rand(len(length_B), generator=torch.Generator().manual_seed(9)) * length_B).long()
        prefix_B = torch.minimum(prefix_B, length_B)
        row_N, position_N = (torch.arange(LENGTH) < prefix_B[:, None]).nonzero(as_tuple=True)
        while len(row_N):
            order_N = torch.randperm(len(row_N), generator=torch.Generator().manual_seed(10))
            row_N, position_N = row_N[order_N], position_N[order_N]
            if not memory.has_room(len(row_N)):
                memory.keep(torch.arange(memory.used), room=len(row_N))
            path_BL[row_N, position_N] = memory.take(len(row_N)) + torch.arange(len(row_N))
            query_ND = backbone.advance(memory, context_BL[row_N, position_N], position_N, path_BL[row_N])
            so_far_NL = context_BL[row_N].masked_fill(torch.arange(LENGTH) > position_N[:, None], 0)
            assert torch.allclose(query_ND, backbone.encode(so_far_NL), rtol=0, atol=TINY)
            row_N = (prefix_B < length_B).nonzero()[:, 0]
            position_N = prefix_B[row_N]
            prefix_B[row_N] += 1

    @torch.inference_mode()
    def test_contexts_that_begin_alike_share_what_is_remembered(self) -> None:
        backbone, context_L = self.built(), torch.arange(1, LENGTH + 1)
        if (memory := backbone.memory()) is None:
            return
        memory.keep(torch.arange(0), room=LENGTH)
        path_L = memory.take(LENGTH - 1) + torch.arange(LENGTH)
        place_N = torch.arange(LENGTH - 1)
        backbone.advance(memory, context_L[:-1], place_N, path_L.expand(LENGTH - 1, -1))
        # What nobody needs is let go of, and the numbers change.
        memory.keep(torch.tensor([2, 0, 1]), room=3)
        first = memory.take(3)
        path_NL = torch.tensor([[1, 2, 0, first], [1, 2, 0, first + 1], [1, first + 2, 0, 0]])
        item_N, position_N = torch.tensor([9, 8, 9]), torch.tensor([3, 3, 1])
        query_ND = backbone.advance(memory, item_N, position_N, path_NL)
        expected_BL = torch.tensor([[1, 2, 3, 9], [1, 2, 3, 8], [1, 9, 0, 0]])
        assert torch.allclose(query_ND, backbone.encode(expected_BL), rtol=0, atol=TINY)

    @torch.inference_mode()
    def test_a_path_may_name_nodes_that_are_not_written_yet(self) -> None:
        backbone, context_L = self.built(), torch.arange(1, LENGTH + 1)
        if (memory := backbone.memory()) is None:
            return
        memory.keep(torch.arange(0), room=2 * LENGTH)
        # What freed memory may hold.
        memory.key_KMD.fill_(torch.nan)
        memory.value_KMD.fill_(torch.nan)
        # A whole context, and the first item of another, whose path already has room for what will follow.
        whole_L = memory.take(2 * LENGTH) + torch.arange(LENGTH)
        path_NL = torch.cat([whole_L.expand(LENGTH, -1), whole_L[None] + LENGTH])
        position_N = torch.cat([torch.arange(LENGTH), torch.zeros(1, dtype=torch.int64)])
        query_ND = backbone.advance(memory, context_L[position_N], position_N, path_NL)
        assert torch.allclose(query_ND[-1], backbone.encode(context_L[None, :1])[0], rtol=0, atol=TINY)

    def test_packed_contexts_have_the_queries_and_gradients_of_padded_ones(self) -> None:
        backbone = self.built().train()
        context_BL = contexts(seed=13)
        context_BL = context_BL[(context_BL > 0).sum(1).argsort(stable=True)]
        packed, item_N = pack(context_BL, identity_B=np.arange(len(context_BL)), key=1), torch.tensor([3, 1, 3])
        pairs = [
            backbone.packed_beside(packed, item_N),
            (backbone.hidden(context_BL)[context_BL > 0], backbone.vectors_of(item_N)),
        ]
        pull_TD = torch.randn(pairs[1][0].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        gradients = []
        for query_TD, vectors_ND in pairs:
            backbone.zero_grad()
            ((query_TD * pull_TD).sum() + vectors_ND.pow(2).sum()).backward()
            gradients.append(
                {name: one.grad.clone() for name, one in backbone.named_parameters() if one.grad is not None}
            )
        for found, expected in zip(*pairs, strict=True):
            assert torch.allclose(found, expected, rtol=0, atol=TINY)
        assert gradients[0].keys() == gradients[1].keys()
        for name, expected in gradients[1].items():
            torch.testing.assert_close(gradients[0][name], expected, rtol=1e-9, atol=1e-9)

    def test_training_mode_without_dropout_computes_the_same(self) -> None:
        backbone, context_BL = self.built(), contexts(seed=5)
        real_BL1 = (context_BL > 0)[:, :, None]
        evaluated_BLD = backbone.hidden(context_BL) * real_BL1
        assert torch.allclose(backbone.train().hidden(context_BL) * real_BL1, evaluated_BLD, rtol=0, atol=TINY)

    def test_dropout_acts_while_training_only_and_is_seeded_by_torch(self) -> None:
        backbone, context_BL = build_backbone(self.description(dropout=0.5)), contexts(seed=6)
        backbone.eval()
        assert torch.equal(backbone.encode(context_BL), backbone.encode(context_BL))
        backbone.train()
        drawn = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            drawn.append(backbone.encode(context_BL))
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])

    def test_a_seed_fixes_the_initial_weights_and_leaves_torch_alone(self) -> None:
        state = torch.get_rng_state()
        one, same, other = (weights_bytes(build_backbone(self.description(), seed=seed)) for seed in (5, 5, 6))
        assert one == same
        assert one != other
        assert torch.equal(torch.get_rng_state(), state)

    def test_what_preparing_finds_belongs_to_its_seed_and_leaves_torch_alone(self) -> None:
        state, prepared = torch.get_rng_state(), []
        for _ in range(2):
            backbone = build_backbone(self.description(), seed=5)
            backbone.prepare(some_sequences(), item_vectors=None, seed=9)
            prepared.append(weights_bytes(backbone))
        assert prepared[0] == prepared[1]
        assert torch.equal(torch.get_rng_state(), state)

    def test_weights_come_back_from_bytes_as_they_were(self) -> None:
        backbone = build_backbone(self.description(dropout=0.5), seed=3)
        described = ModelDescription.model_validate_json(self.description(dropout=0.5).model_dump_json())
        again = loaded(described, weights_bytes(backbone))
        assert not again.training
        assert weights_bytes(again) == weights_bytes(backbone)
        assert torch.equal(again.encode(contexts()), backbone.eval().encode(contexts()))

    def test_an_auxiliary_loss_is_a_finite_sum_that_its_generator_fixes(self) -> None:
        backbone, context_BL = self.built(), contexts(seed=11)
        one, same = (backbone.auxiliary_loss(context_BL, draws=torch.Generator().manual_seed(1)) for _ in range(2))
        if one is None or same is None:
            return
        assert one.shape == ()
        assert torch.isfinite(one)
        assert torch.equal(one, same)

    def test_every_parameter_learns(self) -> None:
        backbone = self.built().train()
        context_BL = torch.arange(1, ITEMS + 1).repeat(2)[: 6 * LENGTH].view(6, LENGTH)
        hidden_BLD = backbone.hidden(context_BL)
        pull_BLD = torch.randn(hidden_BLD.shape, generator=torch.Generator().manual_seed(2))
        extra = backbone.auxiliary_loss(context_BL, draws=torch.Generator().manual_seed(3))
        ((hidden_BLD * pull_BLD).sum() + (0.0 if extra is None else extra)).backward()
        silent = [
            name
            for name, parameter in backbone.named_parameters()
            if parameter.grad is None or not (parameter.grad.abs() > 1e-9).any()
        ]
        assert silent == []

    def test_padding_never_learns(self) -> None:
        backbone, context_BL = self.built().train(), contexts(seed=7)
        real_BL1 = (context_BL > 0)[:, :, None]
        before_D = backbone.item_vectors()[0].detach().clone()
        (backbone.hidden(context_BL) * real_BL1).pow(3).sum().backward()
        torch.optim.SGD(backbone.parameters(), lr=0.1).step()
        assert torch.equal(backbone.item_vectors()[0], before_D)

    def test_a_sparse_update_changes_the_items_read_and_no_others(self) -> None:
        backbone = self.built().train()
        config = TrainingConfig(item_updates="sparse")
        if (table := backbone.item_embedding()) is None:
            with pytest.raises(ConfigError, match="item_updates=sparse"):
                optimiser_of(config, backbone, maximum=1)
            return
        optimiser, before_VD = optimiser_of(config, backbone, maximum=1), table.weight.detach().clone()
        context_BL, others = torch.tensor([[3, 1, 4], [1, 5, 0]]), torch.tensor([9, 2])
        extra = backbone.auxiliary_loss(context_BL, draws=torch.Generator().manual_seed(5))
        query_BD = backbone.hidden(context_BL)[[0, 1], [2, 1]]
        ((query_BD @ backbone.vectors_of(others).T).pow(2).sum() + (0.0 if extra is None else extra)).backward()
        require_rows(row_tables(backbone), backbone)
        optimiser.step()
        changed = (table.weight != before_VD).any(1).nonzero()[:, 0]
        assert changed.tolist() == [1, 2, 3, 4, 5, 9]

    @pytest.mark.parametrize("rows", [1, 2])
    def test_one_item_is_a_context(self, rows: int) -> None:
        assert torch.isfinite(self.built().encode(torch.ones((rows, 1), dtype=torch.int64))).all()
