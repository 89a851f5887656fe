"""Metrics of RecTools, computed in its own environment: a world in JSON on stdin, figures in JSON on stdout."""

import json
import sys

import pandas as pd
from rectools import Columns
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    F1Beta,
    HitRate,
    MeanInvUserFreq,
    Precision,
    Recall,
    Serendipity,
    calc_metrics,
)


def main() -> None:
    world = json.load(sys.stdin)
    shown = [(user, item, place) for user, row in enumerate(world["lists"]) for place, item in enumerate(row, 1)]
    held_out = pd.DataFrame(list(enumerate(world["targets"])), columns=[Columns.User, Columns.Item])
    seen = [(user, item) for user, row in enumerate(world["training"]) for item in row]
    found = {}
    for cutoff in world["cutoffs"]:
        metrics = {
            "NDCG": NDCG(cutoff, divide_by_achievable=True),
            "Recall": Recall(cutoff),
            "Precision": Precision(cutoff),
            "F1": F1Beta(cutoff, beta=1.0),
            "MRR": MRR(cutoff),
            "HitRate": HitRate(cutoff),
            "MAP": MAP(cutoff),
            "coverage": CatalogCoverage(cutoff, normalize=True),
            "novelty": MeanInvUserFreq(cutoff),
            "popularity": AvgRecPopularity(cutoff),
            "serendipity": Serendipity(cutoff),
        }
        values = calc_metrics(
            metrics,
            reco=pd.DataFrame(shown, columns=[Columns.User, Columns.Item, Columns.Rank]),
            interactions=held_out,
            prev_interactions=pd.DataFrame(seen, columns=[Columns.User, Columns.Item]),
            catalog=list(range(1, world["items"] + 1)),
        )
        found |= {f"{name}@{cutoff}": float(value) for name, value in values.items()}
    print(json.dumps(found))


main()
