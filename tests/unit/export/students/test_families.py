from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastlic.errors import CheckpointError
from fastlic.export.students import FAMILIES, family_of
from fastlic.export.students.compressai import NAMES

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("name", FAMILIES)
def test_family_is_registered_under_its_own_name_and_has_a_recipe(name: str) -> None:
    family = family_of({"student": name})

    assert family.family == name
    assert callable(family.recipe)


def test_families_of_compressai_are_registered() -> None:
    assert set(NAMES) <= set(FAMILIES)


def test_unknown_family_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(CheckpointError, match=r"'student' is 'nobody', but must be one of .*'elic2022'"):
        family_of({"student": "nobody"})


def test_what_decodes_names_no_family() -> None:
    names = re.compile("|".join(rf"\b{name}\b" for name in FAMILIES), re.IGNORECASE)
    sources = [
        path
        for folder in ("runtime", "kernels", "fastlic")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".h", ".cpp", ".cu")
    ]

    assert len(sources) > 50
    assert [str(path) for path in sources if names.search(path.read_text(encoding="utf-8"))] == []
