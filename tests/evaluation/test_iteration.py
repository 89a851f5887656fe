"""What an evaluation says of its own protocol."""

import numpy as np

from rsir_scale.config import EvaluationConfig
from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.evaluation.iteration import masked_targets
from tests.evaluation.worlds import sequences_of


def test_targets_in_the_history_are_counted_where_it_is_masked() -> None:
    contexts = sequences_of([[1, 2], [3, 3, 4], [5]])
    sets = {
        "validation": EvaluationSet(contexts, np.array([2, 4, 6], dtype=np.int32)),
        "test": EvaluationSet(contexts, np.array([3, 1, 5], dtype=np.int32)),
    }
    assert masked_targets(sets, EvaluationConfig(mask_history=True)) == {"validation": 2, "test": 1}
    assert masked_targets(sets, EvaluationConfig(mask_history=False)) == {"validation": 0, "test": 0}
