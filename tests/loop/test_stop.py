import os
import signal
import subprocess
import sys
import threading

import pytest

from rsir_scale.loop import stop as module
from rsir_scale.loop.stop import Stopper


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_the_main_thread_and_is_named(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stopper = Stopper("resume it", grace_s=60)
    try:
        with pytest.raises(KeyboardInterrupt), stopper:
            os.kill(os.getpid(), number)
        assert number.name in stopper.message()
        assert stopper.message().splitlines()[-1] == "resume it"
    finally:
        stopper.disarm()
    assert signal.getsignal(number) == before


def test_without_a_signal_the_handlers_are_those_from_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stopper("resume it"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_counts_also_while_ray_handles_it() -> None:
    stopper = Stopper("resume it", grace_s=60)
    with pytest.raises(KeyboardInterrupt), stopper, stopper.around_ray():
        sys.exit(signal.SIGTERM)
    assert "SIGTERM" in stopper.message()
    stopper.disarm()
    with pytest.raises(SystemExit), stopper.around_ray():
        sys.exit(1)


SCRIPT = """
import os, signal, time
from rsir_scale.loop.stop import Stopper
with Stopper("resume it", grace_s={grace}):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        {then}
        time.sleep(60)
"""


@pytest.mark.parametrize(("grace", "then"), [(0.2, "pass"), (60, "os.kill(os.getpid(), signal.SIGINT)")])
def test_the_end_of_the_grace_or_a_second_signal_ends_the_process_with_3(grace: float, then: str) -> None:
    script = SCRIPT.format(grace=grace, then=then)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "resume it"


LOST = """
import signal, sys, time
from rsir_scale.loop.stop import Stopper
with Stopper("resume it", grace_s=0.2):
    # As Ray's, in a callback whose exceptions are ignored.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.raise_signal(signal.SIGTERM)
    time.sleep(60)
"""


def test_a_signal_that_a_handler_of_others_loses_ends_the_process_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "resume it"
    assert "SIGTERM" in done.stderr


@pytest.mark.parametrize("answers", [True, False])
def test_who_is_ended_where_it_stands_tells_so_first_and_waits_for_nobody(
    answers: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[object] = []
    hangs = threading.Event()
    monkeypatch.setattr(module, "_TELL_S", 10.0 if answers else 0.05)
    monkeypatch.setattr(module.os, "_exit", told.append)
    stopper = Stopper("resume it")

    def tell() -> None:
        told.append("told") if answers else hangs.wait(60)

    stopper.tell = tell
    stopper._leave()
    hangs.set()
    assert told == (["told", 3] if answers else [3])
    assert capsys.readouterr().err.splitlines()[-1] == "resume it"
