"""Which study gives which table of the paper, about how long each takes, and what it needs.

`paper` runs them, `paper_page` shows them. The hours are of one core for all cells, a guess by the size of the data,
good to a factor of three: it only puts those that were not begun in order. As soon as a cell is done, `rsir study
status` has a better one.
"""

from dataclasses import dataclass
from pathlib import Path

from rsir_scale.studies.file import StudyFile, load_study_file

FILES = Path("configs/paper")
KEPT = Path("docs/results/paper")
BACKBONES = ("sasrec", "cl4srec", "hstu")
# Files of the four datasets, as docs/results.md imports them.
LOGS = {"toys": "Toys_and_Games", "beauty": "Beauty", "sports": "Sports_and_Outdoors", "yelp": "Yelp"}


@dataclass(frozen=True)
class PaperStudy:
    """A file of `configs/paper/`.

    Attributes:
        name: of the file, and of the study's folder.
        shows: tables and figures of the paper.
        hours: of one core, about.
        analysed: whether density and entropy by iteration are kept, too (Fig. 5).
    """

    name: str
    shows: str
    hours: float
    analysed: bool = False

    @property
    def path(self) -> Path:
        """The study file, from the root."""
        return FILES / f"{self.name}.yaml"

    @property
    def kept(self) -> Path:
        """Where its report is kept once it is finished."""
        return KEPT / f"{self.name}.json"

    def read(self) -> StudyFile:
        """The file's content. Raises ConfigError."""
        return load_study_file(self.path)

    def command(self, out: str = "studies", workers: int = 2) -> str:
        """What starts the study, and goes on with it."""
        return f"rsir study run {self.path} --out {out}/{self.name} --workers {workers}"


_HOURS = {"toys": 4.0, "beauty": 5.0, "sports": 8.0, "yelp": 9.0}  # of all rows under one seed
_THREE_SEEDS = ("toys-sasrec", "beauty-sasrec")


def _accuracy(dataset: str, backbone: str) -> PaperStudy:
    name, tables = f"{dataset}-{backbone}", ["1", "5"]
    if backbone == "sasrec":
        tables += ["6", "12"] if dataset == "toys" else ["6"]
    shows = f"Tables {', '.join(tables[:-1])} and {tables[-1]}"
    return PaperStudy(name, shows, _HOURS[dataset] * (3 if name in _THREE_SEEDS else 1))


ACCURACY = tuple(_accuracy(dataset, backbone) for backbone in BACKBONES for dataset in _HOURS)
STUDIES = (
    *ACCURACY,
    PaperStudy("toys-semantic-ids", "Table 10", 1.0),
    PaperStudy("sports-check", "Table 2", 9.0),
    PaperStudy("sports-iterations", "Table 7, Fig. 2, 5 and 6", 14.0, analysed=True),
    PaperStudy("yelp-iterations", "Table 7, Fig. 2, 5 and 6", 16.0, analysed=True),
    PaperStudy("sports-settings", "Tables 8 and 9, Fig. 3", 10.0),
    PaperStudy("sports-clusters", "Table 11", 4.0),
    PaperStudy("yelp-clusters", "Table 11", 5.0),
    PaperStudy("toys-noise", "Table 13, Fig. 7", 4.0),
    PaperStudy("sports-noise", "Table 13, Fig. 7", 8.0),
)


def preparing(folder: str) -> list[str]:
    """The commands that make a dataset's folder, in order: `data/toys`, or `data/toys-noise-10` from it."""
    name = Path(folder).name
    whole, noise, percent = name.partition("-noise-")
    imported = f"rsir data import --format sequences PATH/{LOGS[whole]}.txt --out {Path(folder).parent / whole}"
    if not noise:
        return [imported]
    share = int(percent) / 100
    return [imported, f"rsir data noise {Path(folder).parent / whole} --share {share:g} --out {folder}"]
