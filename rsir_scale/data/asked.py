"""What an import is asked for: one frozen value that every reader is given.

Comes in: the options of `rsir data import`. Goes out: `Asked`, and `Part`, one file of a log. A column is named,
or in a file without a header numbered from 1. Which of the options a format knows is the affair of its reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rsir_scale.data.where import Condition


@dataclass(frozen=True)
class Asked:
    """How to read a log.

    Attributes:
        log_format: one of `readers.FORMATS`.
        user: the column of users; None for the format's default.
        item: likewise of items.
        time: likewise of times.
        no_times: leave times out; the order of the file counts.
        time_format: how times are written, as for `strptime`; None: numbers or ISO-8601.
        header: whether the first row names the columns.
        separator: of a text table; None: found in its first line.
        quoted: whether a text table quotes fields.
        where: conditions that an interaction meets, all of them.
        skip_bad_rows: leave rows out that cannot be read, and list them.
        missing_ids: ids that stand for none; their rows are left out.
        layout: the name of the layout, for messages.
    """

    log_format: str
    user: str | None = None
    item: str | None = None
    time: str | None = None
    no_times: bool = False
    time_format: str | None = None
    header: bool = True
    separator: str | None = None
    quoted: bool = True
    where: tuple[Condition, ...] = ()
    skip_bad_rows: bool = False
    missing_ids: tuple[str, ...] = ()
    layout: str | None = None

    def conditions_on(self) -> list[str]:
        """The columns that conditions ask about, each once."""
        return list(dict.fromkeys(condition.column for condition in self.where))


@dataclass(frozen=True)
class Part:
    """One plain file of a log.

    Attributes:
        path: where its bytes lie on this machine.
        name: what messages call it: the user's own path or address.
        constants: columns that its folders hold as `name=value`, as Spark writes them.
        given: with given splits, 0 for training, 1 for validation, 2 for test.
    """

    path: Path
    name: str
    constants: Mapping[str, str] = field(default_factory=dict)
    given: int = 0
