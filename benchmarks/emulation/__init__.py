"""Decode on processors that are not at hand: QEMU's user mode, other SIMD levels and 64-bit ARM."""
