"""Keras' API for the networks that the node daemon runs; importing it imports neither Keras nor TensorFlow."""
