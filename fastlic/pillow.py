"""Importing this module teaches Pillow `.lic`: the same as `fastlic.register_opener()`."""

from fastlic.runtime.pillow import register_opener

register_opener()
