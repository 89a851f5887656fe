import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rsir_scale.cli.main import main
from rsir_scale.config.file import load_config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.open_run import open_run
from rsir_scale.storage.opening import open_store

CONFIG = """
data: {{path: {data}}}
model: {{width: 16, feed_forward: 16}}
training: {{batch_size: 32, max_epochs: 2, loss: cross_entropy}}
generation: {{shard_sources: 64, trials_per_sequence: 1, actors: 2}}
"""


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market in `data`, another in `other`, a config and a finished run."""
    root = tmp_path_factory.mktemp("cli")
    for name, seed in (("data", 1), ("other", 2)):
        with pytest.raises(SystemExit) as end:
            main(
                ["data", "synthesize", "--users", "60", "--items", "40", "--out", str(root / name), "--seed", str(seed)]
            )
        assert not end.value.code
    (root / "config.yaml").write_text(CONFIG.format(data=root / "data"))
    config = load_config(root / "config.yaml")
    dataset = open_dataset(root / "data")
    with open_run(open_store(root / "run"), config, dataset) as run:
        run_recursion(run, LocalPhases())
    return root


LOGS = {
    "an item id that is no integer": ("sequences", "1 2 3\n2 4 five\n", "five"),
    "an empty log": ("csv", "", "no interaction"),
    "a time that is not a number": ("csv", "user_id,item_id,timestamp\n1,2,soon\n", "soon"),
    "a missing column": ("csv", "user_id,thing\n1,2\n", "item_id"),
    "every user below the k-core": ("pairs", "1 2\n2 3\n", "min-count"),
}


@pytest.mark.parametrize(("log_format", "text", "named"), LOGS.values(), ids=LOGS)
def test_a_bad_log_is_named_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, log_format: str, text: str, named: str
) -> None:
    (tmp_path / "log").write_text(text)
    code, out, err = call(capsys, "data", "import", "--format", log_format, tmp_path / "log", "--out", tmp_path / "new")
    assert (code, out) == (2, "")
    assert named in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_missing_log_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = tmp_path / "absent.csv"
    code, _, err = call(capsys, "data", "import", "--format", "csv", source, "--out", tmp_path / "new")
    assert code == 2
    assert f"{source} does not exist" in err


SETTINGS = {
    "an unknown key": ("generation.actor=2", "generation.actor is not a setting"),
    "a value out of range": ("training.batch_size=0", "training.batch_size=0"),
    "no key": ("nonsense", "section.key=value"),
    "a threshold not below the catalogue": ("fidelity.rank_threshold=40", "fidelity.rank_threshold=40"),
    "more actors than the machine places": ("generation.actors=5000", "generation.actors=5000"),
    "a GPU that is not there": ("training.use_gpu=true", "training.use_gpu=true"),
    "a GPU to generate with that is not there": ("generation.use_gpu=true", "generation.use_gpu=true"),
    "more probed than there are clusters": ("fidelity.mode=clustered", "fidelity.nprobe=32 is above"),
    "a metric that is not known": ("evaluation.metrics=[NDCG, AUC]", "evaluation.metrics names 'AUC'"),
    "a cutoff that the catalogue is within": ("evaluation.cutoffs=[10, 40]", "evaluation.cutoffs has 40"),
    "no such dataset": ("data.path=nowhere", "nowhere"),
}


@pytest.mark.parametrize(("override", "named"), SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_bad_setting_is_named_before_anything_is_written(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    tmp_path: Path,
    verb: str,
    override: str,
    named: str,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    arguments = ["--run-dir", tmp_path / "run"] if verb == "run" else []
    code, out, err = call(capsys, verb, folder / "config.yaml", "--set", override, *arguments)
    assert (code, out) == (2, "")
    assert named in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "named"), [("seed=7", "seed: 2023 → 7"), ("data.path={}/other", "on the dataset with fingerprint")]
)
def test_a_run_directory_of_other_settings_or_data_is_refused_unchanged(
    capsys: pytest.CaptureFixture[str], folder: Path, override: str, named: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*")}
    code, _, err = call(
        capsys, "run", folder / "config.yaml", "--run-dir", folder / "run", "--set", override.format(folder)
    )
    assert code == 2
    assert named in err
    assert {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*")} == before


@pytest.mark.parametrize(
    "address", ["s3://key:topsecret@bucket/run", "s3://bucket/run?token=topsecret", "gs://topsecret@b"]
)
def test_credentials_in_an_address_are_refused_and_not_repeated(
    capsys: pytest.CaptureFixture[str], folder: Path, address: str
) -> None:
    for arguments in (
        ["run", folder / "config.yaml", "--run-dir", address],
        ["plan", folder / "config.yaml", "--set", f"data.path={address}"],
        ["data", "synthesize", "--users", 60, "--items", 40, "--out", address],
    ):
        code, out, err = call(capsys, *arguments)
        assert code == 2
        assert "credentials have no place in an address" in err
        assert "topsecret" not in out + err


@pytest.mark.parametrize("verb", ["status", "verify", "resume"])
def test_a_folder_that_is_no_run_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str) -> None:
    code, _, err = call(capsys, verb, tmp_path)
    assert code == 2
    assert "is no run" in err


@pytest.mark.parametrize(
    "arguments", [["run"], ["no-such-verb"], ["data", "import", "x"], ["status", "x", "--no-such-option"]]
)
def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert call(capsys, *arguments)[0] == 2


def test_stats_prints_one_object_with_the_promised_keys(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = call(capsys, "data", "stats", folder / "data", "--json")
    facts = json.loads(out)
    assert (code, facts["users"], facts["items"]) == (0, 60, 40)
    promised = "users items interactions training_pairs training_items density min_length mean_length max_length"
    assert {*promised.split(), "fingerprint"} <= facts.keys()


def test_plan_says_what_would_run_and_on_what(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    more = ("--set", "loop.iterations=2", "--set", "generation.trials_per_sequence=3")
    code, out, _ = call(capsys, "plan", folder / "config.yaml", *more, "--json")
    found = json.loads(out)
    assert code == 0
    assert [entry["iteration"] for entry in found["iterations"]] == [0, 1, 2]
    assert found["iterations"][0]["sources_at_most"] == found["users"] == 60
    assert [entry.get("sources_at_most") for entry in found["iterations"]] == [60, 240, None]
    assert [entry.get("trials_at_most") for entry in found["iterations"]] == [180, 720, None]
    assert found["iterations"][1]["shards_at_most"] == 4 * found["iterations"][0]["shards_at_most"]
    assert len({entry["updates_at_most"] for entry in found["iterations"]}) == 1
    assert found["generation"] == {"processes": 2, "cpus_each": 1, "gpus_each": 0}


def test_status_prints_one_object_and_a_table(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = call(capsys, "status", folder / "run", "--json")
    status = json.loads(out)
    assert (code, status["state"], len(status["iterations"])) == (0, "done", 2)
    code, out, _ = call(capsys, "status", folder / "run")
    assert code == 0
    assert "new_sequences" in out


def test_evaluate_finds_the_metrics_that_the_run_recorded(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = call(capsys, "evaluate", folder / "run", "--iteration", 1, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["mask_history"] is True
    assert found["metrics"] == pytest.approx(found["recorded"])
    code, _, err = call(capsys, "evaluate", folder / "run", "--iteration", 9)
    assert code == 2
    assert "has no model" in err


def test_verify_passes_on_a_good_run_and_ends_with_4_on_a_changed_one(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    code, out, _ = call(capsys, "verify", folder / "run", "--json")
    assert code == 0
    assert json.loads(out)["ok"] is True
    part = next((folder / "run").glob("iteration=000/generation/data/part-*.parquet"))
    good = part.read_bytes()
    part.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    code, out, _ = call(capsys, "verify", folder / "run", "--json")
    part.write_bytes(good)
    assert code == 4
    assert any(part.name in fault["file"] for fault in json.loads(out)["faults"])


def test_verify_scores_no_more_rows_again_than_it_is_asked_to(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = call(capsys, "verify", folder / "run", "--rows", "2", "--json")
    report = json.loads(out)
    assert code == 0
    assert 1 <= report["rows_rechecked"] <= 2 * len(list((folder / "run").glob("iteration=*/generation")))
    assert report["rows_rechecked"] < report["rows"]


def test_clean_removes_what_a_killed_attempt_left(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    left = folder / "run" / "iteration=000" / "generation" / "data" / "part-00000.0123456789ab.parquet"
    left.write_bytes(b"torn")
    code, out, _ = call(capsys, "clean", folder / "run", "--dry-run", "--json")
    assert (code, json.loads(out)["objects"], left.exists()) == (0, 1, True)
    code, out, _ = call(capsys, "clean", folder / "run", "--json")
    assert (code, json.loads(out)["bytes"], left.exists()) == (0, 4, False)


def test_export_and_recommend_write_what_they_are_asked_for(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    assert call(capsys, "export", folder / "run", "--format", "sequences", "--out", tmp_path / "log.txt")[0] == 0
    assert (tmp_path / "log.txt").read_text()
    (tmp_path / "users.txt").write_text("1\n2\n")
    arguments = ["--top", 3, "--users", tmp_path / "users.txt", "--out", tmp_path / "best.csv"]
    code, _, err = call(capsys, "recommend", folder / "run", *arguments)
    assert code == 0, err
    assert len((tmp_path / "best.csv").read_text().splitlines()) == 1 + 2 * 3
    code, _, err = call(capsys, "export", folder / "run", "--format", "xml", "--out", tmp_path / "x")
    assert code == 2
    assert "xml" in err


def test_an_empty_folder_that_is_there_is_filled_where_it_stands(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_text("1 2\n1 3\n1 4\n" * 2)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, _, err = call(capsys, "data", "import", "--format", "pairs", "../log", "--min-count", 0, "--out", ".")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "here").iterdir()} >= {"dataset.json", "train", "heldout"}
    assert not [path for path in (tmp_path / "here").iterdir() if path.name.startswith(".")]
    assert call(capsys, "data", "stats", ".")[0] == 0


@pytest.mark.parametrize("option", ["--max-length", "--min-count"])
def test_a_count_beyond_all_counts_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str) -> None:
    (tmp_path / "log").write_text("1 2\n")
    arguments = ["data", "import", "--format", "pairs", tmp_path / "log", option, 10**20, "--out", tmp_path / "out"]
    code, _, err = call(capsys, *arguments)
    assert (code, f"{10**20}" in err) == (2, True)


@pytest.mark.parametrize("command", ["verify", "resume", "export", "recommend"])
def test_a_dataset_that_was_moved_is_named_with_the_way_to_say_so(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, command: str
) -> None:
    (folder / "data").rename(tmp_path / "data")
    try:
        out = ["--out", tmp_path / "x.csv"] if command in ("export", "recommend") else []
        code, _, err = call(capsys, command, folder / "run", *out)
    finally:
        (tmp_path / "data").rename(folder / "data")
    assert code == 2
    assert f"{folder / 'data'} is not a folder" in err
    assert f"--set data.path=NEW --run-dir {folder / 'run'}" in err


def test_a_run_takes_the_new_place_of_its_dataset(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    shutil.copytree(folder / "data", tmp_path / "moved")
    with open_run(
        open_store(tmp_path / "run"),
        load_config(folder / "config.yaml", [f"data.path={tmp_path / 'moved'}"]),
        open_dataset(tmp_path / "moved"),
    ):
        pass
    code, _, err = call(capsys, "recommend", tmp_path / "run", "--out", tmp_path / "best.csv")
    assert code == 0, err
    assert str(tmp_path / "moved") in (tmp_path / "run" / "run.yaml").read_text()


def test_a_terminal_that_lacks_a_letter_ends_no_command(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "läuft…"
    shutil.copytree(folder / "run", odd)
    told = subprocess.run(
        [sys.executable, "-m", "rsir_scale", "status", str(odd)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "latin-1", "COLUMNS": "200"},
        check=True,
    )
    assert "läuft?".encode("latin-1") in told.stdout


def test_tables_show_names_as_they_are(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    odd = folder.parent / "m[/b] :star: [a]"
    odd.mkdir(parents=True)
    shutil.copytree(folder / "run", odd / "run")
    code, out, err = call(capsys, "clean", odd / "run", "--dry-run")
    assert code == 0, err
    code, out, err = call(capsys, "status", odd / "run")
    assert code == 0, err
    assert "m[/b] :star: [a]" in "".join(out.split("\n"))


@pytest.mark.parametrize("command", ["export", "recommend", "fetch"])
def test_an_address_is_no_path_of_this_disk(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run, address = folder / "run", "s3://bucket/best.csv"
    arguments = {
        "export": ["export", run, "--out", address],
        "recommend": ["recommend", run, "--out", address],
        "fetch": ["data", "fetch", "ml-100k", "--out", address],
    }[command]
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, *arguments)
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "'s3://bucket/best.csv' is an address" in err


def test_status_loads_neither_torch_nor_ray(folder: Path) -> None:
    script = (
        "import sys\nfrom rsir_scale.cli.main import main\n"
        f"try:\n    main(['status', {str(folder / 'run')!r}])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'ray'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
