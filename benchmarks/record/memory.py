"""Memory of a process and of all that it started, sampled from outside and drawn over time.

A total has to count shared pages once: proportional set sizes (PSS, `/proc/<pid>/smaps_rollup`) do. Where the kernel
has none, resident sizes are added up instead, which counts shared pages many times; `counted_as` says which it was.
What one process took at most is the kernel's own high-water mark of its resident size, so no sample can miss it.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import psutil

from rsir_scale.errors import RsirError

Job = TypeVar("Job")
INTERVAL_S = 0.5
_FIELD_KIB = 1024
_KINDS = "total", "actors", "training", "driver", "ray", "preparation"
# Ray's workers bear the name of what they run.
_KIND_BY_NAME = {
    "_ShardActor": "actors",
    "MapWorker": "actors",
    "RayTrainWorker": "training",
    "_prepare_here": "preparation",
}


class Sampler:
    """Samples one process and its descendants.

    Args:
        root: its id.
        driver: what the first two words of the driver's command end with; None: the driver is the root.

    Attributes:
        counted_as: "pss" or "rss", what the samples are.
        samples: one mapping a sample: seconds since the first, and bytes of each kind of process and in total.
        peak_bytes: greatest resident size of a single process, by its kind.
    """

    def __init__(self, root: int, *, driver: str | None = None) -> None:
        self.counted_as = "pss" if Path("/proc/self/smaps_rollup").exists() else "rss"
        self.samples: list[dict[str, float]] = []
        self.peak_bytes: dict[str, int] = {}
        self._root = psutil.Process(root)
        self._driver = driver
        self._known: dict[int, psutil.Process] = {}
        self._started = time.monotonic()

    def sample(self) -> None:
        """Take one sample; processes that end meanwhile count for nothing."""
        found = {"seconds": time.monotonic() - self._started, "total": 0.0}
        for process in self._processes():
            try:
                kind, size, peak = self._kind(process), self._size(process), _peak(process)
            except (psutil.Error, OSError):
                continue
            found[kind] = found.get(kind, 0.0) + size
            found["total"] += size
            self.peak_bytes[kind] = max(peak, self.peak_bytes.get(kind, 0))
        self.samples.append(found)

    def peak(self, kind: str = "total") -> int:
        """The greatest sampled sum over the processes of a kind, in bytes."""
        return int(max((sample.get(kind, 0.0) for sample in self.samples), default=0.0))

    def _processes(self) -> list[psutil.Process]:
        """Root and descendants; one that lost its parent stays known."""
        try:
            found = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            found = []
        self._known = {pid: process for pid, process in self._known.items() if process.is_running()}
        self._known |= {process.pid: process for process in found}
        return list(self._known.values())

    def _kind(self, process: psutil.Process) -> str:
        title = " ".join(process.cmdline()[:2])
        if title.endswith(self._driver) if self._driver else process == self._root:
            return "driver"
        return next((kind for name, kind in _KIND_BY_NAME.items() if name in title), "ray")

    def _size(self, process: psutil.Process) -> float:
        if self.counted_as == "rss":
            return float(process.memory_info().rss)
        return float(_field(Path(f"/proc/{process.pid}/smaps_rollup"), "Pss"))


def in_fresh_process(function: Callable[[Job], dict[str, Any]], job: Job) -> tuple[dict[str, Any], Sampler]:
    """Call in a new interpreter, so that no call's memory shows in another's, and sample it and what it starts."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, job))
    process.start()
    sender.close()
    sampler = Sampler(int(process.pid or 0))
    try:
        while not receiver.poll(INTERVAL_S):
            sampler.sample()
        done, result = receiver.recv()
    except EOFError:
        raise SystemExit(f"{function.__name__} ended without a result: see above") from None
    finally:
        process.join()
    if not done:
        raise SystemExit(str(result))
    return result, sampler


def _answer(sender: Connection, function: Callable[[Job], dict[str, Any]], job: Job) -> None:
    try:
        sender.send((True, function(job)))
    except RsirError as error:
        sender.send((False, str(error)))


def own_size() -> int:
    """PSS of this process in bytes, or its resident size where the kernel tells no PSS."""
    rollup = Path("/proc/self/smaps_rollup")
    return _field(rollup, "Pss") if rollup.exists() else int(psutil.Process().memory_info().rss)


def own_peak() -> int:
    """The greatest resident size that this process has had, in bytes."""
    return _peak(psutil.Process())


def _peak(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    return _field(status, "VmHWM") if status.exists() else int(process.memory_info().rss)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _FIELD_KIB
    return 0


def draw(path: Path, panels: Sequence[tuple[str, Sequence[dict[str, float]]]]) -> None:
    """Draw samples over time, one panel for each (title, samples)."""
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(len(panels), squeeze=False, figsize=(8, 3 * len(panels)))
    for axes, (title, samples) in zip(all_axes[:, 0], panels, strict=True):
        seconds = [sample["seconds"] for sample in samples]
        for kind in _KINDS:
            if any(kind in sample for sample in samples):
                axes.plot(seconds, [sample.get(kind, 0.0) / 2**30 for sample in samples], label=kind)
        axes.set_title(title, fontsize=9)
        axes.set_ylabel("GiB")
        axes.legend(fontsize=8)
    all_axes[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path)
