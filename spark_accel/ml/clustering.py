"""`KMeans`, PySpark's own with its fit on the device."""

from pyspark.ml import clustering

from spark_accel.ml.accelerated import Accelerated


class KMeans(Accelerated, clustering.KMeans):
    """K-means clustering: PySpark's `pyspark.ml.clustering.KMeans`, fitted on the device of each executor's node.

    Parameters, setters, the model and its summary are PySpark's, and so is what `save` writes. `load` reads what either
    class has saved. The driver needs the bridge's jar (`spark_accel.configure`), and not the plugin.

        from spark_accel.ml.clustering import KMeans
        model = KMeans(k=8, seed=1).fit(frame)

    Raises ConfigurationError, when made or loaded, if the driver's JVM runs without the jar.
    """

    _java_class = "spark_accel.ml.clustering.KMeans"
