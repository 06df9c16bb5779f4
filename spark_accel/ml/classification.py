"""`LogisticRegression` and `NaiveBayes`, PySpark's own with their fits on the device."""

from pyspark.ml import classification

from spark_accel.ml.accelerated import Accelerated


class LogisticRegression(Accelerated, classification.LogisticRegression):
    """Logistic regression: PySpark's `pyspark.ml.classification.LogisticRegression`, fitted on the nodes' devices.

    Parameters, setters, the model and its summary are PySpark's, and so is what `save` writes. `load` reads what either
    class has saved. The driver needs the bridge's jar (`spark_accel.configure`), and not the plugin.

        from spark_accel.ml.classification import LogisticRegression
        model = LogisticRegression(regParam=1e-4).fit(frame)

    Raises ConfigurationError, when made or loaded, if the driver's JVM runs without the jar.
    """

    _java_class = "spark_accel.ml.classification.LogisticRegression"


class NaiveBayes(Accelerated, classification.NaiveBayes):
    """Naive Bayes: PySpark's `pyspark.ml.classification.NaiveBayes`, fitted on the device of each executor's node.

    Parameters, setters, the model and its summary are PySpark's, and so is what `save` writes. `load` reads what either
    class has saved. The driver needs the bridge's jar (`spark_accel.configure`), and not the plugin.

        from spark_accel.ml.classification import NaiveBayes
        model = NaiveBayes(modelType="gaussian").fit(frame)

    Raises ConfigurationError, when made or loaded, if the driver's JVM runs without the jar.
    """

    _java_class = "spark_accel.ml.classification.NaiveBayes"
