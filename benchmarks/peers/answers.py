"""The loop of a worker that runs in fastlic's own environment: one JSON object a line in, one out.

Knows the form of requests (`{"do": NAME, ...}`); knows nothing of what they do. Peers with an environment of their own
cannot import this and repeat the few lines.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

Answers = Mapping[str, Callable[..., dict[str, Any]]]
"""By name, what answers; the request's other fields are its arguments."""


def answer_requests(answers: Answers) -> None:
    """Answer until standard input ends; what libraries print goes to standard error, where it disturbs nothing."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(answers[request.pop("do")](**request)), file=replies, flush=True)


def peak_memory() -> int | None:
    """Bytes of the largest resident set that this process has had; None on systems without `resource`."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
