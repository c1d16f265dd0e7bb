"""Read a family's configuration: a parsed JSON object into a typed structure, every key accounted for.

Knows JSON objects and what is said of any student without changing its arithmetic; knows no family. Conventions that
tensors cannot tell are fields of type `Literal`, without default: a checkpoint that does not state them is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar

import msgspec
from torch import Tensor, nn

from fastlic.errors import CheckpointError
from fastlic.export.students.configuration import NOTES

Settings = TypeVar("Settings", bound=msgspec.Struct)

Width = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Slope = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Odd = Annotated[int, msgspec.Meta(ge=1, le=15)]


def read(kind: type[Settings], raw: Mapping[str, Any]) -> Settings:
    """Check a parsed JSON object against a structure.

    Args:
        kind: a `msgspec.Struct` with `forbid_unknown_fields`.
        raw: the object; `student` and notes such as a licence are not the structure's.

    Raises:
        CheckpointError: a key is unknown or missing, or a value has the wrong type or range; the message names it.
    """
    told = {key: value for key, value in raw.items() if key not in NOTES}
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise CheckpointError(f"configuration: {error}. Keys of {raw.get('student')!r}: {known}") from None


def require(holds: bool, key: str, value: object, expected: str) -> None:
    """Raise `CheckpointError` unless a condition between keys holds."""
    if not holds:
        raise CheckpointError(f"configuration: {key!r} is {value!r}, but must be {expected}")


def mapping(family: str, settings: msgspec.Struct) -> dict[str, Any]:
    """The JSON object that `read` reads back to these settings."""
    return {"student": family, **msgspec.json.decode(msgspec.json.encode(settings))}


class Configured(nn.Module):
    """A student whose configuration tells every width, so that tensors have nothing to add.

    Attributes:
        family: its name in configurations.
        settings: the structure of its configuration.
    """

    family: ClassVar[str]
    settings: ClassVar[type[msgspec.Struct]]

    @classmethod
    def from_configuration(cls, raw: Mapping[str, Any]) -> Self:
        """Build an untrained student from a parsed JSON configuration.

        Raises:
            CheckpointError: see `read`.
        """
        return cls(read(cls.settings, raw))

    def to_mapping(self) -> dict[str, Any]:
        """The JSON object that `from_configuration` reads back."""
        configuration: Any = self.configuration
        return mapping(self.family, configuration)

    @staticmethod
    def widths_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Nothing: the shape of every key is compared with what the configuration makes it."""
        return {}
