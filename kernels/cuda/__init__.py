"""CUDA kernels, their twins in NumPy and how they are launched. Nothing here talks to a driver."""
