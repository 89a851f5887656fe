import io

import pytest

from rsir_scale.loop.progress import GenerationLine, Meter, ProgressLine, TrainingLine, duration
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
        line.update(f"second {second}")
    assert stream.getvalue() == "second 0\nsecond 10\nsecond 20\n"


def test_what_ends_soon_shows_nothing_unless_its_first_line_is_to_come_at_once() -> None:
    clock, stream = Clock(), io.StringIO()
    line = ProgressLine(stream, clock=clock, at_once=False)
    for second in range(12):
        clock.now = 100.0 + second
        line.update(f"second {second}")
    assert stream.getvalue() == "second 10\n"


def test_a_terminal_has_one_line_that_is_rewritten_and_cut_to_its_width() -> None:
    clock, stream = Clock(), Terminal()
    line = ProgressLine(stream, clock=clock)
    line.update("x" * 1000)
    clock.now += 1
    line.update("again")
    assert "\n" not in stream.getvalue()
    assert len(stream.getvalue()) < 1000
    line.note("kept")
    line.close()
    assert stream.getvalue().endswith("\r\x1b[2Kkept\n")


def test_closing_ends_an_open_terminal_line_once() -> None:
    stream = Terminal()
    line = ProgressLine(stream, clock=Clock())
    line.update("working")
    line.close()
    line.close()
    assert stream.getvalue().endswith("working\n")


def test_a_rate_counts_only_what_came_since_the_first_report() -> None:
    clock = Clock()
    meter = Meter(1000, done=900, clock=clock)
    assert meter.rate(900) is None
    clock.now += 10
    assert meter.rate(950) == pytest.approx(5.0)
    assert meter.left_s(950) == pytest.approx(10.0)


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
    shown = TrainingLine(ProgressLine(stream), iteration=0, last=1, phase="training the augmenter")
    shown.update(
        Progress(5, 10, loss=2.5, score=-0.1, best_score=-0.1, seconds=1.0, score_name="negative loss on a sample")
    )
    assert stream.getvalue() == (
        "iteration 0/1  training the augmenter  update 5/10  loss 2.500  "
        "negative loss on a sample -0.1000 (best -0.1000)\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, None), (0.4, "0 s"), (42, "42 s"), (425, "7 min 5 s"), (12000, "3 h 20 min")]
)
def test_durations_read_like_durations(seconds: float | None, text: str | None) -> None:
    assert duration(seconds) == text
