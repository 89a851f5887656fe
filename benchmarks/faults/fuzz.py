"""Are there bytes that make the engine fail otherwise than by a message? Every reader and parser, tried with many.

    python -m benchmarks.faults.fuzz --inputs 120000 --json docs/results/fuzz.json

Comes in: how many inputs. Goes out: for each target how many were taken and how many refused, by class of error; what
ended otherwise, with the bytes kept; the slowest input; and the peak of this process's memory. An input is a valid file
changed in some places: bits, bytes, runs of them, pieces of another seed, and the tokens that formats give a meaning.
Seeded, so that a fault is found again. Leaves with 1 where anything ended otherwise, or took a GiB.
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.fuzz_targets import Target, targets
from benchmarks.record.machine import commit, environment
from benchmarks.record.memory import own_peak
from rsir_scale.errors import RsirError

GIB = 1 << 30
MOST_CHANGES = 16
TOKENS = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n", b"\r", b"\n", b"\t", b",", b";", b"::", b'"', b"'", b"{"),
    *(
        b"}",
        b"[",
        b"]",
        b"&a ",
        b"*a",
        b"!!python/name:os.system ",
        b"<<: ",
        b"---\n",
        b"#",
        b"NaN",
        b"nan",
        b"Infinity",
    ),
    *(b"-1", b"1e400", b"9" * 40, b"9" * 5000, b"null", b"true", b"../", b"/", b"\\", b"\\u0000", b"\\ud800", b"\xc3"),
    *(b"[" * 5000, b"{" * 300, b"a" * 5000, b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"2020-01-01", b"0x10", b"%s"),
    *(bytes(8), b"\xff" * 8, b"\x7f" + b"\xff" * 7, (2**63 - 1).to_bytes(8, "little"), (2**31).to_bytes(4, "little")),
)


def changed(seeds: tuple[bytes, ...], draws: np.random.Generator) -> bytes:
    """A seed, changed in one place or a few."""
    data = bytearray(seeds[int(draws.integers(len(seeds)))])
    for _ in range(min(int(draws.geometric(0.5)), MOST_CHANGES)):
        _CHANGES[int(draws.integers(len(_CHANGES)))](data, seeds, draws)
    return bytes(data)


def _place(data: bytearray, draws: np.random.Generator) -> int:
    return int(draws.integers(len(data) + 1))


def _flip(data: bytearray, _seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    if data:
        data[_place(data, draws) - 1] ^= 1 << int(draws.integers(8))


def _byte(data: bytearray, _seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    if data:
        data[_place(data, draws) - 1] = int(draws.integers(256))


def _token(data: bytearray, _seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    start = _place(data, draws)
    data[start : start + int(draws.integers(4))] = TOKENS[int(draws.integers(len(TOKENS)))]


def _noise(data: bytearray, _seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    start, length = _place(data, draws), int(draws.integers(1, 9))
    data[start : start + length] = draws.bytes(length)


def _cut(data: bytearray, _seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    start = _place(data, draws)
    del data[start : start + int(draws.integers(1, max(2, len(data) // 4)))]


def _end(data: bytearray, _seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    if draws.random() < 0.2:
        del data[_place(data, draws) :]


def _again(data: bytearray, _seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    start, to = _place(data, draws), _place(data, draws)
    data[to:to] = data[start : start + int(draws.integers(1, 200))]


def _splice(data: bytearray, seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    other = seeds[int(draws.integers(len(seeds)))]
    start = int(draws.integers(len(other) + 1))
    at = _place(data, draws)
    data[at : at + int(draws.integers(100))] = other[start : start + int(draws.integers(100))]


def _number(data: bytearray, _seeds: tuple[bytes, ...], draws: np.random.Generator) -> None:
    """Put another number in the place of one in the text."""
    found = list(re.finditer(rb"[0-9]+", data))
    if found:
        chosen = found[int(draws.integers(len(found)))]
        value = (b"0", b"-1", b"1e999", b"1.5", b"9223372036854775808", b"99999999999")[int(draws.integers(6))]
        data[chosen.start() : chosen.end()] = value


Change = Callable[[bytearray, tuple[bytes, ...], np.random.Generator], None]
_CHANGES: tuple[Change, ...] = (_flip, _byte, _token, _noise, _cut, _end, _again, _splice, _number)


def fuzz(name: str, target: Target, *, inputs: int, seed: int, keep: Path | None = None) -> dict[str, Any]:
    """Try a target, and count how its inputs ended; bytes of faults are written to the folder `keep`."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    draws = np.random.default_rng([seed, number])
    ended: Counter[str] = Counter()
    faults: list[dict[str, str]] = []
    slowest, started = 0.0, time.perf_counter()
    for _ in range(inputs):
        data = changed(target.seeds, draws)
        began = time.perf_counter()
        try:
            target.take(data)
            ended["taken"] += 1
        except RsirError as error:
            ended[type(error).__name__] += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a fault is anything else, panics of native code among it
            ended["fault"] += 1
            faults.append({"error": f"{type(error).__name__}: {str(error)[:200]}", "bytes": _kept(keep, data)})
        slowest = max(slowest, time.perf_counter() - began)
    return {
        "target": name,
        "inputs": inputs,
        "ended": dict(sorted(ended.items())),
        "slowest_s": round(slowest, 3),
        "seconds": round(time.perf_counter() - started, 1),
        "peak_bytes": own_peak(),
        "faults": faults[:5],
    }


def _kept(folder: Path | None, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()[:16]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / digest).write_bytes(data)
    return digest


def main() -> int:
    """Try all targets, evenly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--inputs", type=int, default=120_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose name holds this")
    parser.add_argument("--keep", type=Path, help="folder for the bytes of faults")
    parser.add_argument("--json", type=Path, help="written after each target; the same call goes on from there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rsir-fuzz-") as folder:
        chosen = {name: target for name, target in targets(Path(folder)).items() if asked.only in name}
        each = -(-asked.inputs // len(chosen))
        how = {"commit": commit(), "seed": asked.seed, "inputs_each": each}
        rows = _done(asked.json, how)
        for name in [name for name in chosen if name not in {row["target"] for row in rows}]:
            row = fuzz(name, chosen[name], inputs=each, seed=asked.seed, keep=asked.keep)
            rows.append(row)
            print(f"{name:32} {row['ended']} slowest {row['slowest_s']} s", flush=True)
            for fault in row["faults"]:
                print(f"    {fault['error']} ({fault['bytes']})", flush=True)
            if asked.json:
                found = {"environment": environment(), **how, "total": _total(rows), "targets": rows}
                asked.json.write_text(json.dumps(found, indent=1) + "\n")
    total = _total(rows)
    print(total)
    return int(total["tracebacks"] > 0 or total["peak_bytes"] >= GIB)


def _done(path: Path | None, how: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a file that was written by the same call on the same code."""
    found = json.loads(path.read_text()) if path is not None and path.exists() else {}
    rows: list[dict[str, Any]] = found.get("targets", [])
    return rows if {key: found.get(key) for key in how} == how else []


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "inputs": sum(row["inputs"] for row in rows),
        "taken": sum(row["ended"].get("taken", 0) for row in rows),
        "refused": sum(count for row in rows for how, count in row["ended"].items() if how not in ("taken", "fault")),
        "tracebacks": sum(row["ended"].get("fault", 0) for row in rows),
        "peak_bytes": max(row["peak_bytes"] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
