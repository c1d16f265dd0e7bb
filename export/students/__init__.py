"""The student families that can be trained and exported: name -> class.

A family is a `torch.nn.Module` with `family`, `multiple`, `from_configuration` and `widths_of`;
docs/adding-a-student.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastlic.errors import CheckpointError
from fastlic.export.students.fu2023 import Fu2023

FAMILIES: dict[str, type[Fu2023]] = {Fu2023.family: Fu2023}


def family_of(configuration: Mapping[str, Any]) -> type[Fu2023]:
    """The class that a configuration's `student` names.

    Raises:
        CheckpointError: the key is missing or names no known family.
    """
    name = configuration.get("student")
    if not isinstance(name, str) or name not in FAMILIES:
        raise CheckpointError(f"configuration: 'student' is {name!r}, but must be one of {sorted(FAMILIES)}")
    return FAMILIES[name]


def from_configuration(configuration: Mapping[str, Any]) -> Fu2023:
    """Build an untrained student.

    Args:
        configuration: a parsed JSON configuration; `student` names the family, the family reads the rest.

    Raises:
        CheckpointError: the family or one of its keys is unknown, missing or out of range.
    """
    return family_of(configuration).from_configuration(configuration)
