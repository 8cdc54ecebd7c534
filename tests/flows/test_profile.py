"""A profile says everything about a retraining, and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.profile import load_profile, profile_names
from hemlets.assets import ASSETS_FOLDER
from hemlets.core.errors import ConfigError
from hemlets.models.model_folder import load_model


@pytest.fixture
def changed(tiny, tmp_path):
    """The tiny profile with one piece of text replaced."""

    def write(old: str, new: str) -> str:
        text = tiny.read_text()
        assert old in text
        path = tmp_path / "mine.toml"
        path.write_text(text.replace(old, new, 1))
        return str(path)

    return write


@pytest.mark.parametrize("name", profile_names())
def test_every_bundled_profile_can_be_read_and_is_called_as_its_file(name) -> None:
    assert load_profile(name).name == name


@pytest.mark.parametrize("name", ["demo", "small"])
def test_a_profile_that_starts_from_the_starter_weights_has_their_network(name: str) -> None:
    profile = load_profile(name)
    card = load_model(ASSETS_FOLDER / "starter")[1]
    assert (profile.start, profile.pose, profile.shape) == ("starter", card.pose, card.shape)
    assert profile.inference == card.inference


def test_demo_goes_on_from_the_starter_weights_and_scratch_from_random_ones() -> None:
    assert load_profile("demo").start == "starter"
    assert load_profile("scratch").start == "random"


def test_a_file_is_read_by_its_path_and_named_after_it(tiny) -> None:
    assert load_profile(str(tiny)).name == "tiny"


def test_an_unknown_name_lists_the_bundled_ones() -> None:
    with pytest.raises(ConfigError, match="no profile 'nightly'") as error:
        load_profile("nightly")
    assert all(name in str(error.value) for name in profile_names())


def test_a_file_that_does_not_exist_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="does not exist") as error:
        load_profile(str(tmp_path / "none.toml"))
    assert error.value.where == str(tmp_path / "none.toml")


def test_an_unknown_key_is_named_with_the_nearest_and_all_choices(changed) -> None:
    path = changed("[train_pose]\nsteps = 12", "[train_pose]\nstepps = 12")
    with pytest.raises(ConfigError) as error:
        load_profile(path)
    message = str(error.value)
    assert "unknown key 'train_pose.stepps'" in message
    assert "did you mean 'steps'?" in message
    assert "learning_rate" in message
    assert "missing key 'train_pose.steps'" in message
    assert error.value.where == path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('precision = "float32"', 'precision = "half"', "'auto', 'bfloat16' or 'float32'"),
        ('start = "random"', 'start = "warm"', "'starter' or 'random'"),
        ("batch_size = 8", "batch_size = 1", "train_pose.batch_size = 1"),
        ("threads = 1", 'threads = "1"', "train_pose.threads = '1'"),
        ("crop_px = 64", "crop_px = 96", "pose"),
        ("max = 2000.0", "most = 2000.0", "promotion.floors.mpjpe_mm.most"),
        ("samples = 3", "samples = 0", "canary.samples = 0"),
        ("seed = 3", "seed = 2099-01-01", "data.seed = '2099-01-01'"),
        ("seed = 3", "seed = 3\nuntil = 2099-01-01", "unknown key 'data.until'"),
    ],
)
def test_a_wrong_value_is_named_with_what_may_be_given(changed, old, new, says) -> None:
    with pytest.raises(ConfigError) as error:
        load_profile(changed(old, new))
    assert says in str(error.value)


def test_every_mistake_of_a_file_is_told_at_once(changed) -> None:
    path = changed("steps = 12\nbatch_size = 8", "steps = 0\nbatch_size = 1")
    with pytest.raises(ConfigError) as error:
        load_profile(path)
    assert "train_pose.steps = 0" in str(error.value)
    assert "train_pose.batch_size = 1" in str(error.value)


def test_a_file_that_is_no_toml_names_the_line(tmp_path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[data\n")
    with pytest.raises(ConfigError, match="line 1"):
        load_profile(str(path))


class TestOverrides:
    def test_they_stand_over_the_file(self, tiny) -> None:
        overrides = ("canary.samples=9", 'train_pose.precision="auto"', "train_posh.precision=auto")
        profile = load_profile(str(tiny), overrides)
        assert profile.canary.samples == 9
        assert profile.train_pose.precision == profile.train_posh.precision == "auto"

    def test_they_may_open_a_section(self, tiny) -> None:
        assert load_profile(str(tiny), ("losses.alpha=0.1",)).losses.alpha == 0.1

    @pytest.mark.parametrize("override", ["canary.samples", "=3", "canary.=3"])
    def test_one_without_key_or_value_is_refused(self, tiny, override) -> None:
        with pytest.raises(ConfigError, match="is no override"):
            load_profile(str(tiny), (override,))

    def test_one_below_a_value_is_refused(self, tiny) -> None:
        with pytest.raises(ConfigError, match="no section"):
            load_profile(str(tiny), ("start.now=1",))

    def test_a_wrong_key_is_refused_as_in_a_file(self, tiny) -> None:
        with pytest.raises(ConfigError, match="did you mean 'samples'"):
            load_profile(str(tiny), ("canary.sample=3",))


def test_the_hash_follows_the_values_not_the_layout(tiny, tmp_path) -> None:
    path = Path(tmp_path / "tiny.toml")
    path.write_text("# a remark\n" + tiny.read_text())
    assert load_profile(str(path)).hash == load_profile(str(tiny)).hash
    assert load_profile(str(tiny), ("canary.samples=4",)).hash != load_profile(str(tiny)).hash


def test_a_small_gate_needs_the_setting_that_permits_it(tiny) -> None:
    with pytest.raises(ConfigError, match=r"promotion\.min_gate_samples asks for at least 256"):
        load_profile(str(tiny), ("promotion.min_gate_samples=256",))


def test_a_profile_that_says_nothing_of_a_stream_trains_on_stored_rows() -> None:
    assert all(load_profile(name).stream is None for name in profile_names())


def test_a_stream_can_be_chosen_in_the_file_or_on_the_command_line(changed, tiny) -> None:
    chosen = load_profile(changed("[pose]", "[stream]\nwindow = 128\nreuse = 4\n\n[pose]")).stream
    assert chosen is not None
    assert (chosen.window, chosen.reuse) == (128, 4)
    assert load_profile(str(tiny), ("stream.window=128", "stream.reuse=4")).stream == chosen


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("stream.window=100",), "multiple of 64"),
        (("stream.reusse=2",), "did you mean 'reuse'"),
        (("stream.reuse=2", 'datasets=["lsp"]'), "leave out the training rows of lsp"),
    ],
)
def test_a_stream_that_can_t_be_is_refused_by_name(tiny, overrides, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_profile(str(tiny), overrides)


@pytest.mark.parametrize(
    ("name", "mix"),
    [
        ("paper-h36m", {"human36m": 1.0}),
        ("paper-h36m-mpii", {"human36m": 0.5, "mpii": 0.5}),
        ("paper-humaneva", {"humaneva": 1.0}),
    ],
)
def test_the_papers_profiles_train_on_the_papers_data_by_the_papers_losses_alone(
    name: str, mix: dict[str, float]
) -> None:
    profile = load_profile(name)
    assert profile.train_pose.mix == mix
    assert profile.inference.flip_test
    losses = profile.losses
    assert (losses.alpha, losses.marginal, losses.posed_joints) == (0.05, 0.0, 0.0)
    assert (losses.joint_units, losses.supervision) == ("voxels", "both")
    pose = profile.pose
    assert (pose.backbone, pose.crop_px, pose.volume_cells) == ("resnet50", 256, 64)
    assert not pose.lateral


def test_the_pose_network_of_table_2_keeps_what_humaneva_alone_has_taught_it() -> None:
    stage = load_profile("paper-humaneva").train_posh
    assert stage.steps == 1
    assert stage.learning_rate <= 1e-12
    assert stage.freeze_batch_norm
    assert stage.shape_warmup > 0
