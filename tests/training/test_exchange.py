"""What workers exchange leaves every parameter as one worker alone would have it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as distributed
from torch import nn

from rsir_scale.training.exchange import sum_gradients


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_a_parameter_without_a_gradient_anywhere_is_left_without_one() -> None:
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    used.grad = torch.tensor([1.0, 2.0, 3.0])
    assert sum_gradients([used, unused], [], torch.tensor(4.0)) == 4.0
    assert used.grad.tolist() == [1.0, 2.0, 3.0]
    assert unused.grad is None
