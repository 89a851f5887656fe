"""Approximate entropy by antropy and EntropyHub: {"rows", "m"} in JSON on stdin, values in JSON on stdout."""

import json
import sys

import antropy
import EntropyHub
import numpy as np


def main() -> None:
    world = json.load(sys.stdin)
    rows, m = [np.array(row, dtype=float) for row in world["rows"]], world["m"]
    # Whole numbers are alike within less than 1 exactly if they are equal.
    found = {
        "antropy": [float(antropy.app_entropy(row, order=m, tolerance=0.5)) for row in rows],
        "EntropyHub": [float(EntropyHub.ApEn(row, m=m, r=0.5)[0][-1]) for row in rows],
    }
    print(json.dumps(found))


main()
