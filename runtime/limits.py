"""What a decoder is willing to spend on one file. On by default; pass your own `Limits` to raise them."""

from __future__ import annotations

from dataclasses import dataclass

from fastlic.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds checked before anything of that size is allocated.

    Attributes:
        max_pixels: width x height of a picture, after padding to whole coding units.
        max_tile_pixels: padded pixels of one entropy tile; bounds the memory of the entropy networks (about 2 kB per
            256 pixels and latent channel group, 0.6 GB at the default).
        max_tiles: tiles in one file.
        max_metadata_bytes: ICC, EXIF and XMP together.
        max_bundle_bytes: all members of a bundle, inflated.
        max_latent_density: elements of a bundle's latents per pixel, and elements that its passes code per pixel. With
            `max_pixels` and `max_tile_pixels` it bounds the memory and the time of entropy decoding.
        max_steps: of a bundle's schedule, and of its analysis.
    """

    max_pixels: int = 256_000_000
    max_tile_pixels: int = 4_194_304
    max_tiles: int = 4096
    max_metadata_bytes: int = 16_777_216
    max_bundle_bytes: int = 536_870_912
    max_latent_density: int = 16
    max_steps: int = 1024

    def check(self, name: str, value: int, what: str) -> None:
        """Raise `LimitExceeded` if `value` is above the limit called `name`.

        Args:
            name: field of this class.
            value: what the file asks for, in the field's unit.
            what: noun phrase for the message, such as "the picture's pixels".
        """
        limit = getattr(self, name)
        if value > limit:
            raise LimitExceeded(f"{what}: {value} exceeds the limit of {limit}. Pass Limits({name}=...) to allow it.")
