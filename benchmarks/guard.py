"""Compare a run with an earlier one by ratios alone, which a slower or busier machine does not move.

Knows the JSON that `fastlic bench --json` writes; never looks at an absolute time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastlic.benchmarks.report import Report
from fastlic.errors import FastlicError

WORSE = 0.10
"""How much larger than the baseline's a ratio may be, beyond the quartiles of both."""


class BaselineUnusable(FastlicError):
    """The file is not what `fastlic bench --json` writes; the message says what is wrong with it."""


def compare(report: Report, path: Path) -> Iterator[str]:
    """A line for every ratio that became worse, and for every one that is missing.

    Args:
        report: of this run, with a comparison.
        path: the baseline.

    Raises:
        BaselineUnusable: `path` cannot be read.
    """
    before = _ratios(path)
    now = {row.name: row.ratio for row in report.comparison}
    for name, old in before.items():
        if name not in now:
            yield f"{name} is in the baseline and was not run now"
            continue
        new = now[name]
        if new.low > old["high"] and new.median > (1 + WORSE) * old["median"]:
            yield (
                f"decoding became slower beside {name}: {new.text(digits=3)} of its time, "
                f"{old['median']:.3f} ({old['low']:.3f} to {old['high']:.3f}) in {path.name}"
            )


def _ratios(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["comparison"]
        return {row["name"]: row["ratio"] for row in rows if row["name"] != "fastlic"}
    except OSError as error:
        raise BaselineUnusable(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BaselineUnusable(f"{path}: not written by `fastlic bench --peer ... --json` ({error!r})") from error
