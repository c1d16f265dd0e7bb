"""Conversion of entropy networks to integer lattices that every engine evaluates to the same bits."""
