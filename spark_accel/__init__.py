"""spark-accel: ResNet50 inference and MLlib training on the accelerator of a Spark node.

Importing this package imports neither TensorFlow nor pyopencl; see `spark_accel.functions` for `predict`.
"""

__version__ = "0.1.0"
