from __future__ import annotations

from pathlib import Path

import pytest

from fastlic.runtime import forms
from fastlic.runtime.forms import Form, FormCache


def test_a_stored_form_is_found_by_its_graph_and_kind(tmp_path: Path) -> None:
    cache = FormCache(tmp_path)
    cache.store(b"graph", Form("plugin", "f16", "tensorrt"), b"made")

    assert cache.find(b"graph", Form("plugin", "f16", "tensorrt")) == b"made"
    assert cache.find(b"graph", Form("plugin", "f32", "tensorrt")) is None
    assert cache.find(b"another graph", Form("plugin", "f16", "tensorrt")) is None


def test_a_form_made_by_another_revision_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FormCache(tmp_path).store(b"graph", Form(), b"made")
    monkeypatch.setattr(forms, "REVISION", forms.REVISION + 1)

    assert FormCache(tmp_path).find(b"graph", Form()) is None
