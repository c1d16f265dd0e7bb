from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from library_students import every_student, made, state_of

from fastlic.benchmarks.peers import library
from fastlic.errors import CheckpointError
from fastlic.export import checkpoint, gaussian
from fastlic.export.calibration import made_up
from fastlic.export.integer.program import MEAN_UNIT, FloatArithmetic, encode
from fastlic.export.students.compressai import NAMES, family_in


@pytest.fixture
def saved(tmp_path: Path):
    """Write a model of the library as a checkpoint, some of its tensors replaced or (None) left out."""

    def save(name: str, **changes: torch.Tensor | None) -> Path:
        state = state_of(name)
        for key, value in changes.items():
            full = key.replace("__", ".")
            if value is None:
                del state[full]
            else:
                state[full] = value
        torch.save(state, tmp_path / "library.pt")
        return tmp_path / "library.pt"

    return save


def picture() -> torch.Tensor:
    return torch.from_numpy(made_up(1, 128, seed=3)[0][:, :64]).permute(2, 0, 1)[None].float() / 255


@every_student
@torch.no_grad()
def test_loaded_student_sees_decodes_and_rates_what_the_library_does(saved, student: str) -> None:
    x, model = picture(), made(student)
    ours = checkpoint.load(saved(student), student=student).model
    wanted, shown, bits = library.forward(model, x)

    y = ours.g_a(x)
    if student == "bmshj2018-factorized":
        medians = ours.entropy_bottleneck.medians()[:, None, None]
        symbols = (y[0] - medians).round()
        seen, found = symbols + medians, gaussian.prior_bits(ours.entropy_bottleneck, symbols.numpy())
    else:
        parts = ours.parts()
        z = parts.h_a(y.abs() if parts.absolute else y)[0] - parts.prior.medians()[:, None, None]
        passes = encode(parts.program, FloatArithmetic(), {"z": z.round().numpy()}, y[0].double().numpy())
        seen = torch.zeros(y.shape[1:])
        for coded in passes:
            stage, values = coded.stage, coded.symbols.astype(float)
            if stage.means:
                values = values + coded.numbers[..., stage.count :] / MEAN_UNIT
            seen[slice(*stage.channels)] += torch.from_numpy(stage.unpack(values, y.shape[3])).permute(2, 0, 1)
        found = gaussian.prior_bits(parts.prior, z.round().numpy()) + sum(map(gaussian.normal_bits, passes))

    assert wanted.abs().max() > 1.5
    torch.testing.assert_close(seen, wanted, atol=1e-4, rtol=1e-4)
    assert (ours.g_s(wanted[None])[0] - shown).abs().max() < 1e-4 * shown.abs().max()
    assert found == pytest.approx(bits, rel=1e-4)


@every_student
def test_widths_are_read_from_the_tensors(saved, student: str) -> None:
    loaded = checkpoint.load(saved(student), student=student)

    assert loaded.configuration["N"] == 8
    assert loaded.configuration.get("M", 12) == 12
    assert loaded.configuration.get("groups", [2, 2, 2, 2, 4]) == [2, 2, 2, 2, 4]


@every_student
def test_checkpoint_with_the_librarys_tables_computed_loads_alike(tmp_path: Path, saved, student: str) -> None:
    plain = checkpoint.load(saved(student), student=student).model.state_dict()
    state = state_of(student)
    for key in state:
        if key.endswith(("_quantized_cdf", "_offset", "_cdf_length")):
            state[key] = torch.ones(3, dtype=torch.int32)
        elif key.endswith("scale_table"):
            state[key] = torch.linspace(0.11, 256, 64)
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "u.pt")

    loaded = checkpoint.load(tmp_path / "u.pt", student=student).model.state_dict()

    assert all(torch.equal(value, plain[key]) for key, value in loaded.items())


@pytest.mark.parametrize("found", NAMES)
@pytest.mark.parametrize("asked", ["mbt2018-mean", "elic2022"])
def test_checkpoint_of_another_family_is_named(saved, found: str, asked: str) -> None:
    if found == asked:
        pytest.skip("that is the right family")
    with pytest.raises(CheckpointError, match=f"tensors of {found}, not of {asked}. Say --student {found}"):
        checkpoint.load(saved(found), student=asked)


@pytest.mark.parametrize("name", ["mbt2018", "cheng2020-anchor"])
def test_autoregressive_variant_is_refused_with_the_reason(saved, name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"tensors of {name}: its autoregressive context .* Supported: "):
        checkpoint.load(saved(name), student="mbt2018-mean")


@pytest.mark.parametrize("name", ["bmshj2018-factorized-relu", "elic2022-chandelier"])
def test_unsupported_variant_is_named(saved, name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"tensors of {name}: that variant is not among"):
        checkpoint.load(saved(name), student="elic2022")


def test_foreign_tensors_are_no_model_of_the_library(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "foreign.pt")

    with pytest.raises(CheckpointError, match=r"nor of another model in CompressAI's format\. Supported: "):
        checkpoint.load(tmp_path / "foreign.pt", student="mbt2018-mean")


def test_name_that_is_no_family_of_the_library_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'fu2023' is no family of CompressAI's format: bmshj2018-factorized"):
        checkpoint.load(tmp_path / "any.pt", student="fu2023")


@every_student
def test_truncated_state_names_the_first_missing_tensor(saved, student: str) -> None:
    last = "g_s__7__0__bias" if "cheng" in student else "g_s__14__bias" if "elic" in student else "g_s__6__bias"

    with pytest.raises(CheckpointError, match=r"1 tensors are missing, the first is 'g_s\."):
        checkpoint.load(saved(student, **{last: None}), student=student)


def test_state_without_the_tensor_that_shows_a_width_is_refused(saved) -> None:
    with pytest.raises(CheckpointError, match="show its widths are missing"):
        checkpoint.load(saved("bmshj2018-factorized", g_a__0__weight=None), student="bmshj2018-factorized")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gaussian_conditional__lower_bound_scale__bound", torch.tensor([0.5])),
        ("gaussian_conditional__scale_bound", torch.tensor([0.04])),
        ("g_a__1__gamma_reparam__pedestal", torch.tensor([1e-3])),
    ],
)
def test_constant_of_a_changed_model_is_refused(saved, key: str, value: torch.Tensor) -> None:
    with pytest.raises(CheckpointError, match="is not the constant that CompressAI's models have"):
        checkpoint.load(saved("mbt2018-mean", **{key: value}), student="mbt2018-mean")


def test_context_with_another_mask_is_refused(saved) -> None:
    key = "latent_codec__y__context_prediction__mask"
    mask = state_of("cheng2020-anchor-checkerboard")[key.replace("__", ".")]

    with pytest.raises(CheckpointError, match=r"context_prediction\.mask' is not the constant"):
        checkpoint.load(
            saved("cheng2020-anchor-checkerboard", **{key: 1 - mask}), student="cheng2020-anchor-checkerboard"
        )


def test_names_of_the_first_releases_are_understood(tmp_path: Path) -> None:
    state = state_of("mbt2018-mean")
    plain = {"matrices": "_matrix", "biases": "_bias", "factors": "_factor"}
    old = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "entropy_bottleneck" and parts[1] in plain:
            key = f"entropy_bottleneck.{plain[parts[1]]}{parts[2]}"
        old[key] = value
    torch.save(old, tmp_path / "old.pt")

    loaded = checkpoint.load(tmp_path / "old.pt", student="mbt2018-mean").model

    np.testing.assert_array_equal(
        loaded.entropy_bottleneck.matrices[2].detach(), state["entropy_bottleneck.matrices.2"].numpy()
    )


@every_student
@pytest.mark.parametrize("replacement", [torch.zeros(()), torch.zeros(0), torch.full((2, 3), float("nan"))], ids=str)
def test_tensor_of_an_impossible_shape_is_refused_whichever_it_is(
    tmp_path: Path, student: str, replacement: torch.Tensor
) -> None:
    state = state_of(student)
    computed = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table")
    often = 60 if student == "elic2022" else 7  # a file of 13 MB each time
    chosen = [key for number, key in enumerate(state) if number % often == 0 or "y0.context" in key or "h_s.4" in key]
    for key in [key for key in chosen if not key.endswith(computed)]:
        torch.save({**state, key: replacement}, tmp_path / "hostile.pt")
        with pytest.raises(CheckpointError, match=r"hostile\.pt: "):
            checkpoint.load(tmp_path / "hostile.pt", student=student)


def test_sparse_tensor_is_refused(saved) -> None:
    with pytest.raises(CheckpointError, match="is sparse or has no values"):
        checkpoint.load(saved("mbt2018-mean", h_a__0__bias=torch.zeros(8).to_sparse()), student="mbt2018-mean")


def test_family_of_nothing_is_unknown() -> None:
    assert family_in({}) is None
