"""FAISS, an optional dependency: where it is imported, and its k-means.

Shapes: N vectors, C means, d their dimension.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from rsir_scale.errors import ConfigError
from rsir_scale.models.kmeans import POINTS_PER_MEAN, Float32Matrix, Nearest

_ASSIGNED_AT_ONCE = 1 << 18


def has_faiss() -> bool:
    """Whether it is installed."""
    return find_spec("faiss") is not None


def load_faiss(*, gpu: bool = False) -> Any:
    """Import FAISS, with as many threads as torch has in this process, so that its results do not depend on the host.

    Raises:
        ConfigError: it is not installed, or was built without GPUs where one is to be used.
    """
    try:
        faiss = import_module("faiss")
    except ImportError as error:
        raise ConfigError(
            f"fidelity.scan=faiss, but FAISS is not installed ({error}): pip install rsir-scale[cpu], or "
            "rsir-scale[gpu] with an NVIDIA GPU; or leave fidelity.scan out"
        ) from error
    if gpu and not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        raise ConfigError(
            "generation.use_gpu=true, but this FAISS has no GPU: pip uninstall faiss-cpu, install rsir-scale[gpu], or "
            "set fidelity.scan=torch"
        )
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


def faiss_k_means(
    vector_Nd: Float32Matrix, means: int, *, rounds: int, seed: int, start_Cd: Float32Matrix | None = None
) -> tuple[Float32Matrix, Nearest]:
    """Do by FAISS, on the CPU, what `models.kmeans.k_means` does. Raises ConfigError: it is not installed."""
    faiss = load_faiss()
    found = faiss.Kmeans(
        vector_Nd.shape[1],
        means,
        niter=rounds,
        seed=seed % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_MEAN,
    )
    found.train(vector_Nd, init_centroids=start_Cd)
    index = faiss.IndexFlatL2(vector_Nd.shape[1])
    index.add(found.centroids)
    nearest_N = np.empty(len(vector_Nd), dtype=np.int32)
    for begin in range(0, len(vector_Nd), _ASSIGNED_AT_ONCE):
        end = begin + _ASSIGNED_AT_ONCE
        nearest_N[begin:end] = index.search(vector_Nd[begin:end], 1)[1][:, 0]
    return found.centroids, nearest_N
