"""Ways to damage a run or a dataset: each takes the folder and changes it in place."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

Damage = Callable[[Path], object]
MANIFEST = "iteration=000/MANIFEST.json"
GENERATION = "iteration=000/generation/MANIFEST.json"
MODEL = "iteration=000/model/model.json"
PLAN = "iteration=000/generation/plan.json"
COMMIT = "iteration=000/generation/commits/00000.json"
METRICS = "iteration=000/metrics.json"


def bytes_of(key: str, data: bytes) -> Damage:
    """Put other bytes in the file's place."""
    return lambda folder: (folder / key).write_bytes(data)


def cut(key: str, share: float = 0.5) -> Damage:
    """Keep its beginning only."""
    return lambda folder: (folder / key).write_bytes((data := (folder / key).read_bytes())[: int(len(data) * share)])


def edited(key: str, change: Callable[[Any], object]) -> Damage:
    """Change what a JSON file says."""

    def damage(folder: Path) -> None:
        value = json.loads((folder / key).read_bytes())
        change(value)
        (folder / key).write_text(json.dumps(value))

    return damage


def put(*path: str | int, value: object) -> Callable[[Any], None]:
    """Set the value at a path of keys and indices."""

    def change(record: Any) -> None:
        for step in path[:-1]:
            record = record[step]
        record[path[-1]] = value

    return change


def linked(key: str, target: str) -> Damage:
    """Put a symbolic link in the file's place."""

    def damage(folder: Path) -> None:
        (folder / key).unlink(missing_ok=True)
        (folder / key).symlink_to(target)

    return damage


def moved_out(key: str) -> Damage:
    """Move the file out of the folder, and leave a link to it."""

    def damage(folder: Path) -> None:
        outside = folder.parent / "outside" / key
        outside.parent.mkdir(parents=True)
        (folder / key).rename(outside)
        (folder / key).symlink_to(outside)

    return damage


def folder_for(key: str) -> Damage:
    """Put a folder in the file's place."""
    return lambda folder: ((folder / key).unlink(missing_ok=True), (folder / key).mkdir())


def pipe_for(key: str) -> Damage:
    """Put a pipe that nobody writes to in the file's place."""
    import os

    return lambda folder: ((folder / key).unlink(missing_ok=True), os.mkfifo(folder / key))


def weights(change: Callable[[dict[str, torch.Tensor]], object], metadata: dict[str, str] | None = None) -> Damage:
    """Change the weights of iteration 0, under the right hash."""

    def make(data: bytes) -> bytes:
        tensors = load(data)
        change(tensors)
        return save(tensors, metadata)

    return weight_bytes(make)


def weight_bytes(make: Callable[[bytes], bytes]) -> Damage:
    """Put other bytes in the place of the weights of iteration 0, under the right hash."""

    def damage(folder: Path) -> None:
        model = json.loads((folder / MODEL).read_bytes())
        (entry,) = model["weights"]
        data = make((folder / entry["key"]).read_bytes())
        (folder / entry["key"]).write_bytes(data)
        entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (folder / MODEL).write_text(json.dumps(model))

    return damage
