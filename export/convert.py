"""From a checkpoint to a published bundle: what `fastlic export` does.

Knows files and the student's card; the order of work is `pipeline`'s, the student itself its family's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastlic.export import calibration as pictures
from fastlic.export import checkpoint as checkpoints
from fastlic.export import pipeline
from fastlic.export.pipeline import Pictures
from fastlic.export.recipe import Recipe


def convert(
    checkpoint: str | Path,
    output: str | Path,
    *,
    configuration: str | Path | None = None,
    student: str | None = None,
    calibration: str | Path | None = None,
    validation: str | Path | None = None,
    encoder: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Export a checkpoint to a bundle that was verified before it got its name.

    Args:
        checkpoint: `.pt` state dict.
        output: the `.licb` to write; an existing one is replaced, but only by a verified one.
        configuration: JSON; None: beside the checkpoint.
        student: the family of a checkpoint in CompressAI's format, which has no configuration.
        calibration: folder or .tar of pictures; None: pictures are made up.
        validation: folder or .tar to measure the rate cost on; None: the part of `calibration` that is not calibrated
            on.
        encoder: whether the bundle can encode.
        progress: told what is being done.

    Returns:
        The report that is also in the manifest, with `bytes` and `fingerprint`.

    Raises:
        CheckpointError: the checkpoint cannot be exported.
        PictureError: not enough pictures.
        CertificateError: a layer cannot be proved exact.
        VerificationFailed: the bundle does not do what the checkpoint does.
    """
    progress("reading the checkpoint")
    loaded = checkpoints.load(checkpoint, configuration, student)
    recipe: Recipe = loaded.model.recipe()
    chosen = _pictures(calibration, validation, recipe.multiple)
    return pipeline.export(recipe, _card(checkpoint, loaded), chosen, Path(output), encoder=encoder, progress=progress)


def _pictures(calibration: str | Path | None, validation: str | Path | None, multiple: int) -> Pictures:
    chosen = pictures.load(None if calibration is None else Path(calibration), multiple)
    held_out = chosen.validation
    if validation is not None:
        every = pictures.load(Path(validation), multiple)
        held_out = every.calibration + every.validation
    return Pictures(chosen.calibration, held_out, chosen.origin)


def _card(checkpoint: str | Path, loaded: checkpoints.Checkpoint) -> dict[str, Any]:
    """The student's description: its configuration as written, and where it came from."""
    written = dict(loaded.configuration)
    family = written.pop("student")
    return {
        "name": Path(checkpoint).stem,
        **{str(key): written.pop(key) for key in ("name", "licence", "training") if key in written},
        "family": family,
        "configuration": written,
        "checkpoint_sha256": loaded.sha256,
    }
