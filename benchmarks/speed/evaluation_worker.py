"""One planted world, ranked on demand by whichever rsir_scale is on the path: what `evaluation.py` times.

Comes in: a task, sizes and a file to write, as arguments; then a line on stdin for each time that it shall be done.
Goes out: the seconds of each on stdout, of the clock and of the processor, and, at the end of stdin, the answers in the
file. It knows both ways in which a version ranks: with a cap, and as commit 67a56c2 did.

The world: items lie in groups, with norms that differ as trained ones do (`catalogues.planted`); a user's history and,
for one user in three, the target are from three groups, other targets from anywhere. A SASRec of the paper's sizes
encodes the history, so that its time counts; the query is the latest item's vector, with the encoder's output as noise.

Shapes: B rows, D width, L positions, V items.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.config.settings import ModelConfig
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.evaluation.evaluate import EvaluationSet, rank_targets
from rsir_scale.models.sasrec import SASRec
from rsir_scale.outputs.recommend import LoadedModel

WIDTH, MAX_LENGTH, CUTOFF, TOP = 64, 50, 20, 10
ITEMS_PER_GROUP, GROUPS_PER_USER, NEAR = 40, 1, 1 / 3
ITEM_NOISE, NORM_SPREAD = 0.8, 0.15
QUERY_NOISE = 0.05  # of the encoder's output, which is eight times as long as an item


class Planted(SASRec):
    """A SASRec with random weights, whose query stays near the latest item."""

    def encode(self, context_BL: Tensor) -> Tensor:
        """Encode, and keep near the item."""
        latest_B1 = (context_BL > 0).sum(1, keepdim=True) - 1
        near_BD = self.item_vectors()[context_BL.gather(1, latest_B1)[:, 0]]
        return near_BD + QUERY_NOISE * super().encode(context_BL)


def main() -> None:
    """Build the world, then do the task for each line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["evaluation", "validation", "recommend"])
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--every", type=int, required=True, help="do it for every so-many-th user only")
    parser.add_argument("--cap", type=int, required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = planted_model(arguments.items)
    users = planted_users(arguments.users, arguments.items).part(rank=0, of=arguments.every)
    do = task(arguments.task, model, users, arguments.cap)
    print("ready", flush=True)
    answer: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
    for _ in sys.stdin:
        started, worked = time.perf_counter(), time.process_time()
        answer = do()
        print(time.perf_counter() - started, time.process_time() - worked, flush=True)
    np.save(arguments.out, answer)


def task(name: str, model: SASRec, users: EvaluationSet, cap: int) -> Callable[[], npt.NDArray[np.int64]]:
    """What is timed: a call that returns ranks, or recommended items."""
    if name == "recommend":
        names = np.array([str(item) for item in range(1, model.item_count + 1)], dtype=object)
        # Each repeat loads the model again, so packing its items is part of the time.
        return lambda: LoadedModel(model, names, mask_history=True).rank(users.contexts, TOP)[0]
    if not hasattr(importlib.import_module("rsir_scale.evaluation.evaluate"), "rank_sets"):
        return _as_before(name, model, users)
    most = CUTOFF if name == "validation" else cap
    return lambda: rank_targets(model, users, mask_history=True, cap=most)


def _as_before(name: str, model: SASRec, users: EvaluationSet) -> Callable[[], npt.NDArray[np.int64]]:
    """Of commit 67a56c2: all ranks, and those of early stopping, for which users are arranged once a fit."""
    if name == "evaluation":
        return lambda: rank_targets(model, users, mask_history=True)
    early = importlib.import_module("rsir_scale.evaluation.early")
    ranks = early.EarlyRanks(users, item_count=model.item_count, mask_history=True)

    def within() -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = ranks.within(model, CUTOFF)
        return found

    return within


def planted_model(items: int) -> SASRec:
    """The model; the items of group g are g, g + groups, g + 2 groups and so on."""
    numbers = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Planted(ModelConfig(), item_count=items, max_length=MAX_LENGTH)
    groups = max(GROUPS_PER_USER, items // ITEMS_PER_GROUP)
    centre_GD = torch.randn((groups, WIDTH), generator=numbers) / WIDTH**0.5
    noise_VD = torch.randn((items + 1, WIDTH), generator=numbers) * (ITEM_NOISE / WIDTH**0.5)
    length_V1 = torch.exp(NORM_SPREAD * torch.randn((items + 1, 1), generator=numbers))
    with torch.no_grad():
        model.item_vectors().copy_((centre_GD[torch.arange(items + 1) % groups] + noise_VD) * length_V1)
    return model.eval()


def planted_users(users: int, items: int) -> EvaluationSet:
    """Histories of 9 items on average, as on Toys, and their targets."""
    numbers = np.random.default_rng(0)
    groups = max(GROUPS_PER_USER, items // ITEMS_PER_GROUP)
    lengths = 3 + numbers.geometric(1 / 6, users)
    own = numbers.integers(0, groups, (users, GROUPS_PER_USER))

    def from_own(row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        group = own[row, numbers.integers(0, GROUPS_PER_USER, len(row))]
        chosen: npt.NDArray[np.int64] = group + groups * numbers.integers(0, ITEMS_PER_GROUP, len(row))
        return chosen.clip(1, items)

    history = from_own(np.repeat(np.arange(users), lengths)).astype(np.int32)
    near = numbers.random(users) < NEAR
    targets = np.where(near, from_own(np.arange(users)), numbers.integers(1, items + 1, users)).astype(np.int32)
    return EvaluationSet(Sequences(np.arange(users), offsets_of(lengths.tolist()), history), targets)


if __name__ == "__main__":
    main()
