"""Pages in a real browser: drawn, silent, without a request."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.pages import Seen
from tests.report.test_page import comparison_text, run_text, study_text

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(700),  # a browser starts in seconds, on a busy machine in minutes
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
# Beside the page's own: counts what was asked of a network.
COUNTING = """<script>addEventListener("load", () => setTimeout(() => {
  document.body.dataset.requests = performance.getEntriesByType("resource").length;
}, 500));</script></body>"""


def opened(page: str, folder: Path, *flags: str) -> tuple[str, str]:
    """What a page has become once its scripts ran, and what the browser said."""
    file = folder / "page.html"
    file.write_text(page.replace("</body>", COUNTING))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    logged = ["--enable-logging=stderr", "--dump-dom", *flags, file.as_uri()]
    done = subprocess.run([*command, *logged], capture_output=True, text=True, check=True, timeout=600)
    return done.stdout, done.stderr


@pytest.mark.parametrize("flags", [(), ("--blink-settings=preferredColorScheme=0", "--window-size=400,800")])
@pytest.mark.parametrize("text", [run_text, study_text, comparison_text])
def test_each_figure_is_drawn_without_an_error_or_a_request(
    text: Callable[[], str], flags: tuple[str, ...], tmp_path: Path
) -> None:
    after, said = opened(text(), tmp_path, *flags)
    assert "CONSOLE" not in said
    assert 'data-requests="0"' in after
    plots = Seen(text()).plots
    for name in plots:
        assert re.search(
            rf'id="{name}"[^>]*class="[^"]*js-plotly-plot|class="[^"]*js-plotly-plot[^>]*id="{name}"', after
        )
    assert len(re.findall(r'<g class="xy">', after)) >= len(plots)


def test_what_the_policy_forbids_is_told_so_that_silence_means_something(tmp_path: Path) -> None:
    page = run_text().replace("</main>", '<img src="https://127.0.0.1:9/x.png"></main>')
    assert "CONSOLE" in opened(page, tmp_path)[1]
