"""What commands print without --json: small tables for people."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_STATUS_METRICS = ("validation/NDCG@20", "test/NDCG@10", "test/Recall@10")


def facts_table(facts: Mapping[str, object]) -> Table:
    """Name and value, a row a fact."""
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name, _text(value))
    return table


def status_table(status: Mapping[str, Any]) -> Table:
    """A row an iteration."""
    best = status["best_iteration"]
    table = Table(title=f"{status['run']}: {status['state']}" + ("" if best is None else f", best iteration {best}"))
    for column in ("iteration", "state", *_STATUS_METRICS, "new sequences", "new pairs", "acceptance", "train s", "generate s"):
        table.add_column(column, justify="left" if column == "state" else "right")
    for entry in status["iterations"]:
        table.add_row(
            str(entry["iteration"]),
            entry["state"],
            *(_text(entry["metrics"].get(name)) for name in _STATUS_METRICS),
            *(_text(entry[key]) for key in ("new_sequences", "new_pairs", "acceptance", "train_s", "generate_s")),
        )
    return table


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
