"""What the diffusion learns from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.augmenters.diffuasr.examples import Examples, long_enough, without_first
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.augmenters.diffuasr.schedule import kept_signal
from rsir_scale.augmenters.diffuasr.vectors import scaled_vectors
from rsir_scale.data.sequences import Sequences, offsets_of

ITEMS = 20
lengths_of_sequences = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def sequences_of(lengths: list[int]) -> Sequences:
    draws = np.random.default_rng(sum(lengths))
    items = draws.integers(1, ITEMS + 1, size=sum(lengths)).astype(np.int32)
    return Sequences(np.arange(len(lengths)), offsets_of(lengths), items)


def examples_of(lengths: list[int], **options: object) -> Examples:
    table_VD = torch.randn((ITEMS + 1, 8), generator=torch.Generator().manual_seed(0))
    return Examples(sequences_of(lengths), scaled_vectors(table_VD), DiffuASROptions.model_validate(options))


@given(lengths_of_sequences, st.integers(1, 4), st.integers(1, 4))
def test_an_example_has_the_first_items_and_enough_after_them(lengths: list[int], items: int, after: int) -> None:
    options = DiffuASROptions(items=items, least_context=after)
    rows = long_enough(sequences_of(lengths), options)
    assert rows.tolist() == [row for row, length in enumerate(lengths) if length >= items + after]


@given(lengths_of_sequences, st.data())
def test_sequences_lose_their_first_items_and_keep_the_others(lengths: list[int], data: st.DataObject) -> None:
    sequences = sequences_of(lengths)
    counts = [data.draw(st.integers(0, length)) for length in lengths]
    shorter = without_first(sequences, counts)
    assert shorter.ids.tolist() == sequences.ids.tolist()
    for row, count in enumerate(counts):
        assert shorter.row(row).tolist() == sequences.row(row)[count:].tolist()


@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_noisy_example_is_its_first_items_with_the_noise_of_its_step(count: int) -> None:
    examples = examples_of([7, 6, 9, 8, 6], items=3, steps=100)
    rows = np.arange(count)
    noisy = examples.noisy(rows, seed=1)
    kept_B11 = kept_signal(100)[noisy.step_B].float()[:, None, None]
    clean_BMD = (noisy.x_BMD - (1 - kept_B11).sqrt() * noisy.noise_BMD) / kept_B11.sqrt()
    for row in rows:
        items = examples.sequences.row(row).astype(np.int64)
        assert torch.allclose(clean_BMD[row], examples.vectors_VD[items[:3]], atol=1e-2)
        assert torch.allclose(noisy.guide_BD[row], examples.vectors_VD[items[3:]].mean(0), atol=1e-6)
        assert torch.equal(noisy.first_BD[row], examples.vectors_VD[items[3]])
    half = -(-count // 2)
    assert (noisy.step_B[half:] == 99 - noisy.step_B[: count - half]).all()


def test_the_seed_alone_decides_the_noise() -> None:
    examples, rows = examples_of([7, 6, 9], items=2), np.array([2, 0])
    one, again, other = (examples.noisy(rows, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.x_BMD, again.x_BMD)
    assert torch.equal(one.step_B, again.step_B)
    assert not torch.equal(one.noise_BMD, other.noise_BMD)


@pytest.mark.parametrize(
    ("guidance", "hidden"), [("classifier_free", pytest.approx(0.25, abs=0.05)), ("classifier", 0.0)]
)
def test_classifier_free_examples_hide_their_sequence_as_often_as_asked(guidance: str, hidden: float) -> None:
    examples = examples_of([6] * 2000, guidance=guidance, drop_condition=0.25)
    assert float(examples.noisy(np.arange(2000), seed=3).hidden_B.float().mean()) == hidden


@given(st.integers(1, 5))
@settings(max_examples=5)
def test_the_shares_of_the_workers_are_the_whole(workers: int) -> None:
    noisy = examples_of([7, 6, 9, 8], items=2).noisy(np.arange(4), seed=1)
    shares = [noisy.share(rank, workers) for rank in range(workers)]
    for row in range(4):
        share = shares[row % workers]
        assert torch.equal(share.x_BMD[row // workers], noisy.x_BMD[row])
        assert torch.equal(share.guide_BD[row // workers], noisy.guide_BD[row])
    assert sum(len(share.step_B) for share in shares) == 4
