"""The student families that can be trained and exported: name -> class.

A family is a `torch.nn.Module` that is a `Family`; docs/adding-a-student.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self

from torch import Tensor

from fastlic.errors import CheckpointError

if TYPE_CHECKING:
    from fastlic.export.recipe import Recipe


class Family(Protocol):
    """What the class of a family offers; it is an `nn.Module` besides.

    Attributes:
        family: its name in configurations.
        multiple: pictures are padded to multiples of this many pixels.
    """

    family: str
    multiple: int

    @classmethod
    def from_configuration(cls, raw: Mapping[str, Any]) -> Self:
        """Build an untrained student; raises `CheckpointError` where a key is unknown, missing or out of range."""

    @staticmethod
    def widths_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The part of a configuration that the tensors of a checkpoint show."""

    def recipe(self) -> Recipe:
        """How it becomes a bundle."""


# Family -> its class. Modules are imported when a family is asked for: they use what lies beside and below them.
FAMILIES = {
    "bgvae": "fastlic.export.students.bgvae:BgVae",
    "bmshj2018-factorized": "fastlic.export.students.balle2018:FactorisedBalle2018",
    "bmshj2018-hyperprior": "fastlic.export.students.balle2018:HyperpriorBalle2018",
    "cheng2020-anchor-checkerboard": "fastlic.export.students.cheng2020:Cheng2020Checkerboard",
    "elic2022": "fastlic.export.students.elic2022:Elic2022",
    "feds": "fastlic.export.students.feds:Feds",
    "fu2023": "fastlic.export.students.fu2023:Fu2023",
    "ilc": "fastlic.export.students.ilc:Ilc",
    "kdic": "fastlic.export.students.kdic:Kdic",
    "mbt2018-mean": "fastlic.export.students.balle2018:MeanScaleMinnen2018",
}


def family_of(configuration: Mapping[str, Any]) -> type[Any]:
    """The class that a configuration's `student` names.

    Raises:
        CheckpointError: the key is missing or names no known family.
    """
    name = configuration.get("student")
    if not isinstance(name, str) or name not in FAMILIES:
        raise CheckpointError(f"configuration: 'student' is {name!r}, but must be one of {sorted(FAMILIES)}")
    module, _, class_name = FAMILIES[name].partition(":")
    family: type[Any] = getattr(import_module(module), class_name)
    return family


def from_configuration(configuration: Mapping[str, Any]) -> Any:
    """Build an untrained student, a `Family` and `nn.Module`.

    Args:
        configuration: a parsed JSON configuration; `student` names the family, the family reads the rest.

    Raises:
        CheckpointError: the family or one of its keys is unknown, missing or out of range.
    """
    return family_of(configuration).from_configuration(configuration)
