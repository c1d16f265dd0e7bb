from __future__ import annotations

import pytest

from fastlic.runtime.cli.app import main


def test_distill_bad_configuration_fails_with_one_sentence(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text("name = 3")

    with pytest.raises(SystemExit) as left:
        main(["distill", str(path)])

    assert left.value.code == 1
    assert "run.toml" in capsys.readouterr().err
