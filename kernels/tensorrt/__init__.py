"""fastlic's kernels as TensorRT plugins."""
