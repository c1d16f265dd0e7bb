from __future__ import annotations

import json

import pytest
import torch

from fastlic.errors import CheckpointError, ConfigurationError
from fastlic.export import checkpoint
from fastlic.export.distill.configuration import Start, Teacher
from fastlic.export.distill.data import Crops
from fastlic.export.distill.trainer import Trainer


def _begin(run) -> Trainer:
    return Trainer(run, Crops(run.data.archives, run.data.held_out))


def _same(one: Trainer, other: Trainer) -> bool:
    pairs = zip(one._networks(), other._networks(), strict=True)
    return all(torch.equal(value, b.state_dict()[key]) for a, b in pairs for key, value in a.state_dict().items())


@pytest.fixture
def published(run, changed, tmp_path):
    """A checkpoint of the tiny student, saved before its first iteration."""
    trainer = _begin(changed(run, seed=9, output=tmp_path / "start", name="start"))
    trainer.save()
    return trainer.checkpoint_path


def test_step_same_seed_gives_the_same_weights_and_another_does_not(run, changed, tmp_path):
    first, again, other = (
        _begin(changed(run, seed=seed, output=tmp_path / name)) for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    for trainer in (first, again, other):
        trainer.step()
        trainer.step()

    assert _same(first, again)
    assert not _same(first, other)


@pytest.mark.parametrize(
    ("method", "joint", "features"),
    [("adam", False, 0.0), ("adam", True, 0.0), ("adam", False, 1.0), ("soap", True, 0.0)],
)
def test_resumed_run_gives_the_weights_of_an_uninterrupted_one(
    run, changed, tmp_path, published, method, joint, features
):
    teacher = Teacher(checkpoint=published, joint=joint, features=features, iterations=3)
    taught = changed(run, teacher=teacher, optimiser={"method": method})
    whole, cut = (changed(taught, output=tmp_path / name) for name in ("whole", "cut"))
    uninterrupted = _begin(whole)
    for _ in range(4):
        uninterrupted.step()
    begun = _begin(cut)
    begun.step()
    begun.step()
    begun.save()
    begun.step()  # lost: it was not saved

    resumed = _begin(cut)
    assert resumed.iteration == 2
    resumed.step()
    resumed.step()

    assert _same(resumed, uninterrupted)


@pytest.mark.parametrize("method", ["adam", "soap"])
def test_steps_bring_the_loss_down(run, changed, method):
    settings = {"method": method, "learning_rate": 3e-3, "iterations": 40, "warm_up": 1}
    trainer = _begin(changed(run, optimiser=settings))

    losses = [trainer.step()["loss"] for _ in range(40)]

    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_steps_in_bfloat16_bring_the_loss_down(run, changed):
    settings = {"learning_rate": 3e-3, "iterations": 40, "warm_up": 1, "bfloat16": True, "offsets_from": 20}
    trainer = _begin(changed(run, optimiser=settings))

    losses = [trainer.step()["loss"] for _ in range(40)]

    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_step_offsets_switched_on_are_trained_only_then(run, changed):
    trainer = _begin(changed(run, optimiser={"offsets_from": 2}))
    offset = trainer.model.g_s[0].deform.offset.weight

    trainer.step()
    trainer.step()
    assert not bool(offset.any())
    trainer.step()
    assert bool(offset.any())


def test_start_with_offsets_off_keeps_the_plain_convolution(run, changed, tmp_path, published):
    state = torch.load(published, weights_only=True)
    torch.save({key: value + 0.1 * (".offset." in key) for key, value in state.items()}, published)
    start = Start(checkpoint=published)
    offsets = ("g_s.2.deform.offset.weight", "g_s.2.deform.offset.bias")

    plain = _begin(changed(run, start=start, optimiser={"offsets_from": 2}, output=tmp_path / "plain"))
    on = _begin(changed(run, start=start, output=tmp_path / "on"))

    assert not any(bool(plain.average.model.state_dict()[key].any()) for key in offsets)
    assert not plain.average.model.g_s[0].deform.enabled
    assert all(bool(on.average.model.state_dict()[key].all()) for key in offsets)
    assert on.average.model.g_s[0].deform.enabled


def test_step_prefixes_train_those_parameters_alone(run, changed):
    trainer = _begin(changed(run, optimiser={"train": ("h_s", "pen_")}))
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}

    trainer.step()

    moved = {
        key.split(".")[0] for key, value in trainer.model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved == {"h_s", "pen_anchor", "pen_nonanchor"}


def test_step_rate_of_rounded_latents_draws_no_noise(run, changed, tmp_path):
    noisy, rounded = (
        _begin(changed(run, loss={"rate": rate}, output=tmp_path / rate)) for rate in ("noise", "rounding")
    )
    before = noisy.noise.get_state()

    noisy.step()
    rounded.step()

    assert not torch.equal(noisy.noise.get_state(), before)
    assert torch.equal(rounded.noise.get_state(), before)


def test_step_loss_not_finite_leaves_the_weights(run, changed):
    trainer = _begin(changed(run, loss={"trade_off": 1e38}))
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}

    trainer.step()
    trainer.step()

    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


def test_joint_teacher_is_trained_and_frozen_teacher_is_not(run, changed, published, tmp_path):
    for joint in (False, True):
        trainer = _begin(changed(run, teacher=Teacher(checkpoint=published, joint=joint), output=tmp_path / str(joint)))
        assert trainer.teaching is not None
        before = trainer.teaching.model.g_s[-2].weight.clone()
        row = trainer.step()

        assert row["imitation"] > 0
        assert torch.equal(trainer.teaching.model.g_s[-2].weight, before) is not joint


def test_teacher_counts_until_its_iteration(run, changed, published):
    trainer = _begin(changed(run, teacher=Teacher(checkpoint=published, iterations=1)))

    assert trainer.step()["imitation"] > 0
    assert trainer.step()["imitation"] == 0


def test_features_of_a_wider_teacher_are_aligned(run, changed, published):
    teacher = Teacher(checkpoint=published, picture=0, anchors=0, nonanchors=0, features=1.0)
    narrow = {**run.student, "N": 2}
    settings = {"iterations": 40, "learning_rate": 1e-2, "bfloat16": True}
    trainer = _begin(changed(run, student=narrow, teacher=teacher, optimiser=settings))

    distances = [trainer.step()["imitation"] for _ in range(40)]

    assert sum(distances[-5:]) < 0.7 * sum(distances[:5])
    assert not trainer.model.g_s[0]._forward_hooks


def test_teacher_of_other_latent_channels_is_refused(run, changed, published):
    other = changed(run, student={**run.student, "M": 8}, teacher=Teacher(checkpoint=published))

    with pytest.raises(CheckpointError, match="the teacher has M = 6, the student 8"):
        _begin(other)


def test_start_takes_weights_and_leaves_fresh_parts_random(run, changed, published):
    begun = checkpoint.load(published).model.state_dict()

    trainer = _begin(changed(run, start=Start(checkpoint=published, fresh=("h_a",))))

    now = trainer.model.state_dict()
    assert torch.equal(now["g_s.2.conv.weight"], begun["g_s.2.conv.weight"])
    assert not torch.equal(now["h_a.0.weight"], begun["h_a.0.weight"])


def test_start_of_another_trade_off_scales_the_latent(run, changed, published):
    begun = checkpoint.load(published).model.state_dict()

    trainer = _begin(changed(run, start=Start(checkpoint=published, latent=2.0)))

    now = trainer.model.state_dict()
    assert torch.equal(now["g_a.7.weight"], 2 * begun["g_a.7.weight"])
    assert torch.equal(now["context.weight"], begun["context.weight"] / 2)


def test_start_of_other_widths_is_refused(run, changed, published):
    with pytest.raises(CheckpointError, match="does not fit the student"):
        _begin(changed(run, student={**run.student, "N": 8}, start=Start(checkpoint=published)))


def test_state_of_another_student_is_refused(run, changed):
    _begin(run).save()

    with pytest.raises(CheckpointError, match="of another run"):
        _begin(changed(run, student={**run.student, "N": 8}))


def test_save_publishes_a_checkpoint_that_loads(run):
    trainer = _begin(run)
    trainer.step()
    trainer.save()

    loaded = checkpoint.load(trainer.checkpoint_path)

    averaged = trainer.average.model.state_dict()
    assert all(torch.equal(value, averaged[key]) for key, value in loaded.model.state_dict().items())
    assert json.loads(trainer.checkpoint_path.with_suffix(".json").read_text())["lambda_mse255"] == 0.0075


def test_prefix_of_no_parameter_is_refused(run, changed):
    with pytest.raises(ConfigurationError, match=r"\['h_x'\] fits no parameter"):
        _begin(changed(run, optimiser={"train": ("h_x",)}))


def test_patch_larger_than_the_crops_is_refused(run, changed):
    with pytest.raises(ConfigurationError, match="128 is larger than the crops, 96"):
        _begin(changed(run, data={"patch": 128}))
