"""The paper's tables, as many as a budget of minutes allows: the cheapest study first, each taken up where it stopped.

    python -m benchmarks.studies.paper --minutes 60 --workers 2 --out studies/paper

Each study of `configs/paper/` is given to `rsir study run`, which is stopped when the time is up, and whose next call
goes on. Studies that were begun are in order of the time that `rsir study status` says is left, the others by a guess.
The report of each study whose begun seeds are done is kept in `docs/results/paper/`, from which `paper_page` writes
docs/paper.md. At the end stands what is left, with the command that goes on. `--only NAME …` runs these alone; with
`--minutes 0` nothing runs, and what is done is kept.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.record.machine import environment
from benchmarks.studies.paper_studies import STUDIES, PaperStudy, preparing
from rsir_scale.errors import ResumableError, RsirError
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.folder import STUDY, Study, read_study
from rsir_scale.studies.status import study_status

RSIR = (sys.executable, "-m", "rsir_scale")
STOPPING_S = 60.0  # that a study has to stop by itself
LEAST_S = 20.0  # in which a study can begin something
DIGITS = 6


def main() -> None:
    """Run what fits, keep what is finished, and say what is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="when to stop")
    parser.add_argument("--workers", type=int, default=2, help="cells under way at once")
    parser.add_argument("--out", type=Path, default=Path("studies/paper"), help="the studies' folders")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[study.name for study in STUDIES])
    arguments = parser.parse_args()
    end = time.monotonic() + 60.0 * arguments.minutes
    wanted = [study for study in STUDIES if arguments.only is None or study.name in arguments.only]
    failed: set[str] = set()
    while (study := _next(wanted, arguments.out, failed)) and end - time.monotonic() > LEAST_S:
        if not run(study, arguments.out, workers=arguments.workers, until=end):
            failed.add(study.name)
    for study in wanted:
        if is_complete(study, arguments.out):
            keep(study, arguments.out)
    tell_what_is_left(wanted, arguments.out, arguments.workers)


def _next(wanted: list[PaperStudy], out: Path, failed: set[str]) -> PaperStudy | None:
    """The study with the least left to do, of those that can be run and did not fail in this call."""
    ready = [
        study
        for study in wanted
        if study.name not in failed and not missing_data(study) and not is_finished(study, out)
    ]
    return min(ready, key=lambda study: seconds_left(study, out), default=None)


def begun(study: PaperStudy, out: Path) -> Study | None:
    """The study's folder, if there is one."""
    store = open_store(out / study.name)
    return read_study(store) if store.exists(STUDY) else None


def is_complete(study: PaperStudy, out: Path) -> bool:
    """Whether every cell of the seeds that were begun is done: a report of them can be kept."""
    found = begun(study, out)
    return found is not None and all(found.is_done(cell) for cell in found.cells())


def is_finished(study: PaperStudy, out: Path) -> bool:
    """Whether it is complete, with all seeds of its file."""
    found = begun(study, out)
    return found is not None and set(study.read().seeds) <= {*found.seeds()} and is_complete(study, out)


def seconds_left(study: PaperStudy, out: Path) -> float:
    """Seconds of one core until it is finished, about."""
    found = begun(study, out)
    told = None if found is None else study_status(found)["cell_seconds_left"]
    return 3600.0 * study.hours if told is None else float(told)


def missing_data(study: PaperStudy) -> list[str]:
    """The datasets of a study that cannot be made here, for the log is not imported."""
    return [folder for folder in study.read().datasets.values() if not _is_there(_source(folder))]


def _source(folder: str) -> str:
    return folder.partition("-noise-")[0]


def _is_there(folder: str) -> bool:
    return (Path(folder) / "dataset.json").exists()


def run(study: PaperStudy, out: Path, *, workers: int, until: float) -> bool:
    """Go on with a study until it ends or the time is up; returns whether nothing failed."""
    for folder in study.read().datasets.values():
        if not _is_there(folder):
            subprocess.run([*RSIR, *shlex.split(preparing(folder)[-1])[1:]], check=True)
    print(f"{study.name} ({study.shows})", flush=True)
    command = [*RSIR, *shlex.split(study.command(str(out), workers))[1:]]
    process = subprocess.Popen(command)
    try:
        code = process.wait(timeout=max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = _stopped(process)
    # What stops with this code goes on with the next call; if time is left, something of it failed.
    return code == 0 or (code == ResumableError.exit_code and time.monotonic() >= until)


def _stopped(process: "subprocess.Popen[bytes]") -> int:
    """The exit code of a study that is told to stop; killed, it resumes just as well."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(timeout=STOPPING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return ResumableError.exit_code


def keep(study: PaperStudy, out: Path) -> None:
    """Write what a finished study found, unless it is kept already."""
    found = begun(study, out)
    if found is None or _is_kept(study, found):
        return
    told = {
        "environment": environment(),
        "fingerprint": found.record.fingerprint,
        "report": _report(out, study),
        "analysis": _analyses(found) if study.analysed else {},
    }
    study.kept.parent.mkdir(parents=True, exist_ok=True)
    open_store(study.kept.parent).put(study.kept.name, (json.dumps(_rounded(told)) + "\n").encode())
    print(f"kept {study.kept}", flush=True)


def _is_kept(study: PaperStudy, found: Study) -> bool:
    if not study.kept.exists():
        return False
    before = json.loads(study.kept.read_text())
    return bool((before["fingerprint"], before["report"]["seeds"]) == (found.record.fingerprint, list(found.seeds())))


def _analyses(found: Study) -> dict[str, Any]:
    """What `rsir analyse` says of each arm's run under the first seed."""
    first = found.seeds()[0]
    cells = [cell for cell in found.cells() if cell.seed == first and cell.control is None and not cell.is_base]
    return {cell.name: _asked("analyse", f"{found.store.root}/{cell.key}") for cell in cells}


def _report(out: Path, study: PaperStudy) -> dict[str, Any]:
    """A study's report without the place where it lay."""
    found = _asked("study", "report", str(out / study.name))
    return {name: value for name, value in found.items() if name != "study"}


def _asked(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([*RSIR, *arguments, "--json"], check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _rounded(value: Any) -> Any:
    """The same with figures of so many digits: a page shows fewer."""
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def tell_what_is_left(wanted: list[PaperStudy], out: Path, workers: int) -> None:
    """Say of each study that is not finished how long it takes, and the command that goes on."""
    left = [study for study in wanted if not is_finished(study, out)]
    print(f"{len(wanted) - len(left)} of {len(wanted)} studies are finished")
    for study in sorted(left, key=lambda study: seconds_left(study, out)):
        try:
            hours = seconds_left(study, out) / 3600.0
        except RsirError as error:
            print(f"{study.name}: {error}")
            continue
        print(f"{study.name} ({study.shows}), about {hours:.1f} hours of one core: {study.command(str(out), workers)}")
        for folder in missing_data(study):
            print(f"  first: {preparing(_source(folder))[0]}")


if __name__ == "__main__":
    main()
