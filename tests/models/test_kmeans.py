"""K-means gives each vector the nearest of its means, and the same means whatever else the process does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from rsir_scale.models import kmeans
from rsir_scale.models.kmeans import Float32Matrix, k_means


def _vectors(count: int, *, seed: int = 0, width: int = 4) -> Float32Matrix:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def _spread(vector_Nd: Float32Matrix, mean_Cd: Float32Matrix, nearest_N: np.ndarray) -> float:
    return float(((vector_Nd - mean_Cd[nearest_N]) ** 2).sum())


@settings(max_examples=15)
@given(seed=st.integers(0, 2**63), count=st.integers(2, 80), data=st.data())
def test_each_vector_has_the_nearest_mean(seed: int, count: int, data: st.DataObject) -> None:
    vector_Nd = _vectors(count, seed=seed % 1000)
    means = data.draw(st.integers(1, count))
    mean_Cd, nearest_N = k_means(vector_Nd, means, rounds=5, seed=seed)
    assert (mean_Cd.shape, mean_Cd.dtype, nearest_N.dtype) == ((means, 4), np.float32, np.int32)
    distance_NC = np.linalg.norm(vector_Nd[:, None].astype(np.float64) - mean_Cd, axis=2)
    own_N = distance_NC[np.arange(count), nearest_N]
    np.testing.assert_allclose(own_N, distance_NC.min(1), rtol=1e-3, atol=1e-3)


def test_rounds_bring_the_means_nearer_and_a_seed_says_where_they_start() -> None:
    vector_Nd = _vectors(500)
    found = [k_means(vector_Nd, 20, rounds=rounds, seed=1) for rounds in (1, 3, 30)]
    spreads = [_spread(vector_Nd, *one) for one in found]
    assert spreads[0] > spreads[1] > spreads[2]
    assert not np.array_equal(found[0][0], k_means(vector_Nd, 20, rounds=1, seed=2)[0])


def test_means_start_where_they_are_told_to() -> None:
    vector_Nd = np.concatenate([_vectors(50) - 9, _vectors(50, seed=1) + 9])
    start_Cd = np.array([[9.0] * 4, [-9.0] * 4], dtype=np.float32)
    for seed in (1, 2):
        _, nearest_N = k_means(vector_Nd, 2, rounds=3, seed=seed, start_Cd=start_Cd)
        assert nearest_N.tolist() == [1] * 50 + [0] * 50


def test_threads_change_no_bit() -> None:
    vector_Nd = _vectors(3000, width=16)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(k_means(vector_Nd, 60, rounds=10, seed=3))
    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))


def test_of_many_vectors_a_sample_decides_and_all_are_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeans, "POINTS_PER_MEAN", 10)
    vector_Nd = np.concatenate([_vectors(300) - 9, _vectors(300, seed=1) + 9])
    mean_Cd, nearest_N = k_means(vector_Nd, 2, rounds=10, seed=1)
    assert len(nearest_N) == 600
    assert len(set(nearest_N[:300])) == len(set(nearest_N[300:])) == 1
    # A mean of ten or so vectors, and not of three hundred.
    assert abs(mean_Cd[nearest_N[0]] - vector_Nd[:300].mean(0)).max() > 0.05


def test_vectors_that_are_all_alike_are_in_one_cluster(recwarn: pytest.WarningsRecorder) -> None:
    _, nearest_N = k_means(np.ones((30, 4), dtype=np.float32), 5, rounds=5, seed=1)
    assert len(set(nearest_N)) == 1
    assert not recwarn.list
