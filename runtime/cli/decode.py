"""`fastlic decode`: `.lic` files to pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from fastlic.runtime.cli import batch, jobs, options
from fastlic.runtime.cli.console import Record, note


def command(
    paths: Annotated[list[str], typer.Argument(help=".lic files, folders or -; then possibly the output.")],
    output: options.Output = None,
    kind: Annotated[
        str, typer.Option("--format", help="Of pictures whose name is not given: png, jpg, webp, ...")
    ] = "png",
    model: options.Model = None,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    workers: options.Jobs = 1,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Restore pictures: fastlic decode photo.lic photo.png.

    Of a folder, or of several files, into a folder: fastlic decode DIR OUT --jobs 4. OUT may be new, or a folder
    without .lic files; one that holds some could be an input as well and takes -o OUT.

    A file that cannot be decoded does not stop the others; failures are summed up at the end, and the exit code is 1.
    A run that was interrupted, even killed, goes on when it is started again: finished files are skipped as long as
    input and output still have the content that OUT/.fastlic remembers. Other files that exist are kept unless --force
    is given.
    """
    from fastlic.runtime import pictures
    from fastlic.runtime.bitstream import probe, read_metadata
    from fastlic.runtime.codec import Decoder

    suffix = f".{kind.lower().removeprefix('.')}"
    if suffix not in pictures.FORMATS:
        raise typer.BadParameter(f"--format {kind}: use one of {', '.join(name[1:] for name in pictures.FORMATS)}.")
    others = [name for name in pictures.FORMATS if name != suffix]
    planned = jobs.plan(paths, output, reads={".lic"}, writes=[suffix, *others])
    for job in planned.jobs:
        if job.target is not None and job.target.suffix.lower() not in pictures.FORMATS:
            raise typer.BadParameter(f"{job.target}: a picture's name ends in one of {', '.join(pictures.FORMATS)}.")
    with Decoder(model, engine=engine, threads=options.threads_each(threads, workers)) as decoder:

        def work(job: jobs.Job, data: bytes) -> tuple[bytes, Record]:
            wanted = suffix if job.target is None else job.target.suffix
            pixels = decoder.decode(data)
            metadata = read_metadata(data, probe(data), decoder.limits)
            for lost in pictures.lost_metadata(metadata, wanted):
                note(f"{job.name}: a {wanted} file has no room for {lost.upper()} data: left out")
            height, width = pixels.shape[:2]
            return pictures.to_bytes(pixels, metadata, wanted, name=job.target_name), {
                "source": job.name,
                "target": job.target_name,
                "width": width,
                "height": height,
                "engine": decoder.engine_info.name,
            }

        batch.run(
            planned,
            work,
            settings=lambda: "decode",  # the input says by which student, the target's suffix in which format
            verb="decoding",
            line=_line,
            as_json=as_json,
            force=force,
            workers=workers,
        )


def _line(record: Record) -> str:
    return "{source} -> {target}  {width}x{height}  {engine}  {seconds:.2f} s".format(**record)
