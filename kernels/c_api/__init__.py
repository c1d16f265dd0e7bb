"""The C library: container and entropy decoder behind `fastlic/c_api.h`, for applications with an engine of their own.

`python -m fastlic.kernels.c_api build DIR` compiles and installs it; docs/c-api.md says how it is used.
"""
