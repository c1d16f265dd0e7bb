"""`tensorrt` and `tensorrt-rtx`: NVIDIA's two libraries, which share a programming interface.

TensorRT builds on the GPU that it runs on and takes our plugin. TensorRT for RTX builds without a GPU, finishes on the
GPU that it meets, and takes no plugins.
"""
