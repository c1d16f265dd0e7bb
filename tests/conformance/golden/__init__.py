"""Data only: files that every version decodes to the same symbols. `fastlic.runtime.golden` reads the listing."""
