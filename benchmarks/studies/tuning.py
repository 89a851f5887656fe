"""Tune a base: one fit a trial, judged on validation alone. No test figure is computed here, so none can be seen.

    python -m benchmarks.studies.tuning run --config configs/toys.yaml --trials FILE.yaml \\
        --out docs/results/search-toys.json
    python -m benchmarks.studies.tuning report --out docs/results/search-toys.json

A trials file is a list of names, each with the overrides that it tries:

    - name: rate-5e-4
      set: [training.learning_rate=0.0005, model.dropout=0.6]

A trial's row is written when its fit has ended; a trial whose row is there is skipped. A fit that was stopped goes on
from its last validation: its state lies in `--state`, under a name made of its settings and data, and is removed with
the row. A fit whose loss is not a number leaves a row that says so. Several processes may share `--out`, if each has
trials of its own.
"""

import argparse
import shutil
from pathlib import Path

import torch
import yaml

from benchmarks.record.machine import commit
from benchmarks.record.result_file import Row, add_row, read_rows
from benchmarks.studies.paired_gain import tell, training_settings
from rsir_scale.config.effect import effective_settings
from rsir_scale.config.file import load_config, resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.errors import ConfigError, DivergedError
from rsir_scale.evaluation.evaluate import rank_targets, validation_set
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.models.repository import load_trained
from rsir_scale.runs.run import Run
from rsir_scale.runs.trained import has_model, read_model
from rsir_scale.storage.opening import open_store
from rsir_scale.training.iteration import train_iteration, training_task
from rsir_scale.training.worker import Worker

METRICS = (("NDCG", 10), ("NDCG", 20), ("Recall", 10))
SORTED_BY = "validation/NDCG@20"


def main() -> None:
    """Run trials or print those that are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="fit the trials that are missing")
    run.add_argument("--config", required=True)
    run.add_argument("--trials", type=Path, required=True, help="YAML: a list of {name, set}")
    run.add_argument("--set", action="append", default=[], dest="overrides", help="of all trials")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--state", type=Path, default=Path("runs/search"), help="fits that are not ended")
    run.add_argument("--out", type=Path, required=True)
    report = verbs.add_parser("report", help="print the trials by validation NDCG@20")
    report.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.verb == "run":
        torch.set_num_threads(1)
        for name, overrides in read_trials(arguments.trials):
            config = load_config(arguments.config, [*arguments.overrides, *overrides, f"seed={arguments.seed}"])
            if not is_done(name, config, arguments.out):
                add_row(arguments.out, run_trial(name, config, arguments.state))
            shutil.rmtree(state_of(config, arguments.state), ignore_errors=True)
    print_report(read_rows(arguments.out))


def read_trials(path: Path) -> list[tuple[str, list[str]]]:
    """Name and overrides of each trial.

    Raises:
        ConfigError: the file is no list of `{name, set}`, or two trials share a name.
    """
    trials: dict[str, list[str]] = {}
    for entry in yaml.safe_load(path.read_text()) or []:
        if not isinstance(entry, dict) or not set(entry) <= {"name", "set"} or not isinstance(entry.get("name"), str):
            raise ConfigError(
                f"{path} holds {entry!r}: write each trial as `- name: NAME` with `set: [section.key=value]`"
            )
        if entry["name"] in trials:
            raise ConfigError(f"{path} names {entry['name']!r} twice: give each trial a name of its own")
        trials[entry["name"]] = [str(override) for override in entry.get("set") or []]
    return list(trials.items())


def chosen_settings(config: Config) -> Row:
    """What a base depends on, where it is not the default; a preset is spelled out, for its values may change."""
    defaults = effective_settings(resolve({"data": {"path": config.data.path}}))
    mine = training_settings(config).items()
    return {key: value for key, value in mine if key != "seed" and value != defaults[key]}


def is_done(name: str, config: Config, out: Path) -> bool:
    """Whether the trial has its row. Raises ConfigError: a row of its name and seed has other settings."""
    for row in read_rows(out):
        if (row["name"], row["seed"]) != (name, config.seed):
            continue
        if row["settings"] != chosen_settings(config):
            raise ConfigError(
                f"{out} holds trial {name!r} with {row['settings']}, and now it is {chosen_settings(config)}: give it "
                "another name"
            )
        return True
    return False


def state_of(config: Config, state: Path) -> Path:
    """The folder of a trial's fit, which stays until the trial has its row."""
    return state / f"{config.fingerprint()[:16]}-{open_dataset(config.data.path).meta.fingerprint[:16]}"


def run_trial(name: str, config: Config, state: Path) -> Row:
    """Fit theta_0, or go on with it, and return its row."""
    dataset, folder = open_dataset(config.data.path), state_of(config, state)
    row = {"name": name, "seed": config.seed, "settings": chosen_settings(config)}
    try:
        outcome = fitted(config, dataset, folder, name)
    except DivergedError as error:
        outcome = {"error": str(error)}
        print(f"{name}: {error}", flush=True)
    return row | outcome | {"commit": commit()}


def fitted(config: Config, dataset: PreparedDataset, folder: Path, name: str) -> Row:
    """How the fit of a folder ended, and what its best weights do on validation."""
    store = open_store(folder)
    run = Run(store, dataset, config)
    if not has_model(store, 0):
        train_iteration(run, 0, worker=Worker(), report=lambda progress: tell(name, progress))
    model = read_model(store, 0)
    users = validation_set(dataset.training_sequences(), dataset.held_out())
    largest = max(cut for _, cut in METRICS)
    ranks = rank_targets(load_trained(run, 0), users, mask_history=config.evaluation.mask_history, cap=largest)
    interval = training_task(run, 0).budget.interval
    scores = {
        f"validation/{name}@{cut}": float(per_user(ranks, metric=name, cutoff=cut).mean()) for name, cut in METRICS
    }
    return scores | {
        "best_update": model.best_update,
        "updates": model.updates,
        "best_epoch": model.best_update / interval,
        "epochs": model.updates / interval,
        "seconds": round(model.train_s, 1),
    }


def print_report(rows: list[Row]) -> None:
    """Print the trials, the best first; those without a figure last."""
    print(
        f"{'trial':>28} seed "
        + " ".join(f"{f'{name}@{cut}':>9}" for name, cut in METRICS)
        + "  best/all epochs  seconds"
    )
    for row in sorted(rows, key=lambda row: row.get(SORTED_BY, -1.0), reverse=True):
        told = f"{row['name']:>28} {row['seed']:>4} "
        if "error" in row:
            print(f"{told}{row['error']}")
            continue
        scores = " ".join(f"{row[f'validation/{name}@{cut}']:>9.5f}" for name, cut in METRICS)
        print(f"{told}{scores}  {row['best_epoch']:>7.0f}/{row['epochs']:<7.0f} {row['seconds']:>8.0f}")


if __name__ == "__main__":
    main()
