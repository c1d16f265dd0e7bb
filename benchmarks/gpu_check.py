"""Everything that only a GPU can show, in one command: `make gpu-check`.

Runs the parts of `gpu_sections` one after another, each in a process of its own with a time limit: a kernel that fails
spoils the device for its process, and one that hangs must not cost the parts behind it. What is known so far is written
after each part, so nothing is lost when the command is stopped; a later call with `--only` adds to it.
Knows processes, limits and files; the parts know what they do, `gpu_tables` how it is shown.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from fastlic.benchmarks import gpu_tables
from fastlic.benchmarks.gpu_sections import ROOT, SECTIONS, Part, Section, Settings, Skipped
from fastlic.benchmarks.measure import save
from fastlic.benchmarks.sampling import Effort
from fastlic.errors import EngineUnavailable
from fastlic.runtime.files import write_atomically

FOLDER = Path("build/gpu-check")
COMMAND = (sys.executable, "-m", "fastlic.benchmarks.gpu_check")
_SHORTEST = 10.0
"""Seconds: with less time left, a part is not begun."""
_PATIENCE = 5.0
"""Seconds between asking a process to end and ending it."""


def check(
    sections: Sequence[Section],
    settings: Settings,
    say: Callable[[str], None],
    *,
    seconds: float | None = None,
    command: Sequence[str] = COMMAND,
) -> list[Part]:
    """Run sections in order; without a GPU, one line that says why.

    Args:
        sections: of `SECTIONS`; the first one looks for a GPU.
        settings: for all of them.
        say: told about each part as it ends.
        seconds: after which the last part is stopped, and no more are begun.
        command: that runs this module.

    Returns:
        What they found, after what earlier calls found for other sections. Files in the settings' folder say the same.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    names = {section.name for section in sections}
    parts = [part for part in load(settings.folder) if part.name not in names]
    end = None if seconds is None else time.monotonic() + seconds
    for section in sections:
        left = section.limit if end is None else min(section.limit, end - time.monotonic())
        if left < min(_SHORTEST, section.limit):
            part = Part(section.name, "skipped", f"no time was left: run again with --only {section.name}")
        else:
            part = run(replace(section, limit=left), settings, command)
        parts.append(replace(part, date=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")))
        write(settings.folder, parts)
        say(f"{part.outcome:8} {part.name} ({part.seconds:.0f} s) {part.detail}")
        if section is SECTIONS[0] and part.outcome != "ok":
            break
    return parts


def run(section: Section, settings: Settings, command: Sequence[str]) -> Part:
    """One part in a process of its own, whose output goes to NAME.log; stopped with its children after its limit."""
    kept, log = settings.folder / f"{section.name}.json", settings.folder / f"{section.name}.log"
    kept.unlink(missing_ok=True)
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--run", section.name, *arguments_of(settings)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            code: int | None = process.wait(section.limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    part = Part(**json.loads(kept.read_text())) if kept.exists() else Part(section.name, "unfinished")
    part.seconds = time.monotonic() - begun
    if part.outcome == "unfinished":
        why = f"stopped after {section.limit:.0f} s" if code is None else f"its process ended with {code}"
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        part.outcome = "failed"
        part.detail = "; ".join(text for text in (why, part.detail, *last) if text)
    return part


def run_here(section: Section, settings: Settings) -> Part:
    """One part in this process, with its outcome whatever happens in it; what it has so far is in NAME.json."""

    def keep(part: Part) -> None:
        write_atomically(settings.folder / f"{section.name}.json", json.dumps(asdict(part)).encode())

    try:
        part = section.run(settings, keep)
    except (Skipped, EngineUnavailable, ModuleNotFoundError) as reason:
        part = Part(section.name, "skipped", str(reason))
    except Exception as error:  # whatever it is, it is this part's outcome
        traceback.print_exc()
        part = Part(section.name, "failed", f"{type(error).__name__}: {error}")
    keep(part)
    return part


def load(folder: Path) -> list[Part]:
    """What earlier calls wrote into a folder."""
    path = folder / "gpu-check.json"
    return [Part(**entry) for entry in json.loads(path.read_text())["parts"]] if path.exists() else []


def write(folder: Path, parts: Sequence[Part]) -> None:
    """Write all figures as `gpu-check.json`, and tables as `gpu-check.md`."""
    save(folder / "gpu-check.json", {"parts": [asdict(part) for part in parts]})
    write_atomically(folder / "gpu-check.md", gpu_tables.markdown(parts).encode())


def arguments_of(settings: Settings) -> list[str]:
    """The settings as they are given on the command line."""
    words = ["--folder", str(settings.folder.resolve()), "--effort", json.dumps(settings.effort.to_json())]
    words += ["--kodak", str(settings.kodak.resolve())] if settings.kodak else []
    words += ["--select", settings.select] if settings.select else []
    return words + [word for path in settings.students for word in ("--student", str(path.resolve()))]


def chosen(only: Sequence[str]) -> list[Section]:
    """The sections whose names begin with one of these words, the look for a GPU before them; all without words.

    Raises:
        ValueError: no section is called so.
    """
    for word in only:
        if not any(section.name.startswith(word) for section in SECTIONS):
            raise ValueError(f"there is no part {word}; there are {', '.join(section.name for section in SECTIONS)}")
    first, *others = SECTIONS
    return [first, *(one for one in others if not only or one.name.startswith(tuple(only)))]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, unless they have ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_PATIENCE)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def main(command: Sequence[str] = COMMAND) -> None:
    """Run everything, print the tables; exit 1 when a part failed.

    Args:
        command: that runs this module.
    """
    parser = argparse.ArgumentParser(description="Check fastlic on the GPU of this machine.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for gpu-check.json, gpu-check.md and logs")
    parser.add_argument("--kodak", type=Path, help="folder of Kodak's PNG pictures, decoded symbol by symbol")
    parser.add_argument("--student", type=Path, action="append", default=[], help="a bundle to decode for time, too")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="parts by the beginnings of their names")
    parser.add_argument("--minutes", type=float, help="after which no part is begun, and the last one is stopped")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--select", help="expression that narrows the tests, as for pytest -k")
    parser.add_argument("--effort", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    effort: dict[str, Any] = options.effort or Effort(seconds=options.seconds, count=30).to_json()
    settings = Settings(options.folder, options.kodak, tuple(options.student), Effort.of(effort), options.select)
    if options.run:
        run_here(next(section for section in SECTIONS if section.name == options.run), settings)
        return
    console = Console()
    try:
        sections = chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    seconds = None if options.minutes is None else 60 * options.minutes
    parts = check(sections, settings, lambda line: console.print(escape(line)), seconds=seconds, command=command)
    print(gpu_tables.markdown(parts))
    if any(part.outcome == "failed" for part in parts):
        sys.exit(1)


if __name__ == "__main__":
    main()
