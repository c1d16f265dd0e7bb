"""examples/ray_transcode.py on a local cluster of two workers, which are killed; `make examples-check` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: `make examples-check` has an environment with it")

from cluster.killed_transcodes import Transcoding

from fastlic.runtime import bundle

pytestmark = pytest.mark.skipif(not bundle.shipped(), reason="no student is shipped")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transcoding]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")  # it would write a token into the user's home
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_worker_niceness", "0")  # Ray's own choice starves workers on a busy machine
        made = Transcoding(tmp_path_factory.mktemp("transcoding"), count=80)
        with made.cluster():
            yield made


def test_worker_killed_in_the_middle_loses_nothing_and_a_second_run_decodes_nothing(
    work: Transcoding, tmp_path: Path
) -> None:
    said = work.killed(tmp_path, "actor")
    again = work.finish(work.start(str(tmp_path)))

    assert said == f"{len(work.good)} decoded, 0 finished before, {len(work.damaged)} failed"
    assert again == f"0 decoded, {len(work.good)} finished before, {len(work.damaged)} failed"
    work.check(tmp_path)


def test_run_killed_in_the_middle_goes_on_when_it_is_started_again(work: Transcoding, tmp_path: Path) -> None:
    said = work.killed(tmp_path, "run", "--format", "png")

    done, skipped = (int(part.split()[0]) for part in said.split(", ")[:2])
    assert done + skipped == len(work.good)
    assert skipped
    work.check(tmp_path, "png")


def test_output_by_uri_is_the_folder(work: Transcoding, tmp_path: Path) -> None:
    said = work.finish(work.start(f"file://{tmp_path}"))

    assert said.startswith(f"{len(work.good)} decoded")
    work.check(tmp_path)
