"""K-means by scikit-learn, in one thread: on one machine the same vectors give the same means.

Comes in: vectors. Goes out: means, and the nearest of them to each vector. Where FAISS is installed it makes a
catalogue's clusters (`ranking.clusters`). Items' codes are always made here: the weights of a model rest on them, and
must not depend on what is installed.

Shapes: N vectors, C means, d their dimension.
"""

import warnings

import numpy as np
import numpy.typing as npt

from rsir_scale.randomness import Purpose, generator

POINTS_PER_MEAN = 64  # more of them move a mean by less than the next training of the model does
Float32Matrix = npt.NDArray[np.float32]
Nearest = npt.NDArray[np.int32]


def k_means(
    vector_Nd: Float32Matrix, means: int, *, rounds: int, seed: int, start_Cd: Float32Matrix | None = None
) -> tuple[Float32Matrix, Nearest]:
    """Return C means and, for each vector, the number of the nearest.

    Args:
        vector_Nd: float32, finite.
        means: C, 1..N.
        rounds: of Lloyd's algorithm at most, on a sample where there are many vectors.
        seed: of the sample, and of the vectors that means start from.
        start_Cd: means to start from instead.
    """
    # Imported late: it takes a second, and few runs need it.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    count = min(len(vector_Nd), means * POINTS_PER_MEAN)
    drawn = generator(seed, Purpose.CLUSTER).choice(len(vector_Nd), count, replace=False)
    begin_Cd = vector_Nd[drawn[:means]] if start_Cd is None else start_Cd
    found = KMeans(means, init=begin_Cd, n_init=1, max_iter=rounds, tol=0.0)
    with threadpool_limits(1), warnings.catch_warnings():
        # Vectors that are all alike share means, and that is told by the clusters that stay empty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(vector_Nd if count == len(vector_Nd) else vector_Nd[drawn])
        return found.cluster_centers_.astype(np.float32, copy=False), found.predict(vector_Nd)
