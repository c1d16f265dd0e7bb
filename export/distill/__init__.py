"""Training of students: teacher, equal student and reduced student of Fu et al. 2023, or going on with any of them.

`configuration` says what can be asked for, `loop` does it; docs/distillation.md tells how the shipped students were
made.
"""
