"""Decode on a GPU: tensors stay on the device, only rows of frequencies and symbols cross to the host and back."""
