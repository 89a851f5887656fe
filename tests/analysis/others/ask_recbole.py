"""Metrics of RecBole, computed in its own environment: a world in JSON on stdin, figures in JSON on stdout."""

import json
import sys
from collections import Counter

import numpy as np
import torch
from recbole.evaluator import metrics
from recbole.evaluator.collector import DataStruct

# RecBole 1.2 asks NumPy for a name that it has dropped since 1.20.
np.float = float  # noqa: NPY001
NAMES = {
    "NDCG": metrics.NDCG,
    "Recall": metrics.Recall,
    "Precision": metrics.Precision,
    "MRR": metrics.MRR,
    "HitRate": metrics.Hit,
    "MAP": metrics.MAP,
    "coverage": metrics.ItemCoverage,
    "popularity": metrics.AveragePopularity,
    "gini": metrics.GiniIndex,
}


def main() -> None:
    world = json.load(sys.stdin)
    lists, targets = torch.tensor(world["lists"]), torch.tensor(world["targets"])
    data = DataStruct()
    hits = (lists == targets[:, None]).int()
    data.set("rec.topk", torch.cat([hits, torch.ones(len(lists), 1, dtype=torch.int)], dim=1))
    data.set("rec.items", lists)
    data.set("data.num_items", world["items"])
    data.set("data.count_items", Counter(item for row in world["training"] for item in row))
    config = {"topk": world["cutoffs"], "metric_decimal_place": 12}
    found = {}
    for name, metric in NAMES.items():
        values = metric(config).calculate_metric(data)
        found |= {f"{name}@{key.partition('@')[2]}": float(value) for key, value in values.items()}
    print(json.dumps(found))


main()
