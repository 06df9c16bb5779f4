"""What makes a subclass of a PySpark estimator an accelerated one: another Java class behind it.

All else, constructor and setters for two, is PySpark's own, whatever its version.
"""

from typing import Any, ClassVar

from py4j.java_gateway import JavaPackage  # type: ignore[import-untyped]
from pyspark import SparkContext
from pyspark.ml.util import JavaMLReadable
from pyspark.ml.wrapper import JavaWrapper
from pyspark.sql import is_remote

from spark_accel.errors import ConfigurationError


class Accelerated(JavaWrapper, JavaMLReadable[Any]):
    """To be the first base of a class whose second base is PySpark's.

    The class and its Java class have the same name: PySpark reads the one off the other when it loads.
    """

    _java_class: ClassVar[str]

    @classmethod
    def _new_java_obj(cls, java_class: str, *args: object) -> Any:  # noqa: ANN401, ARG003
        """Called by PySpark's constructor, with the name of the stock class; under Spark Connect it gets a name back.

        Raises ConfigurationError where the driver's JVM runs without the bridge's jar.
        """
        cls._require_jar()
        return JavaWrapper._new_java_obj(cls._java_class, *args)

    @classmethod
    def read(cls) -> Any:  # noqa: ANN401 - a reader of Spark Connect is no JavaMLReader
        """The reader behind `load`; it takes what PySpark's own class has saved too.

        Raises ConfigurationError where the driver's JVM runs without the bridge's jar.
        """
        cls._require_jar()
        return super().read()

    @classmethod
    def _require_jar(cls) -> None:
        if is_remote() or SparkContext._jvm is None:  # the server's affair, or PySpark says that there is no session
            return
        found: Any = SparkContext._jvm
        for name in cls._java_class.split("."):
            found = getattr(found, name)
        if isinstance(found, JavaPackage):
            raise ConfigurationError(
                f"{cls._java_class} is not in the driver's JVM: call spark_accel.configure(SparkSession.builder) "
                'before the first session of the process, or give spark-submit --jars "$(spark-accel jar)"'
            )
