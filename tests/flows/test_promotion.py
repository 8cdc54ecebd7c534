"""A worse model never becomes the champion, and every refusal says why."""

import math

import pytest

from flows.profile import FLOOR_METRICS
from flows.registry import rules as promotion
from flows.registry import versions as registry
from flows.registry.rules import Bound, Comparison, Decision, Outcome, PromotionRules, apply
from flows.steps.split_fingerprint import SplitFingerprint
from flows.tracking.mlflow_client import connect
from hemlets.core.errors import ConfigError
from hemlets.core.workspace import Workspace
from hemlets.evaluation.metrics.definitions import metric_label

RULES = PromotionRules.from_mapping(
    {
        "floors": {
            "mpjpe_mm": {"max": 100.0},
            "pck3d_150mm_pct": {"min": 80.0},
            "mpjpe_over_mean_pose": {"max": 0.5},
        },
        "max_regression": 0.01,
    }
)
GATE = SplitFingerprint(hash="rows of today", samples=512)
GOOD = {"mpjpe_mm": 80.0, "pck3d_150mm_pct": 90.0, "mpjpe_over_mean_pose": 0.4}


def compared(ratio=0.0, upper=0.005, **changes):
    values = {
        "metric": "mpjpe_mm",
        "ratio": ratio,
        "upper": upper,
        "samples": 200,
        "champion_version": 1,
        "champion_hash": "old",
        "challenger_hash": "new",
        "champion_gate": GATE.hash,
    }
    return Comparison(**(values | changes))


def decide(rules, metrics, comparison, canary, gate=GATE, **more):
    return promotion.decide(rules, metrics, comparison, canary, gate=gate, **more)


def test_the_first_champion_needs_the_floors_and_the_canary_only():
    decision = decide(RULES, GOOD, None, True)
    assert decision.promote
    assert decision.champion_version is None
    assert "there was no champion" in decision.reasons


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["mpjpe_mm"], "the mean joint error (MPJPE) is 80 mm (at most 100 mm)"),
        (
            list(GOOD),
            "the mean joint error (MPJPE) is 80 mm (at most 100 mm), "
            "the joint error over that of always answering the mean pose is 40 % (at most 50 %), "
            "the share of joints within 150 mm (3DPCK) is 90 % (at least 80 %)",
        ),
    ],
)
def test_a_promotion_names_the_limits_that_were_kept_in_words(names, told):
    floors = {name: RULES.floors[name] for name in names}
    decision = decide(RULES.model_copy(update={"floors": floors}), GOOD, None, True)
    assert decision.reasons[0] == f"every limit is met: {told}"


def test_every_metric_that_a_floor_can_be_set_for_has_words():
    assert [name for name in FLOOR_METRICS if metric_label(name) == name] == []


def test_no_reason_holds_a_key_of_a_metric():
    bad = dict.fromkeys(FLOOR_METRICS, 7.0) | {"theta_deg": math.nan, "root_mm": None}
    floors = dict.fromkeys([*FLOOR_METRICS, "per_vertex_mm"], Bound(min=2.0, max=3.0))
    rules = RULES.model_copy(update={"floors": floors})
    for metrics in (bad, {}, dict.fromkeys(FLOOR_METRICS, 2.5)):
        for comparison in (compared(-0.02, 0.02), compared(None), compared(-0.1, -0.05)):
            decision = decide(rules, metrics, comparison, True)
            assert [r for r in decision.reasons if "_" in r] == []


def test_a_first_champion_below_the_floors_is_rejected():
    assert not decide(RULES, GOOD | {"mpjpe_mm": 100.1}, None, True).promote


@pytest.mark.parametrize("name", list(GOOD))
def test_each_floor_that_is_missed_is_named(name):
    bad = GOOD | {name: 10.0 if name == "pck3d_150mm_pct" else 999.0}
    decision = decide(RULES, bad, compared(), True)
    assert decision.outcome is Outcome.REJECTED
    assert len(decision.reasons) == 1
    assert decision.reasons[0].startswith(f"{metric_label(name)} is ")
    assert " but must be at " in decision.reasons[0]


def test_a_figure_exactly_on_its_floor_passes():
    on_floor = {"mpjpe_mm": 100.0, "pck3d_150mm_pct": 80.0, "mpjpe_over_mean_pose": 0.5}
    assert decide(RULES, on_floor, None, True).promote


@pytest.mark.parametrize("name", list(GOOD))
def test_a_missing_figure_rejects_and_is_named(name):
    metrics = {k: v for k, v in GOOD.items() if k != name}
    assert decide(RULES, metrics, compared(), True).reasons == (f"{metric_label(name)} is missing",)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "80", True])
@pytest.mark.parametrize("name", [*GOOD, "a figure without a floor"])
def test_a_figure_that_is_not_a_finite_number_rejects_and_is_named(name, value):
    decision = decide(RULES, GOOD | {name: value}, compared(), True)
    assert decision.outcome is Outcome.REJECTED
    problem = "has no value" if value is None else f"is {value}, not a finite number"
    assert decision.reasons == (f"{metric_label(name)} {problem}",)


def test_no_figures_at_all_reject():
    assert len(decide(RULES, {}, None, True).reasons) == len(RULES.floors)


@pytest.mark.parametrize(
    ("ratio", "upper", "passes"),
    [
        (-0.1, -0.05, True),
        (0.0, 0.0, True),
        (0.004, 0.01, True),
        (0.004, 0.0101, False),
        (-0.1, 0.02, False),
        (0.05, 0.07, False),
        (0.05, 0.0, False),
    ],
)
def test_the_upper_end_of_the_interval_decides_about_a_regression(ratio, upper, passes):
    assert decide(RULES, GOOD, compared(ratio, upper), True).promote is passes


def test_five_per_cent_worse_than_the_champion_is_rejected_although_above_the_floors():
    decision = decide(RULES, GOOD, compared(0.05, 0.06), True)
    assert decision.reasons == (
        "the mean joint error (MPJPE) is 5.0 % larger than that of champion version 1, at the "
        "worse end of the 95 % interval 6.0 % larger than it, but may be larger by 1.0 % at most",
    )


@pytest.mark.parametrize(
    ("upper", "words"),
    [
        (0.0, "as large as it, on 200 samples"),
        (0.005, "0.5 % larger than it, on 200 samples (1.0 % larger is allowed)"),
    ],
)
def test_a_comparison_in_its_favour_is_told_with_its_samples_and_what_is_allowed(upper, words):
    assert decide(RULES, GOOD, compared(-0.03, upper), True).reasons[1] == (
        "the mean joint error (MPJPE) is 3.0 % smaller than that of champion version 1, at the "
        f"worse end of the 95 % interval {words}"
    )


@pytest.mark.parametrize("field", ["ratio", "upper"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_comparison_without_a_finite_number_rejects(field, value):
    decision = decide(RULES, GOOD, compared(**{field: value}), True)
    assert decision.outcome is Outcome.REJECTED
    assert "not a finite number" in decision.reasons[0]


def test_a_comparison_on_no_samples_rejects():
    assert not decide(RULES, GOOD, compared(samples=0), True).promote


@pytest.mark.parametrize(("passed", "word"), [(None, "missing"), (False, "failed")])
def test_a_canary_that_failed_or_was_not_tried_rejects(passed, word):
    decision = decide(RULES, GOOD, compared(), passed)
    assert decision.outcome is Outcome.REJECTED
    assert decision.reasons[0].startswith("the canary")
    assert word in decision.reasons[0]


def test_a_gate_of_unknown_rows_rejects():
    decision = decide(RULES, GOOD, compared(), True, gate=None)
    assert decision.outcome is Outcome.REJECTED
    assert "gate is missing" in decision.reasons[0]


@pytest.mark.parametrize(("samples", "passes"), [(255, False), (256, True)])
def test_a_gate_of_fewer_than_256_samples_promotes_nothing(samples, passes):
    decision = decide(
        RULES, GOOD, compared(), True, SplitFingerprint(hash=GATE.hash, samples=samples)
    )
    assert decision.promote is passes
    assert any("needed are at least 256" in r for r in decision.reasons) is not passes


def test_a_profile_that_lets_fewer_gate_samples_suffice_has_that_said_with_every_decision():
    rules = RULES.model_copy(update={"min_gate_samples": 32})
    few = SplitFingerprint(hash=GATE.hash, samples=32)
    for metrics, promoted in ((GOOD, True), (GOOD | {"mpjpe_mm": 300.0}, False)):
        decision = decide(rules, metrics, compared(), True, few)
        assert decision.promote is promoted
        assert "promotion.min_gate_samples; by default 256" in decision.reasons[-1]


def test_another_gate_than_the_champions_is_said_whatever_the_decision():
    for metrics in (GOOD, GOOD | {"mpjpe_mm": 300.0}):
        reason = decide(RULES, metrics, compared(champion_gate="older rows"), True).reasons[-1]
        assert "the gate is not the one that champion version 1 was registered with" in reason
        assert "rows of toda" in reason
        assert "older rows" in reason


def test_a_champion_without_a_gate_tag_is_said():
    reasons = decide(RULES, GOOD, compared(champion_gate=""), True).reasons
    assert "champion version 1 does not say which gate it was registered with" in reasons


def test_the_same_gate_is_no_news():
    assert not any("gate" in r for r in decide(RULES, GOOD, compared(), True).reasons)


def test_a_champion_that_can_t_be_scored_rejects_with_what_is_wrong_with_it():
    broken = compared(None, None, problem="its weights are gone", samples=0)
    decision = decide(RULES, GOOD, broken, True)
    assert decision.outcome is Outcome.REJECTED
    assert decision.failures == (
        "the mean joint error (MPJPE) can't be compared with that of champion version 1: its "
        "weights are gone",
    )


def test_a_figure_that_is_missing_on_some_samples_rejects():
    decision = decide(RULES, GOOD, None, True, gaps=["theta_deg is missing on 3 of 512 samples"])
    assert decision.outcome is Outcome.REJECTED
    assert decision.reasons == ("theta_deg is missing on 3 of 512 samples",)


def test_every_failure_is_listed_not_only_the_first():
    decision = decide(RULES, GOOD | {"mpjpe_mm": 500.0, "x": math.nan}, compared(1.0, 2.0), False)
    assert len(decision.reasons) == 4


def test_the_champion_itself_has_nothing_to_do():
    same = compared(0.0, 0.0, challenger_hash="old")
    decision = decide(RULES, GOOD, same, True)
    assert decision.outcome is Outcome.ALREADY_CHAMPION
    assert not decision.promote


def test_a_champion_that_no_longer_passes_is_told_so():
    same = compared(0.0, 0.0, challenger_hash="old")
    decision = decide(RULES, GOOD, same, False)
    assert decision.outcome is Outcome.ALREADY_CHAMPION
    assert any("canary failed" in reason for reason in decision.reasons)
    assert len(decision.failures) == 1


def test_unknown_hashes_are_not_taken_for_the_same_model():
    decision = decide(RULES, GOOD, compared(0, 0, champion_hash="", challenger_hash=""), True)
    assert decision.outcome is Outcome.PROMOTED


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"floors": {}}, "floors"),
        ({"floors": {"mpjpe_mm": {}}}, "needs max, min or both"),
        ({"floors": {"pck3d_150mm_pct": {"min": 2.0, "max": 1.0}}}, "nothing passes"),
        ({"floors": {"mpjpe_mm": {"maximum": 3}}}, "maximum"),
        ({"floors": {"mpjpe_mm": {"max": 3}}, "max_regression": -0.1}, "max_regression"),
        ({"floors": {"mpjpe_mm": {"max": 3}}, "max_regresion": 0.1}, "max_regression"),
    ],
)
def test_rules_that_make_no_sense_are_refused_by_name(rules, words):
    with pytest.raises(ConfigError, match=words):
        PromotionRules.from_mapping(rules, where="profile demo")


@pytest.fixture(scope="module")
def _models(tmp_path_factory):
    """A workspace with a champion, version 1, and a challenger, version 2."""
    home = tmp_path_factory.mktemp("promotion")
    workspace = Workspace(home=home / "workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with connect(workspace).run("train", "train") as run:
            made = [_register(workspace, run.run_id, home / name, name) for name in ("one", "two")]
        yield workspace, made


def _register(workspace, run_id, folder, key):
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(key.encode())
    (folder / "model.json").write_text("{}")
    tags = dict.fromkeys(registry.REQUIRED_TAGS, "given") | {"stage_key": key}
    return registry.register(workspace, folder, run_id=run_id, tags=tags)


@pytest.fixture
def models(_models):
    workspace, made = _models
    registry.set_champion(workspace, made[0])
    return workspace, *made


@pytest.mark.parametrize(
    ("metrics", "comparison", "canary", "reason"),
    [
        (
            GOOD | {"mpjpe_mm": 300.0},
            compared(-0.1, 0.0),
            True,
            "(MPJPE) is 300 mm, but must be at most 100 mm",
        ),
        (GOOD, compared(0.05, 0.06), True, "is 5.0 % larger than that of champion version 1"),
        ({"mpjpe_mm": 80.0, "pck3d_150mm_pct": 90.0}, compared(), True, "the mean pose is missing"),
        (GOOD, compared(), False, "canary failed"),
        (GOOD, compared(), None, "canary's result is missing"),
    ],
    ids=["below the floors", "5 % worse", "missing metric", "canary failed", "no canary"],
)
def test_a_rejected_challenger_leaves_the_champion_and_carries_the_reasons(
    models, metrics, comparison, canary, reason
):
    workspace, old, new = models
    decision = decide(RULES, metrics, comparison, canary)
    for _ in range(2):
        apply(decision, workspace, new)
        assert registry.champion(workspace).version == old.version
        tags = registry.version_by_number(workspace, new.version).tags
        assert tags["decision"] == "rejected"
        assert reason in tags["decision_reasons"]


def test_a_tie_moves_the_alias_and_a_second_time_changes_nothing(models):
    workspace, old, new = models
    decision = decide(RULES, GOOD, compared(0.0, 0.0), True)
    for _ in range(2):
        assert apply(decision, workspace, new).promote
        assert registry.champion(workspace).version == new.version
        tags = registry.version_by_number(workspace, new.version).tags
        assert tags["decision"] == "promoted"
        assert tags["replaced_version"] == str(old.version)


def test_the_tags_are_written_before_the_alias_moves(models, monkeypatch):
    workspace, old, new = models

    def crash(*arguments):
        raise OSError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_champion", crash)
        with pytest.raises(OSError, match="killed here"):
            apply(decide(RULES, GOOD, compared(), True), workspace, new)
    assert registry.champion(workspace).version == old.version
    assert registry.version_by_number(workspace, new.version).tags["decision"] == "promoted"
    apply(decide(RULES, GOOD, compared(), True), workspace, new)
    assert registry.champion(workspace).version == new.version


def test_a_rerun_leaves_the_reasons_of_the_promotion_on_the_champion(models):
    workspace, _, new = models
    apply(decide(RULES, GOOD, compared(), True), workspace, new)
    promoted = registry.champion(workspace)
    same = compared(0.0, 0.0, champion_version=new.version, challenger_hash="old")
    assert apply(decide(RULES, GOOD, same, True), workspace, new).outcome is not Outcome.PROMOTED
    assert registry.champion(workspace) == promoted
    assert promoted.tags["decision"] == "promoted"


def test_a_second_version_of_the_same_model_is_noted_and_moves_nothing(models):
    workspace, old, new = models
    same = compared(0.0, 0.0, challenger_hash="old")
    apply(decide(RULES, GOOD, same, True), workspace, new)
    assert registry.champion(workspace).version == old.version
    tags = registry.version_by_number(workspace, new.version).tags
    assert tags["decision"] == "already champion"


@pytest.mark.parametrize("against", [None, 7])
def test_a_promotion_decided_against_another_champion_becomes_a_rejection(models, against):
    workspace, old, new = models
    decision = Decision(outcome=Outcome.PROMOTED, reasons=("good",), champion_version=against)
    done = apply(decision, workspace, new)
    assert done.outcome is Outcome.REJECTED
    assert "run the benchmark again" in done.reasons[0]
    assert registry.champion(workspace).version == old.version


def test_the_first_champion_is_set_where_there_was_none(models):
    workspace, _, new = models
    connect(workspace).client.delete_registered_model_alias(registry.MODEL_NAME, "champion")
    rejected = decide(RULES, GOOD | {"pck3d_150mm_pct": 10.0}, None, True)
    apply(rejected, workspace, new)
    assert registry.champion(workspace) is None
    apply(decide(RULES, GOOD, None, True), workspace, new)
    assert registry.champion(workspace).version == new.version
