import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from rsir_scale.loop.line import ProgressLine, drawn
from rsir_scale.loop.progress import GenerationLine, TrainingLine
from rsir_scale.steps import Meter, Step, counted, duration
from rsir_scale.training.epoch import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_job_log_gets_a_line_at_most_every_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    line = ProgressLine(stream, clock=clock)
    for second in range(25):
        clock.now = 100.0 + second
        line.update(Step(f"second {second}"))
    assert stream.getvalue() == "second 0\nsecond 10\nsecond 20\n"


def test_what_ends_soon_shows_nothing_unless_its_first_line_is_to_come_at_once() -> None:
    clock, stream = Clock(), io.StringIO()
    line = ProgressLine(stream, clock=clock, at_once=False)
    for second in range(12):
        clock.now = 100.0 + second
        line.update(Step(f"second {second}"))
    assert stream.getvalue() == "second 10\n"


def test_a_terminal_has_one_line_that_is_rewritten() -> None:
    clock, stream = Clock(), Terminal()
    line = ProgressLine(stream, clock=clock)
    line.update(Step("x" * 1000))
    clock.now += 1
    line.update(Step("again"))
    assert "\n" not in stream.getvalue()
    assert "x" * 200 not in stream.getvalue()
    line.note("kept")
    line.close()
    assert stream.getvalue().endswith("\r\x1b[2Kkept\n")


def test_closing_ends_an_open_terminal_line_once() -> None:
    stream = Terminal()
    line = ProgressLine(stream, clock=Clock())
    line.update(Step("working"))
    line.close()
    line.close()
    assert stream.getvalue().endswith("working\n")


def test_a_rate_counts_only_what_came_since_the_first_report() -> None:
    clock = Clock()
    meter = Meter(1000, done=900, clock=clock)
    assert meter.rate(900) is None
    clock.now += 10
    assert meter.rate(950) == pytest.approx(5.0)
    assert meter.left(950) == "10 s left"


def test_generation_adds_up_its_shards_and_claims_no_speed_after_the_first() -> None:
    clock, stream = Clock(), io.StringIO()
    shown = GenerationLine(
        ProgressLine(stream, clock=clock), iteration=0, last=2, rows={3: 10, 4: 10}, done=3, shards=5
    )
    shown.update(4, {"trials": 20, "steps": 10, "accepted_steps": 1, "rows_kept": 2})
    assert stream.getvalue() == "iteration 0/2  generating  shard 4/5  acceptance 10.0 %\n"
    shown.update(3, {"trials": 20, "steps": 10, "accepted_steps": 4, "rows_kept": 3})
    shown.done()
    assert stream.getvalue().splitlines()[-1] == (
        "iteration 0/2  generated  5/5 shards  40 trials left 5 sequences  acceptance 25.0 %"
    )


def test_training_calls_its_time_left_an_upper_bound() -> None:
    clock, stream = Clock(), io.StringIO()
    shown = TrainingLine(ProgressLine(stream, clock=clock), iteration=1, last=2)
    for update in (100, 200):
        clock.now += 20
        shown.update(
            Progress(update, 1000, loss=2.5, score=0.1, best_score=0.12, seconds=1.0, score_name="validation NDCG@20")
        )
    first, second = stream.getvalue().splitlines()
    assert first == "iteration 1/2  training  update 100/1,000  loss 2.500  validation NDCG@20 0.1000 (best 0.1200)"
    assert "at most" in second


def test_what_is_trained_and_what_its_score_is_are_said() -> None:
    stream = io.StringIO()
    shown = TrainingLine(ProgressLine(stream), iteration=0, last=1, name="training the augmenter")
    shown.update(
        Progress(5, 10, loss=2.5, score=-0.1, best_score=-0.1, seconds=1.0, score_name="negative loss on a sample")
    )
    assert stream.getvalue() == (
        "iteration 0/1  training the augmenter  update 5/10  loss 2.500  "
        "negative loss on a sample -0.1000 (best -0.1000)\n"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (42, "42 s"), (425, "7 min 5 s"), (12000, "3 h 20 min")])
def test_durations_read_like_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30)


def seen(step: Step, width: int) -> str:
    """What a terminal shows, without its colours."""
    return Text.from_ansi(drawn(step, Terminal(), width)).plain.rstrip()


@given(st.lists(WORDS, max_size=4), st.integers(0, 5000), st.integers(20, 140))
def test_the_time_left_stands_at_the_end_however_narrow_the_terminal_is(
    facts: list[str], done: int, width: int
) -> None:
    step = Step("iteration 1/2  training", done, 5000, "update", tuple(facts), "at most 3 h 20 min left")
    shown = seen(step, width)
    assert shown.endswith(" at most 3 h 20 min left"[-width:])
    assert cell_len(shown) <= width


def test_what_matters_least_goes_first() -> None:
    step = Step("training", 5, 10, "update", ("1.0 updates/s", "loss 2.5", "NDCG@20 0.1"), "at most 9 s left")
    lines = {width: seen(step, width) for width in (120, 80, 62, 50, 34, 26)}
    for width, parts in {
        120: ("━", "update 5/10", "1.0 updates/s", "loss 2.5", "NDCG@20 0.1"),
        80: ("━", "update 5/10", "loss 2.5", "NDCG@20 0.1"),
        62: ("━", "update 5/10", "NDCG@20 0.1"),
        50: ("━", "update 5/10"),
        34: (),
    }.items():
        assert all(part in lines[width] for part in parts), lines[width]
    assert "updates/s" not in lines[80]
    assert "loss" not in lines[62]
    assert lines[26] == "training  at most 9 s left"


def test_a_step_without_a_total_has_no_bar() -> None:
    assert seen(Step("importing", facts=("reading the log",)), 80) == "importing  reading the log"


def test_what_is_counted_has_a_time_left_once_a_rate_is_known() -> None:
    told: list[Step] = []
    report = counted(told.append, "evaluating", 100, "users")
    report(0)
    report(50)
    assert [step.text.split("  ")[:2] for step in told] == [["evaluating", f"users {done}/100"] for done in (0, 50)]
    assert (told[0].left, str(told[1].left)[-4:]) == (None, "left")
