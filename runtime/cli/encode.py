"""`fastlic encode`: pictures to `.lic` files."""

from __future__ import annotations

from pathlib import Path
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
    workers: options.Jobs = 1,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Compress pictures: fastlic encode photo.png photo.lic.

    Of a folder, or of several files, into a folder: fastlic encode DIR OUT --jobs 4. OUT may be new, or a folder
    without pictures; one that holds some could be an input as well and takes -o OUT.

    A picture that cannot be encoded does not stop the others; failures are summed up at the end, and the exit code is
    1. A run that was interrupted, even killed, goes on when it is started again: finished files are skipped as long as
    bundle, options, input and output are still those that OUT/.fastlic remembers. Other files that exist are kept
    unless --force is given.
    """
    from fastlic.runtime import bundle as bundles
    from fastlic.runtime import pictures
    from fastlic.runtime.codec import Encoder

    planned = jobs.plan(paths, output, reads=pictures.READABLE, writes=[".lic"])
    bundle = bundles.default() if model is None else bundles.Bundle(model)
    with Encoder(bundle, engine=engine, threads=options.threads_each(threads, workers)) as encoder:

        def settings() -> str:
            from fastlic.runtime.cli.journal import file_hash

            return f"encode, bundle {file_hash(Path(bundle.origin))}, rate {rate}, background {background}"

        def work(job: jobs.Job, content: bytes) -> tuple[bytes, Record]:
            picture = pictures.load(content, name=job.name, background=background)
            for notice in picture.notices:
                note(f"{job.name}: {notice}")
            data = encoder.encode(picture.pixels, metadata=picture.metadata, rate=rate)
            height, width = picture.pixels.shape[:2]
            return data, {
                "source": job.name,
                "target": job.target_name,
                "width": width,
                "height": height,
                "bytes": len(data),
                "bpp": round(8 * len(data) / (width * height), 4),
                "notices": list(picture.notices),
            }

        batch.run(
            planned,
            work,
            settings=settings,
            verb="encoding",
            line=_line,
            as_json=as_json,
            force=force,
            workers=workers,
        )


def _line(record: Record) -> str:
    return "{source} -> {target}  {width}x{height}  {bytes} bytes  {bpp:.3f} bpp  {seconds:.2f} s".format(**record)
