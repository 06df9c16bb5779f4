"""Two kernels of one's own, installed and called, from Python and from Spark: `python examples/own_kernels.py`.

What they are is in examples/own_kernels/, what all of it means in docs/own-kernels.md.
"""

from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from spark_accel import client, installation, model_store, settings
from spark_accel.functions import kernel

FOLDER = Path(__file__).parent / "own_kernels"

# As `spark-accel model install examples/own_kernels/vector_add` does.
chosen = settings.from_environment()
there = {model.name for model in model_store.models(chosen.repository)}
for name in ("vector_add", "black_scholes"):
    if name not in there:
        installation.install(FOLDER / name, chosen.repository)

# From Python: arrays in, arrays out.
node = client.shared(chosen)
print(f"on {node.device()}")
a, b = np.arange(5), np.full(5, 0.5)
print("vector_add", node.kernel("vector_add", a=a, b=b)["sum"])

# From Spark: a Column function. Inputs are columns, scalars are named.
session = SparkSession.builder.appName("own kernels").master("local[*]").getOrCreate()
options = session.range(10).selectExpr("100 as spot", "80 + 5 * id as strike", "1 as years", "0.2 as volatility")
prices = kernel("black_scholes", "spot", "strike", "years", "volatility", rate=0.03)
options.withColumn("price", prices).select("strike", "price.call", "price.put").show()
session.stop()
