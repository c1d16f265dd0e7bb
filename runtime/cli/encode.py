"""`fastlic encode`: pictures to `.lic` files."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from fastlic.runtime.cli import batch, jobs, options
from fastlic.runtime.cli.console import Record, note


def command(
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders or -; then possibly the output.")],
    output: options.Output = None,
    model: options.Model = None,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    background: Annotated[str | None, typer.Option(metavar="COLOUR", help="To lay under transparent pixels.")] = None,
    rate: Annotated[
        int | None, typer.Option("--rate", min=1, help="Of a student of several rates: 1 is the smallest file.")
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Compress pictures: fastlic encode photo.png photo.lic."""
    from fastlic.runtime import pictures
    from fastlic.runtime.codec import Encoder

    planned = jobs.plan(paths, output, reads=pictures.READABLE, writes=[".lic"])
    with Encoder(model, engine=engine, threads=threads) as encoder:

        def work(job: jobs.Job) -> Record:
            start = time.perf_counter()
            picture = pictures.load(job.read(), name=job.name, background=background)
            for notice in picture.notices:
                note(f"{job.name}: {notice}")
            data = encoder.encode(picture.pixels, metadata=picture.metadata, rate=rate)
            job.write(data)
            height, width = picture.pixels.shape[:2]
            return {
                "source": job.name,
                "target": job.target_name,
                "width": width,
                "height": height,
                "bytes": len(data),
                "bpp": round(8 * len(data) / (width * height), 4),
                "seconds": round(time.perf_counter() - start, 3),
                "notices": list(picture.notices),
            }

        batch.run(planned, work, verb="encoding", line=_line, as_json=as_json, force=force)


def _line(record: Record) -> str:
    return "{source} -> {target}  {width}x{height}  {bytes} bytes  {bpp:.3f} bpp  {seconds:.2f} s".format(**record)
