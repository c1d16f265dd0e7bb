"""The wide students can be built, and a name that is none is refused; exporting them takes minutes."""

from __future__ import annotations

import pytest

from fastlic.benchmarks import wide_students
from fastlic.export.students import from_configuration


@pytest.mark.parametrize("name", wide_students.CONFIGURATIONS)
def test_configuration_makes_a_student_of_some_million_parameters(name: str) -> None:
    model = from_configuration(wide_students.CONFIGURATIONS[name])

    assert 2e6 < sum(parameter.numel() for parameter in model.parameters()) < 2e7


def test_unknown_name_is_refused_with_the_known(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["wide_students", str(tmp_path), "huge"])

    with pytest.raises(SystemExit):
        wide_students.main()

    assert "there is no huge; known: ilc-wide" in capsys.readouterr().err
