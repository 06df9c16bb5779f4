"""Kernels that users write: what their config.pbtxt says, how they are called. docs/own-kernels.md describes them."""
