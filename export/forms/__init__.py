"""Forms of a bundle's graphs for engines that do not take them as they are: small ONNX rewrites, one per module."""
