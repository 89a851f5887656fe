"""Configuration: what wins over what, what is refused and how, and which settings a resume may change."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from rsir_scale.augmenters.opening import augmenter_named
from rsir_scale.config.effect import NO_EFFECT, effective_settings, flatten
from rsir_scale.config.file import apply_overrides, deviations, load_config, resolve
from rsir_scale.config.settings import Config
from rsir_scale.errors import ConfigError
from tests.augmenters.own import NAME

SHIPPED = Path(__file__).resolve().parents[2] / "configs"
# Those of `paper/` are study files.
CONFIGS = sorted({*SHIPPED.rglob("*.yaml")} - {*SHIPPED.glob("paper/*.yaml")})
REQUIRED_CONFIGS = {"quickstart", "toys", "beauty", "sports", "yelp", "toys-released", "million"}
MINIMAL = {"data": {"path": "data/somewhere"}}

# A valid value other than the default, for every key there is: a new key fails the completeness test until it has one.
OTHER_VALUES: dict[str, Any] = {
    "data.path": "data/elsewhere",
    "data.max_length": 20,
    "model.width": 32,
    "model.blocks": 3,
    "model.heads": 4,
    "model.feed_forward": 64,
    "model.norm": "pre",
    "model.dropout": 0.1,
    "model.backbone": "hstu",
    "model.embedding_scale": True,
    "model.similarity": "cosine",
    "model.temperature": 0.2,
    "model.contrast_weight": 0.2,
    "model.contrast_temperature": 0.5,
    "model.contrast_crop": 0.4,
    "model.contrast_mask": 0.4,
    "model.contrast_reorder": 0.4,
    "model.codebooks": 3,
    "model.codebook_size": 64,
    "training.preset": "strong",
    "training.loss": "gbce",
    "training.negatives": 64,
    "training.gbce_calibration": 0.5,
    "training.item_updates": "sparse",
    "training.logq_correction": True,
    "training.precision": "bfloat16",
    "training.batch_size": 32,
    "training.learning_rate": 0.01,
    "training.schedule": "linear",
    "training.warmup": 0.2,
    "training.weight_decay": 0.1,
    "training.max_epochs": 3,
    "training.finetune_learning_rate": 0.005,
    "training.finetune_epochs": 2,
    "training.patience": 3,
    "training.workers": 2,
    "training.threads": 2,
    "training.use_gpu": True,
    "training.synthetic_weight": 0.5,
    "training.synthetic_share": 0.5,
    "generation.augmenter": "reordering",
    "generation.reading": "released",
    "generation.start": "first",
    "generation.choice": "greedy",
    "generation.top_candidates": 7,
    "generation.temperature": 0.7,
    "generation.exploit_prob": 0.25,
    "generation.trials_per_sequence": 2,
    "generation.sources": "real",
    "generation.min_length": 4,
    "generation.keep": "prefixes",
    "generation.max_length": 30,
    "generation.allow_repeats": "true",
    "generation.teacher": "runs/another@1",
    "generation.actors": 2,
    "generation.use_gpu": True,
    "generation.batch_size": 64,
    "generation.shard_sources": 128,
    "fidelity.mode": "off",
    "fidelity.rank_threshold": 20,
    "fidelity.remaining": "after_choice",
    "fidelity.start_vouches": True,
    "fidelity.clusters": 100,
    "fidelity.nprobe": 8,
    "fidelity.semantics": "membership",
    "fidelity.scan": "torch",
    "loop.iterations": 4,
    "loop.patience": 2,
    "loop.variant": "finetune",
    "evaluation.mask_history": False,
    "evaluation.rank_cap": 50,
    "evaluation.metrics": ("NDCG", "MAP"),
    "evaluation.cutoffs": (1, 10, 20),
    "run.max_error_rate": 0.5,
    "run.shard_timeout_s": 60.0,
    "seed": 1,
}
# Valid beside another key only; tested on their own.
DEPENDENT = {"model.item_vectors"}
CONTRADICTORY = {"training.item_updates", "training.weight_decay"}
# Readings of Algorithm 1, which the released code has not.
OF_THE_PAPER = {"generation.keep", "fidelity.start_vouches"}
# The preset's loss is over the whole catalogue, where no loss is said.
CONTRADICTORY_ALONE = {"training.item_updates", "training.preset"}
KEYS = sorted(flatten(resolve(MINIMAL).model_dump()))


def _with(settings: dict[str, Any]) -> Config:
    raw: dict[str, Any] = {"data": {"path": "data/somewhere"}}
    for name, value in settings.items():
        section, _, key = name.rpartition(".")
        if section:
            raw.setdefault(section, {})[key] = value
        else:
            raw[key] = value
    return resolve(raw)


def _value(config: Config, name: str) -> Any:
    return flatten(config.model_dump())[name]


def test_every_key_has_a_second_value_in_this_test() -> None:
    assert set(KEYS) == OTHER_VALUES.keys() | DEPENDENT


def test_every_setting_says_what_it_means_or_is_named_in_full() -> None:
    for section in Config.model_fields.values():
        fields = getattr(section.annotation, "model_fields", {})
        unexplained = {name for name, field in fields.items() if not field.description}
        assert unexplained <= {"backbone", "dropout", "loss", "learning_rate", "weight_decay"}


# What a resume may change, said a second time: an addition to NO_EFFECT has to be argued here too.
# Paths do not count, but what lies there does: the dataset's fingerprint and the teacher's weights are compared apart.
# Ranks are kept whatever is recorded of them, and what a run is judged by always is.
CHANGES_NO_RESULT = {
    "evaluation.metrics",
    "evaluation.cutoffs",
    "data.path",
    "generation.teacher",
    "loop.iterations",
    "loop.patience",
    "generation.actors",
    "fidelity.scan",
    # How far ranks are kept; metrics look no further, and metrics.json says it.
    "evaluation.rank_cap",
    "run.max_error_rate",
    "run.shard_timeout_s",
}


# A preset changes the keys that it fills; the tests on presets look at those.
@pytest.mark.parametrize("key", sorted(OTHER_VALUES.keys() - {"training.preset"}))
def test_the_fingerprint_changes_with_a_setting_exactly_if_it_can_change_a_result(key: str) -> None:
    same = _with({key: OTHER_VALUES[key]}).fingerprint() == resolve(MINIMAL).fingerprint()
    assert same == (key in CHANGES_NO_RESULT)


def test_what_a_backbone_of_ones_own_reads_is_part_of_the_fingerprint() -> None:
    own = {"model.backbone": "my_package.encoders:Mine"}
    prints = {
        _with(own | more).fingerprint()
        for more in ({}, {"model.item_vectors": "v.parquet"}, {"model.options": {"a": 1}}, {"model.options": {"a": 2}})
    }
    assert len(prints) == 4


@pytest.mark.parametrize(
    "name", ["sasrek", "package.module", "package:", ":Class", "a.b:c.d", "a b:C", "../x:Y", "a..b:C"]
)
def test_a_backbone_that_is_neither_known_nor_a_class_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"write package\.module:Class"):
        _with({"model.backbone": name})


@pytest.mark.parametrize(("key", "value"), [("model.item_vectors", "v.parquet"), ("model.options", {"a": 1})])
def test_a_setting_that_the_backbone_would_not_read_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{key}=.* would be read by nothing, as model.backbone=sasrec"):
        _with({key: value})
    _with({key: value, "model.backbone": "package.module:Class"})


@given(keys=st.sets(st.sampled_from(sorted(CHANGES_NO_RESULT))))
def test_any_mix_of_settings_without_effect_keeps_the_fingerprint(keys: set[str]) -> None:
    changed = _with({key: OTHER_VALUES[key] for key in keys})
    assert changed.fingerprint() == resolve(MINIMAL).fingerprint()


def test_the_settings_without_effect_are_those_argued_for() -> None:
    assert {*CHANGES_NO_RESULT, "training.preset"} == NO_EFFECT
    assert effective_settings(resolve(MINIMAL)).keys() == set(KEYS) - NO_EFFECT


def test_a_preset_and_the_same_settings_spelled_out_have_one_fingerprint() -> None:
    strong = resolve({**MINIMAL, "training": {"preset": "strong"}})
    spelled = effective_settings(strong)
    spelled.pop("seed")
    assert strong.fingerprint() == _with(spelled).fingerprint() != resolve(MINIMAL).fingerprint()


PRESETS = [("training.preset", "strong"), ("generation.reading", "released")]


@pytest.mark.parametrize(("key", "name"), PRESETS)
def test_a_preset_fills_what_is_not_said(key: str, name: str) -> None:
    before = effective_settings(resolve(MINIMAL))
    after = effective_settings(_with({key: name}))
    changed = {each for each in before if before[each] != after[each]} - {key}
    expected = {
        "strong": {
            "model.width",
            "model.norm",
            "model.feed_forward",
            "model.embedding_scale",
            "model.similarity",
            "training.loss",
            "training.batch_size",
            "training.negatives",
            "training.logq_correction",
            "training.schedule",
            "training.learning_rate",
            "training.max_epochs",
            "training.patience",
            "training.finetune_learning_rate",
            "training.finetune_epochs",
            "training.synthetic_share",
        },
        "released": {
            "generation.start",
            "generation.choice",
            "generation.min_length",
            "generation.max_length",
            "fidelity.remaining",
        },
    }
    assert changed == expected[name]


@pytest.mark.parametrize(("preset", "name"), PRESETS)
@given(data=st.data())
def test_what_is_said_wins_over_a_preset_even_where_it_is_the_default(preset: str, name: str, data: Any) -> None:
    key = data.draw(st.sampled_from(sorted(OTHER_VALUES.keys() - {preset})))
    value = data.draw(st.sampled_from([OTHER_VALUES[key], _value(resolve(MINIMAL), key)]))
    assume((name, value) not in [("released", "before_choice"), ("strong", "sparse")])
    assume(name != "released" or key not in OF_THE_PAPER or value != OTHER_VALUES[key])
    assert _value(_with({preset: name, key: value}), key) == value


def test_sparse_updates_are_refused_where_every_item_changes() -> None:
    with pytest.raises(ConfigError, match=r"loss=cross_entropy changes all: set training\.loss=sampled_softmax"):
        _with({"training.item_updates": "sparse", "training.loss": "cross_entropy"})
    with pytest.raises(ConfigError, match=r"weight_decay=0\.5 shrinks all: set training\.weight_decay=0"):
        _with({"training.item_updates": "sparse", "training.weight_decay": 0.5})


@pytest.mark.parametrize("key", sorted(OF_THE_PAPER))
def test_a_reading_of_algorithm_1_is_refused_under_the_released_reading(key: str) -> None:
    with pytest.raises(ConfigError, match=r"are readings of Algorithm 1: .* set generation\.reading=paper"):
        _with({"generation.reading": "released", key: OTHER_VALUES[key]})


def test_a_check_that_the_released_reading_cannot_make_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^fidelity\.remaining=before_choice has no meaning"):
        _with({"generation.reading": "released", "fidelity.remaining": "before_choice"})
    for key in OF_THE_PAPER:
        with pytest.raises(ConfigError, match=rf"{key}={str(OTHER_VALUES[key]).lower()}.* are readings"):
            _with({"generation.reading": "released", key: OTHER_VALUES[key]})


@given(keys=st.sets(st.sampled_from(sorted(OTHER_VALUES))))
def test_a_resolved_config_written_down_and_read_again_is_the_same(keys: set[str]) -> None:
    assume("generation.reading" not in keys or not keys & OF_THE_PAPER)
    assume(not keys >= CONTRADICTORY and ("training.loss" in keys or not keys >= CONTRADICTORY_ALONE))
    config = _with({key: OTHER_VALUES[key] for key in keys})
    text = yaml.safe_dump(config.model_dump(mode="json"))
    assert resolve(yaml.safe_load(text)) == config


@given(key=st.sampled_from(sorted(OTHER_VALUES)))
def test_every_setting_can_be_set_from_the_command_line(key: str) -> None:
    value = OTHER_VALUES[key]
    word = str(value).lower() if isinstance(value, bool) else value
    word = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else word
    assert _value(resolve(apply_overrides(MINIMAL, [f"{key}={word}"])), key) == value


@pytest.mark.parametrize(
    ("key", "word"),
    [("fidelity.mode", "off"), ("generation.allow_repeats", "true"), ("generation.allow_repeats", "false")],
)
def test_words_that_yaml_takes_for_booleans_are_read_as_words(key: str, word: str) -> None:
    section, _, name = key.partition(".")
    assert _value(resolve(yaml.safe_load(f"data: {{path: x}}\n{section}: {{{name}: {word}}}")), key) == word


NUMBERS = sorted(key for key, value in OTHER_VALUES.items() if type(value) in (int, float))


@pytest.mark.parametrize("key", NUMBERS)
def test_a_truth_value_is_no_number(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}=True"):
        resolve(apply_overrides(MINIMAL, [f"{key}=true"]))


def test_a_section_without_entries_means_its_defaults() -> None:
    assert resolve({**MINIMAL, "model": None}) == resolve(MINIMAL)
    assert resolve(apply_overrides({**MINIMAL, "model": None}, ["model.width=32"])).model.width == 32


@pytest.mark.parametrize(("written", "cap"), [("null", None), ("0", None), ("20", 20)])
def test_full_ranks_are_asked_for_by_null_or_0(written: str, cap: int | None) -> None:
    assert resolve(apply_overrides(MINIMAL, [f"evaluation.rank_cap={written}"])).evaluation.rank_cap == cap


def test_overrides_leave_their_argument_as_it_is() -> None:
    raw: dict[str, Any] = {"data": {"path": "a"}, "loop": {"iterations": 1}}
    apply_overrides(raw, ["loop.iterations=3", "model.width=32", "seed=5"])
    assert raw == {"data": {"path": "a"}, "loop": {"iterations": 1}}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["training.bacth_size=3"], "training.bacth_size is not a setting: did you mean training.batch_size?"),
        (["training.loss=crossentropy"], "did you mean cross_entropy?"),
        (["trainnig.batch_size=3"], "trainnig is not a setting: did you mean training?"),
        (["data.path=null"], "data.path"),
        (["training.batch_size=0"], "training.batch_size=0"),
        (["training.batch_size=many"], "training.batch_size='many'"),
        (["model.dropout=1.0"], "model.dropout=1.0"),
        (["model.dropout=.nan"], "model.dropout=nan"),
        (["generation.exploit_prob=1.5"], "generation.exploit_prob=1.5"),
        (["generation.max_length=1"], "generation.max_length=1 is less than the shortest"),
        (["generation.max_length=4", "generation.min_length=5"], "generation.max_length=4 is less than"),
        (["model.backbone=semantic_id", "training.item_updates=sparse"], "model.backbone=semantic_id has none"),
        (["training.synthetic_share=1e308"], "training.synthetic_share='1e308'"),
        (["model.heads=3"], "model.heads=3 does not divide model.width=64"),
        (["training.preset=best"], "training.preset='best'"),
        (["generation.reading=3"], "generation.reading=3"),
        (["generation.augmenter=rsri"], "did you mean rsir?"),
        (["generation.augmenter=tests.augmenters.own:NAME"], "not a subclass of rsir_scale.augmenters.base.Augmenter"),
        (["generation.augmenter=no_such_package:Class"], "cannot be imported (ModuleNotFoundError"),
        (["augmenter.least=3"], "augmenter.least would be read by nothing, as generation.augmenter=rsir"),
        ([f"generation.augmenter={NAME}", "augmenter.leats=3"], "did you mean augmenter.least?"),
        ([f"generation.augmenter={NAME}", "augmenter.least=0"], "augmenter.least=0"),
        (["generation.augmenter=tests.augmenters.own:Named"], "augmenter.most is missing: set it"),
        (["evaluation.rank_cap=19"], "evaluation.rank_cap=19 is below 20, the largest cutoff of the metrics"),
        (["evaluation.cutoffs=[10, 2000]"], "evaluation.rank_cap=1000 is below 2000, the largest cutoff"),
        (["evaluation.cutoffs=[]"], "evaluation.cutoffs=[]"),
        (["evaluation.rank_cap=true"], "evaluation.rank_cap=True"),
        (["evaluation.rank_cap=-1"], "evaluation.rank_cap=-1"),
        (["seed=-1"], "seed=-1"),
        (["loop=3"], "loop=3"),
        (["seed"], "not section.key=value"),
        (["loop.=3"], "not section.key=value"),
        (["loop.deep.er=3"], "not section.key=value"),
        (["loop.iterations=[1"], "not YAML"),
        (["seed=1", "seed.key=3"], "seed is a value, not a section"),
    ],
)
def test_a_bad_setting_is_refused_by_name_with_exit_code_2(overrides: list[str], named: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        resolve(apply_overrides(MINIMAL, overrides))
    assert named in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_deviations_are_what_the_presets_and_the_augmenter_leave_open_to_a_user() -> None:
    def chosen(**sections: dict[str, Any]) -> tuple[str, ...]:
        return deviations(resolve({**MINIMAL, **sections}))

    named = {"augmenter": "tests.augmenters.own:Named"}
    assert chosen() == ()
    assert chosen(training={"preset": "strong"}, generation={"augmenter": NAME}) == ()
    assert chosen(generation=named, augmenter={"most": 7}) == ("augmenter.most",)
    # Beside it the default of `least` would be refused.
    assert chosen(generation=named, augmenter={"most": 4, "least": 3}) == ("augmenter.least", "augmenter.most")


def test_options_that_a_stored_config_holds_are_validated_where_the_augmenter_is_opened() -> None:
    config = resolve({**MINIMAL, "generation": {"augmenter": NAME}})
    stale = config.model_copy(update={"augmenter": {"leats": 3}})
    with pytest.raises(ConfigError, match=r"did you mean augmenter\.least\?"):
        augmenter_named(stale)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refusal:
        resolve({"data": {}, "model": {"width": 0}, "sede": 1})
    assert len(str(refusal.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "named"),
    [(None, "cannot be read"), (b"- a\n- b\n", "list"), (b"data: [", "not YAML"), (b"\xff\xfe\x00", "cannot be read")],
)
def test_an_unreadable_file_is_refused_by_name(tmp_path: Path, content: bytes | None, named: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=named) as refusal:
        load_config(path)
    assert str(path) in str(refusal.value)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        resolve(MINIMAL).loop.iterations = 3  # type: ignore[misc]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_resolves_and_says_which_command_makes_its_data(path: Path) -> None:
    config = load_config(path)
    text = path.read_text(encoding="utf-8")
    assert any(line.startswith("#") and config.data.path in line and "rsir data" in line for line in text.splitlines())


def test_the_promised_configs_are_shipped() -> None:
    assert {path.stem for path in CONFIGS} >= REQUIRED_CONFIGS
