"""RecTools' SASRec on the sequences of a config, timed in an environment of its own, since it pins an older NumPy.

Comes in: a config. Goes out: seconds and losses of epochs of the same sequences, width, blocks, heads, dropout, rate,
batch, loss, negatives and longest context. What RecTools does in its own way: the feed-forward layer is as wide as the
model, norms stand before the sub-layers, scores are inner products, negatives are drawn for each position, and every
row is padded to the longest context. `rectools_epoch.py` runs on the other side.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.turns import ROOT
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import Sequences, open_dataset
from rsir_scale.training.batches import trainable_rows

ENVIRONMENT = Path(".cache/rectools")  # where the environment is made, once
REQUIREMENTS = Path(__file__).with_name("rectools-requirements.txt")
NAMES = {"sampled_softmax": "sampled_softmax", "cross_entropy": "softmax", "bce": "BCE", "gbce": "gBCE"}


def rectools_epochs(config: Config, *, epochs: int, environment: Path = ENVIRONMENT) -> dict[str, Any]:
    """Train for some epochs on one thread.

    Returns:
        `epoch_s` and `losses`, one an epoch, and `sequences`, how many each saw.

    Raises:
        SystemExit: it failed, or an epoch did not see each sequence once.
    """
    sequences = open_dataset(config.data.path).training_sequences()
    sequences = latest(sequences.select(trainable_rows(sequences)), config.data.max_length + 1)
    settings = {
        **{key: getattr(config.model, key) for key in ("width", "blocks", "heads", "dropout")},
        **{key: getattr(config.training, key) for key in ("learning_rate", "batch_size", "gbce_calibration")},
        "max_length": config.data.max_length,
        "loss": NAMES[config.training.loss],
        "negatives": config.training.negatives,
        "epochs": epochs,
    }
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/sequences.npz", items=sequences.items, offsets=sequences.offsets)
        command = [str(rectools_python(environment)), "-m", "benchmarks.speed.rectools_epoch"]
        command += ["--data", f"{folder}/sequences.npz", "--settings", json.dumps(settings)]
        here = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=here)
    if done.returncode:
        raise SystemExit(f"RecTools failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if set(found["sequences"]) != {len(sequences)}:
        raise SystemExit(f"RecTools saw {found['sequences']} sequences an epoch, not {len(sequences)}: no result")
    return found | {"sequences": len(sequences)}


def rectools_python(folder: Path) -> Path:
    """The interpreter of RecTools' environment, which is made where the requirements are not those it was made of."""
    python, stamp = folder.absolute() / "bin" / "python", folder / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {folder} from {REQUIREMENTS.name}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], check=True)
        stamp.write_text(wanted)
    return python


def latest(sequences: Sequences, most: int) -> Sequences:
    """The latest items of each sequence, as our batches have them."""
    lengths = np.minimum(sequences.lengths, most)
    kept = np.arange(len(sequences.items)) >= np.repeat(sequences.offsets[1:] - lengths, sequences.lengths)
    return Sequences(sequences.ids, np.concatenate([[0], np.cumsum(lengths)]), sequences.items[kept])
