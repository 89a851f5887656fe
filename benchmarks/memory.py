"""Memory of a process and of all that it started, sampled from outside and drawn over time.

A total has to count shared pages once: proportional set sizes (PSS, `/proc/<pid>/smaps_rollup`) do. Where the kernel
has none, resident sizes are added up instead, which counts shared pages many times; `counted_as` says which it was.
What one process took at most is the kernel's own high-water mark of its resident size, so no sample can miss it.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import psutil

_FIELD_KIB = 1024
_WIDTH, _HEIGHT, _MARGIN = 640, 260, 48
_COLOURS = {"total": "#333333", "actors": "#1f77b4", "driver": "#d62728", "ray": "#999999", "preparation": "#2ca02c"}


class Sampler:
    """Samples one process, the driver, and its descendants.

    Attributes:
        counted_as: "pss" or "rss", what the samples are.
        samples: one mapping a sample: seconds since the first, and bytes of each kind of process and in total.
        peak_bytes: greatest resident size of a single process, by its kind.
    """

    def __init__(self, driver: int) -> None:
        self.counted_as = "pss" if Path("/proc/self/smaps_rollup").exists() else "rss"
        self.samples: list[dict[str, float]] = []
        self.peak_bytes: dict[str, int] = {}
        self._driver = psutil.Process(driver)
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
        """Driver and descendants; one that lost its parent stays known."""
        try:
            found = [self._driver, *self._driver.children(recursive=True)]
        except psutil.Error:
            found = []
        self._known = {pid: process for pid, process in self._known.items() if process.is_running()}
        self._known |= {process.pid: process for process in found}
        return list(self._known.values())

    def _kind(self, process: psutil.Process) -> str:
        if process.pid == self._driver.pid:
            return "driver"
        # Ray's workers bear the name of what they run.
        title = " ".join(process.cmdline()[:2])
        if "_ShardActor" in title or "MapWorker" in title:
            return "actors"
        return "preparation" if "_prepare_here" in title else "ray"

    def _size(self, process: psutil.Process) -> float:
        if self.counted_as == "rss":
            return float(process.memory_info().rss)
        return float(_field(Path(f"/proc/{process.pid}/smaps_rollup"), "Pss"))


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
    """Write samples over time as an SVG, one panel for each (title, samples)."""
    body = [_panel(title, samples, number * _HEIGHT) for number, (title, samples) in enumerate(panels)]
    size = f'width="{_WIDTH}" height="{_HEIGHT * len(body)}" font-family="sans-serif" font-size="11"'
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n' + "\n".join(body) + "\n</svg>\n")


def _panel(title: str, samples: Sequence[dict[str, float]], top: int) -> str:
    last = max((sample["seconds"] for sample in samples), default=1.0) or 1.0
    most = max((sample["total"] for sample in samples), default=1.0) or 1.0
    left, right, high, low = _MARGIN, _WIDTH - 100, top + 30, top + _HEIGHT - 30
    parts = [
        f'<text x="{left}" y="{top + 18}">{title}</text>',
        f'<path d="M{left},{high}V{low}H{right}" fill="none" stroke="#000"/>',
        f'<text x="{left - 4}" y="{high + 4}" text-anchor="end">{most / 2**30:.2f}</text>',
        f'<text x="{left - 4}" y="{low}" text-anchor="end">GiB 0</text>',
        f'<text x="{right}" y="{low + 14}" text-anchor="end">{last:.0f} s</text>',
    ]
    kinds = [kind for kind in _COLOURS if any(kind in sample for sample in samples)]
    for row, kind in enumerate(kinds):
        points = " ".join(
            f"{left + sample['seconds'] / last * (right - left):.1f},"
            f"{low - sample.get(kind, 0.0) / most * (low - high):.1f}"
            for sample in samples
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_COLOURS[kind]}" stroke-width="1.5"/>')
        parts.append(f'<text x="{right + 8}" y="{high + 10 + 14 * row}" fill="{_COLOURS[kind]}">{kind}</text>')
    return "\n".join(parts)
