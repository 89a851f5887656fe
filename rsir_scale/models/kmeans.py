"""K-means by FAISS, on the CPU: for the clusters of a catalogue, and for the codes of its items.

Comes in: vectors. Goes out: means, and the nearest of them to each vector. FAISS is an optional dependency, and this is
where it is imported.

Shapes: N vectors, C means, d their dimension.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rsir_scale.errors import ConfigError

_POINTS_PER_MEAN = 64  # more of them move a mean by less than the next training of the model does
_ASSIGNED_AT_ONCE = 1 << 18
Float32Matrix = npt.NDArray[np.float32]


def k_means(
    vector_Nd: Float32Matrix, means: int, *, rounds: int, seed: int, start_Cd: Float32Matrix | None = None
) -> tuple[Float32Matrix, npt.NDArray[np.int32]]:
    """Return C means and, for each vector, the number of the nearest.

    Args:
        vector_Nd: float32, finite.
        means: C, 1..N.
        rounds: of Lloyd's algorithm, on a sample where there are many vectors.
        seed: of the vectors that means start from.
        start_Cd: means to start from instead.

    Raises:
        ConfigError: FAISS is not installed.
    """
    faiss = load_faiss()
    found = faiss.Kmeans(
        vector_Nd.shape[1],
        means,
        niter=rounds,
        seed=seed % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_PER_MEAN,
    )
    found.train(vector_Nd, init_centroids=start_Cd)
    index = faiss.IndexFlatL2(vector_Nd.shape[1])
    index.add(found.centroids)
    nearest_N = np.empty(len(vector_Nd), dtype=np.int32)
    for begin in range(0, len(vector_Nd), _ASSIGNED_AT_ONCE):
        end = begin + _ASSIGNED_AT_ONCE
        nearest_N[begin:end] = index.search(vector_Nd[begin:end], 1)[1][:, 0]
    return found.centroids, nearest_N


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
            f"clusters and codes are made by FAISS, which is not installed ({error}): pip install rsir-scale[cpu], or "
            "rsir-scale[gpu] with an NVIDIA GPU; or set fidelity.mode=exact and another model.backbone than semantic_id"
        ) from error
    if gpu and not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        raise ConfigError(
            "generation.use_gpu=true, but this FAISS has no GPU: pip uninstall faiss-cpu, install rsir-scale[gpu], or "
            "set fidelity.scan=torch"
        )
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss
