"""The plain ways that the engine is timed against write what it writes."""

import numpy as np
import pytest

from benchmarks.speed.generation import Workload, check
from benchmarks.tests.small_market import ITEMS, market
from rsir_scale.augmenters.rsir.rules import rules_of
from rsir_scale.config.file import resolve
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.runs.trained import ModelDescription


@pytest.mark.parametrize("read", [3, 50])
@pytest.mark.parametrize("longest_context", [None, 5])
def test_all_ways_write_the_same_from_sources_longer_than_the_model_reads(
    read: int, longest_context: int | None
) -> None:
    config = resolve(
        {
            "data": {"path": market().path, "max_length": read},
            "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 2},
            "generation": {"trials_per_sequence": 2, "max_length": longest_context},
            "fidelity": {"rank_threshold": 20},
        }
    )
    description = ModelDescription(model=config.model, item_count=ITEMS, max_length=read)
    sources = market().training_sequences()
    longer = sources.select(np.flatnonzero(sources.lengths > 5)[:20])
    assert len(longer) == 20
    check(Workload(build_backbone(description, seed=3).eval(), longer, rules_of(config, market())))
