"""The recursion: train theta_k, evaluate it, let it write, and go on with what it wrote.

Comes in: a run whose lease is held, its dataset and two phases, training and generation, which may run in this process
or on a cluster. Goes out: manifests, two an iteration. Every step looks first at what the run directory already holds,
so the same call starts a run, resumes it wherever it stopped, and finds nothing to do when it is finished.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from rsir_scale.augmenters.opening import augmenter_of, unread_settings
from rsir_scale.config.effect import effective_settings
from rsir_scale.config.file import deviations
from rsir_scale.config.settings import Config
from rsir_scale.errors import IntegrityError
from rsir_scale.evaluation.iteration import evaluate_iteration
from rsir_scale.loop.preflight import check_settings
from rsir_scale.loop.progress import phase
from rsir_scale.models.repository import load_trained
from rsir_scale.runs import events, layout
from rsir_scale.runs.evaluated import Evaluation, read_evaluation
from rsir_scale.runs.events import append_event
from rsir_scale.runs.learned import has_learned, learned_files, read_learned
from rsir_scale.runs.manifest import (
    GenerationLink,
    ModelLink,
    read_chain,
    read_manifest,
    write_link,
)
from rsir_scale.runs.open_run import HeldRun
from rsir_scale.runs.owners import held_out_hits
from rsir_scale.runs.plan import ShardPlan, plan_iteration
from rsir_scale.runs.records import entry_of
from rsir_scale.runs.selection import SELECTION_METRIC
from rsir_scale.runs.settle import mixture_facts, settle
from rsir_scale.runs.teacher import read_teacher
from rsir_scale.runs.trained import has_model, read_model
from rsir_scale.steps import Step, Tell, silent
from rsir_scale.storage.base import Store


class Phases(Protocol):
    """Where the two long phases run."""

    def train(self, run: HeldRun, iteration: int) -> None:
        """Leave the iteration's model published, or raise."""
        ...

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        """Leave every shard of the plan committed, or raise."""
        ...


def run_recursion(run: HeldRun, phases: Phases, tell: Tell = silent) -> None:
    """Bring the run to its end: `loop.iterations` generations, or fewer by `loop.patience`.

    Args:
        run: held by this process.
        phases: where training and writing run; they show themselves how far they are.
        tell: is told of evaluation and settling.

    Raises:
        ConfigError: the settings cannot work on this dataset; nothing was begun.
        ResumableError: a phase stopped; the same call goes on from there.
        IntegrityError: the run directory holds something damaged.
    """
    check_settings(run.config, run.dataset)
    read_chain(run.store)
    append_event(run.store, events.RUN_STARTED)
    scores: list[float] = []
    for iteration in range(run.config.loop.iterations + 1):
        scores.append(_train_and_evaluate(run, phases, iteration, tell))
        if _is_last(run.config, scores):
            break
        _generate(run, phases, iteration, tell)
    append_event(run.store, events.RUN_DONE)


def _is_last(config: Config, scores: Sequence[float]) -> bool:
    """Whether the recursion ends with the iteration of the last score; the first of equal scores is the best."""
    newest = len(scores) - 1
    if newest == config.loop.iterations:
        return True
    patience = config.loop.patience
    return patience is not None and newest - scores.index(max(scores)) >= patience


def _train_and_evaluate(run: HeldRun, phases: Phases, iteration: int, tell: Tell) -> float:
    """Return theta_k's validation score; train and evaluate it, and make it count, if that was not done."""
    store, link = run.store, layout.model_link(iteration)
    if store.exists(link):
        return _score(store, link, read_manifest(store, iteration).metrics)
    if not has_model(store, iteration):
        append_event(store, events.TRAINING_STARTED, {"iteration": iteration})
        run.lease.assert_held()
        phases.train(run, iteration)
    evaluation = _evaluation(run, iteration, tell)
    score = _score(store, layout.metrics(iteration), evaluation.metrics)
    write_link(store, _model_link(run, iteration, evaluation), run.lease)
    return score


def _score(store: Store, key: str, metrics: Mapping[str, float]) -> float:
    if SELECTION_METRIC not in metrics:
        raise IntegrityError(f"{store.root}/{key} holds no {SELECTION_METRIC}, by which the recursion ends: restore it")
    return metrics[SELECTION_METRIC]


def _evaluation(run: HeldRun, iteration: int, tell: Tell) -> Evaluation:
    earlier = read_evaluation(run.store, iteration)
    if earlier is not None:
        return earlier
    append_event(run.store, events.EVALUATION_STARTED, {"iteration": iteration})
    what = phase(iteration, run.config.loop.iterations, "evaluating")
    return evaluate_iteration(run, iteration, load_trained(run, iteration), partial(_retold, tell, what))


def _retold(tell: Tell, what: str, step: Step) -> None:
    """Tell of a step under the name of its phase."""
    tell(replace(step, what=what))


def _model_link(run: HeldRun, iteration: int, evaluation: Evaluation) -> ModelLink:
    store, config, model = run.store, run.config, read_model(run.store, iteration)
    return ModelLink(
        iteration=iteration,
        config_fingerprint=config.fingerprint(),
        settings=effective_settings(config),
        explicit=deviations(config),
        dataset_fingerprint=run.dataset.meta.fingerprint,
        files=(
            entry_of(store, layout.model(iteration), "model"),
            *model.weights,
            entry_of(store, layout.metrics(iteration), "metrics"),
            evaluation.ranks,
        ),
        teacher=read_teacher(store),
        metrics=evaluation.metrics,
        timings={"train_s": round(model.train_s, 3)},
        facts=run.facts,
    )


def _generate(run: HeldRun, phases: Phases, iteration: int, tell: Tell) -> None:
    """Let theta_k, or the teacher, write from D_k, settle duplicates, and make it count, if that was not done."""
    store = run.store
    if store.exists(layout.generation_link(iteration)):
        return
    started, augmenter = time.perf_counter(), augmenter_of(run, iteration)
    plan = plan_iteration(run, iteration, trials=augmenter.trials)
    append_event(store, events.GENERATION_STARTED, {"iteration": iteration, "shards": len(plan.shards)})
    run.lease.assert_held()
    phases.generate(run, plan)
    tell(Step(phase(iteration, run.config.loop.iterations, "settling duplicates")))
    generation, files = settle(run, plan, augmenter.settle_rules, attempt=layout.new_attempt())
    hits = held_out_hits(run, iteration, files)
    generation = generation.model_copy(update={"counters": generation.counters | hits})
    timings = {"generate_s": round(time.perf_counter() - started, 3)}
    if has_learned(store, iteration):
        timings["learn_s"] = round(read_learned(store, iteration).seconds, 3)
    link = GenerationLink(
        iteration=iteration,
        files=(*files, *learned_files(store, iteration), *augmenter.files()),
        generation=generation,
        timings=timings,
        facts=(
            *run.facts,
            *augmenter.facts(generation.counters),
            *unread_settings(run.config),
            *mixture_facts(generation),
        ),
    )
    write_link(store, link, run.lease)
    append_event(store, events.ITERATION_DONE, {"iteration": iteration})
