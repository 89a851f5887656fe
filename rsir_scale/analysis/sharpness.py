"""How sharp a minimum is: the loss around a model, on a fixed sample of D_0.

Comes in: a trained backbone and a batch of real sequences. Goes out: the loss, the largest eigenvalue and the trace of
its Hessian, its rise along the gradient (Foret et al., ICLR 2021) and along random directions, and its course between
two models. The loss is the mean cross-entropy over the whole catalogue, without dropout, whatever the model was trained
by, so that models compare; sharpness says little between two whose losses differ, so the loss stands beside it.

A random direction has in every tensor the length of that tensor (Li et al., NeurIPS 2018): a network whose layers are
scaled against each other is the same network. Eigenvalue, trace and the rise along the gradient have no such care.

Hessian products come of differentiating twice. curvlinops would take them from functional copies of a model, in which
parameters are tensors; a backbone that asks for its parameters by name refuses those.

Shapes: N parameters, T targets, D width, V items.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from rsir_scale.data.dataset import Sequences
from rsir_scale.errors import InputError
from rsir_scale.models.base import Backbone
from rsir_scale.randomness import Purpose, normals, uniforms
from rsir_scale.training.batches import Batch, make_batch, trainable_rows
from rsir_scale.training.losses import targeted, targets_of

SAMPLE_ROWS = 256
RADIUS = 0.05  # of the step along the gradient
STEPS = (0.05, 0.1, 0.2)  # along a random direction, in lengths of the tensors
WAY = (0.0, 0.25, 0.5, 0.75, 1.0)  # from one model to another
_PROBES = 16
_DIRECTIONS = 8
_TOLERANCE = 1e-3


def sample_batch(training: Sequences, *, max_length: int, rows: int = SAMPLE_ROWS, seed: int = 0) -> Batch:
    """Draw real sequences of 2 items or more, by identity, so that a larger sample holds a smaller one.

    Args:
        training: D_0.
        max_length: items of context that the model reads.
        rows: how many; all where there are fewer.
        seed: of the draw.

    Raises:
        InputError: there is none.
    """
    able = trainable_rows(training)
    if not len(able):
        raise InputError("the dataset has no training sequence of 2 items or more, so there is no loss to look at")
    drawn = np.argsort(uniforms(seed, training.ids[able], Purpose.PROBE), kind="stable")[:rows]
    weights = np.ones(len(training), dtype=np.float32)
    return make_batch(training, np.sort(able[drawn]), max_length=max_length, weights=weights)


class Minimum:
    """The loss of a backbone on a batch, as a function of its parameters; these are as they were after every call.

    Args:
        backbone: in evaluation mode, on the CPU.
        batch: what the loss is over.
    """

    def __init__(self, backbone: Backbone, batch: Batch) -> None:
        self._backbone = backbone
        self._batch = batch
        self._parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        self.size = sum(parameter.numel() for parameter in self._parameters)

    @torch.no_grad()
    def loss(self) -> float:
        """Return the mean over targets, in nats."""
        return float(self._loss())

    @torch.no_grad()
    def loss_at(self, offset_N: Tensor) -> float:
        """Return the loss of the parameters plus an offset."""
        with self.moved(offset_N):
            return float(self._loss())

    @contextmanager
    def moved(self, offset_N: Tensor) -> Iterator[None]:
        """Hold the parameters at themselves plus an offset."""
        before = [parameter.detach().clone() for parameter in self._parameters]
        try:
            self._set([value + piece for value, piece in zip(before, self._pieces(offset_N), strict=True)])
            yield
        finally:
            self._set(before)

    @torch.no_grad()
    def parameters_N(self) -> Tensor:  # noqa: N802 - a shape
        """Return a copy of the parameters."""
        return _flat(self._parameters).clone()

    def gradient_N(self) -> Tensor:  # noqa: N802 - a shape
        """Return the gradient of the loss."""
        return _flat(self._gradient(differentiable=False))

    def hessian_times(self, vector_N: Tensor) -> Tensor:
        """Return the product of the loss's Hessian with a vector, `[N]`."""
        gradient, pieces = self._gradient(differentiable=True), self._pieces(vector_N)
        along = torch.stack([(part * piece).sum() for part, piece in zip(gradient, pieces, strict=True)]).sum()
        found = torch.autograd.grad(along, self._parameters, allow_unused=True, materialize_grads=True)
        return _flat(found)

    def top_eigenvalue(self, *, seed: int = 0) -> float | None:
        """Return the Hessian's largest eigenvalue, by Lanczos' method to a thousandth; None where that finds none."""
        operator = LinearOperator(
            (self.size, self.size), matvec=lambda vector: self._times(vector.ravel()), dtype=np.float64
        )
        start = normals(seed, Purpose.PROBE, np.arange(self.size))
        try:
            found = eigsh(operator, k=1, which="LA", v0=start, tol=_TOLERANCE, return_eigenvectors=False)
        except ArpackNoConvergence:
            return None
        return float(found[0])

    def trace(self, *, probes: int = _PROBES, seed: int = 0) -> tuple[float, float]:
        """Estimate the Hessian's trace (Hutchinson, 1989), and the standard error of that.

        Args:
            probes: random signs it is estimated by, at least 2.
            seed: of these.
        """
        place = np.arange(self.size)
        found = []
        for probe in range(probes):
            signs = np.where(uniforms(seed, Purpose.PROBE, probe, place) < 0.5, -1.0, 1.0)
            found.append(float(signs @ self._times(signs)))
        return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(probes))

    def rise_along_gradient(self, radius: float = RADIUS) -> float:
        """Return by how much the loss rises one step of length `radius` up its gradient."""
        gradient_N = self.gradient_N()
        length = float(gradient_N.norm())
        return self.loss_at(gradient_N * (radius / length)) - self.loss() if length > 0 else 0.0

    def rise_along_random(
        self, steps: Sequence[float] = STEPS, *, directions: int = _DIRECTIONS, seed: int = 0
    ) -> dict[float, float]:
        """Return by how much the loss rises at each step, both ways along random directions, as a mean."""
        drawn = [self._direction(seed, number) for number in range(directions)]
        here = self.loss()
        return {
            step: float(np.mean([self.loss_at(sign * step * each) - here for each in drawn for sign in (-1, 1)]))
            for step in steps
        }

    def on_the_way_to(self, other: "Minimum", way: Sequence[float] = WAY) -> dict[float, float]:
        """Return the loss on the straight line to another model: 0 is this one, 1 the other.

        Raises:
            InputError: the two differ in their parameters.
        """
        if [each.shape for each in self._parameters] != [each.shape for each in other._parameters]:
            raise InputError("the two models differ in their parameters, so there is no line between them")
        offset_N = other.parameters_N() - self.parameters_N()
        return {share: self.loss_at(share * offset_N) for share in way}

    def _loss(self) -> Tensor:
        # Neither the compiled blocks nor the fused attention kernels can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            query_KD = Backbone.packed(self._backbone, self._batch.contexts)
        targets = targets_of(self._batch, query_KD, targeted(self._batch))
        scores_TV = targets.query_TD @ self._backbone.item_vectors()[1:].T
        return F.cross_entropy(scores_TV, targets.item_T - 1)

    def _gradient(self, *, differentiable: bool) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            return torch.autograd.grad(
                self._loss(),
                self._parameters,
                create_graph=differentiable,
                allow_unused=True,
                materialize_grads=True,
            )

    def _times(self, vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        like = self._parameters[0]
        product_N = self.hessian_times(torch.from_numpy(vector).to(like.dtype))
        return np.asarray(product_N.detach().numpy(), dtype=np.float64)

    @torch.no_grad()
    def _direction(self, seed: int, number: int) -> Tensor:
        drawn_N = torch.from_numpy(normals(seed, Purpose.PROBE, number, np.arange(self.size)))
        pieces = []
        for parameter, piece in zip(self._parameters, self._pieces(drawn_N), strict=True):
            length = float(piece.norm())
            pieces.append(piece.to(parameter.dtype) * (float(parameter.norm()) / length if length else 0.0))
        return _flat(pieces)

    def _pieces(self, vector_N: Tensor) -> list[Tensor]:
        parts = torch.split(vector_N, [parameter.numel() for parameter in self._parameters])
        return [part.view_as(parameter) for part, parameter in zip(parts, self._parameters, strict=True)]

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)


def describe(minimum: Minimum, base: Minimum, *, seed: int = 0) -> Mapping[str, float | None]:
    """All figures of a minimum by name; `way_0.5` is the loss half way from `base`, theta_0, to it."""
    trace, error = minimum.trace(seed=seed)
    return {
        "loss": minimum.loss(),
        "top_eigenvalue": minimum.top_eigenvalue(seed=seed),
        "hessian_trace": trace,
        "hessian_trace_error": error,
        "rise_along_gradient": minimum.rise_along_gradient(),
        **{f"rise_{step:g}": rise for step, rise in minimum.rise_along_random(seed=seed).items()},
        **{f"way_{share:g}": loss for share, loss in base.on_the_way_to(minimum).items()},
    }


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
