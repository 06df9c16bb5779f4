"""The Column function `kernel`: numbers and arrays in, one output or a struct out, and what Spark's users are told."""

import os
import subprocess
import sys

import numpy as np
import pytest
from kernel_models import VECTOR, black_scholes, install_examples, options, source, write_kernel
from pyspark.errors import AnalysisException, PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col
from pyspark.sql.types import ArrayType, FloatType, ShortType, StructField, StructType
from spark_sessions import Node, setting

from spark_accel import functions
from spark_accel.errors import ModelError
from spark_accel.functions import kernel

pytestmark = pytest.mark.spark

SCALED = """
    backend: "opencl"
    input [ { name: "m" data_type: TYPE_FP32 dims: [-1, -1] }, { name: "weights" data_type: TYPE_FP32 dims: -1 } ]
    output [ { name: "scaled" data_type: TYPE_FP32 dims: [-1, -1] }, { name: "row_sum" data_type: TYPE_FP32 dims: -1 } ]
    parameters { key: "shapes" value { string_value: "m[n, w], weights[w], scaled[n, w], row_sum[n]" } }
    parameters { key: "scalars" value { string_value: "w: INT32" } }
    parameters { key: "arguments" value { string_value: "m, weights, scaled, row_sum, w" } }
    parameters { key: "global_size" value { string_value: "n" } }"""
SCALED_SOURCE = """
    __kernel void scaled(__global const float *m, __global const float *weights, __global float *scaled,
                         __global float *row_sum, int w) {
        int i = get_global_id(0);
        float sum = 0;
        for (int j = 0; j < w; j++)
            sum += scaled[i * w + j] = m[i * w + j] * weights[j];
        row_sum[i] = sum;
    }"""
BYTES = VECTOR.replace("TYPE_FP32", "TYPE_UINT8")
TOTAL = """
    backend: "opencl"
    input { name: "x" data_type: TYPE_FP32 dims: -1 }
    output { name: "y" data_type: TYPE_FP32 dims: 1 }
    parameters { key: "shapes" value { string_value: "x[n]" } }
    parameters { key: "arguments" value { string_value: "x, y" } }
    parameters { key: "global_size" value { string_value: "1" } }"""


@pytest.fixture(scope="module", autouse=True)
def _kernels(node: Node) -> None:
    repository = node.settings.repository
    install_examples(repository)
    write_kernel(repository, "scaled", SCALED_SOURCE, SCALED)
    write_kernel(repository, "next", source("next", "if (i < n) y[i] = x[i] + 1;").replace("float", "uchar"), BYTES)
    longs = source("long_next", "if (i < n) y[i] = x[i] + 1;").replace("float", "long")
    write_kernel(repository, "long_next", longs, VECTOR.replace("TYPE_FP32", "TYPE_INT64"))
    write_kernel(repository, "behind", source("behind", "y[i + 1] = x[i];"))
    (repository / "total" / "1").mkdir(parents=True, exist_ok=True)
    (repository / "total" / "config.pbtxt").write_text(TOTAL)


def frame(spark: SparkSession, count: int) -> tuple[DataFrame, dict[str, np.ndarray]]:
    columns = options(count)
    rows = [tuple(map(float, row)) for row in zip(*columns.values(), strict=True)]
    return spark.createDataFrame(rows, "spot double, strike double, years double, volatility double"), columns


def test_several_outputs_are_a_struct(spark: SparkSession) -> None:
    made, columns = frame(spark, 1000)
    with setting(spark, {"spark.sql.execution.arrow.maxRecordsPerBatch": "300"}):
        priced = made.select(
            kernel("black_scholes", "spot", "strike", col("years"), "volatility", rate=0.03).alias("p")
        )
        rows = priced.select("p.call", "p.put").collect()

    fields = [StructField("call", FloatType()), StructField("put", FloatType())]
    assert priced.schema["p"].dataType == StructType(fields)
    call, put = black_scholes(**columns, rate=0.03)
    np.testing.assert_allclose([row.call for row in rows], call, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose([row.put for row in rows], put, rtol=1e-4, atol=1e-4)


def test_one_output_has_its_own_type_and_the_column_the_kernels_name(spark: SparkSession) -> None:
    made, _ = frame(spark, 10)

    answer = made.select("spot", "strike", kernel("vector_add", "spot", "strike"))

    assert answer.schema["vector_add"].dataType == FloatType()
    assert all(row.vector_add == pytest.approx(row.spot + row.strike, rel=1e-6) for row in answer.collect())


def test_an_output_can_be_chosen(spark: SparkSession) -> None:
    made, columns = frame(spark, 10)

    rows = made.select(
        kernel("black_scholes", "spot", "strike", "years", "volatility", rate=0, output="put").alias("put")
    ).collect()

    np.testing.assert_allclose([row.put for row in rows], black_scholes(**columns, rate=0)[1], rtol=1e-4, atol=1e-4)


def test_arrays_are_rows_of_a_matrix_and_a_value_is_the_same_for_all_rows(spark: SparkSession) -> None:
    made = spark.createDataFrame([([1, 2, 3],), ([4, 5, 6],)], "m array<int>")

    row = made.select(kernel("scaled", "m", weights=[1, 10, 100]).alias("s")).select("s.*").collect()[1]

    assert (row.scaled, row.row_sum) == ([4, 50, 600], 654)


def test_rows_with_a_null_are_null_and_the_others_are_not_touched(spark: SparkSession) -> None:
    rows = [(1, [1.0, 2.0]), (2, None), (3, [1.0, None]), (4, [3.0, 4.0])]
    made = spark.createDataFrame(rows, "id int, m array<float>").coalesce(1)

    scaled = made.select("id", kernel("scaled", "m", weights=[1, 2]).alias("s"))
    sums = made.select(kernel("scaled", "m", weights=[1, 2], output="scaled").alias("s"))

    assert [row.s and row.s.row_sum for row in scaled.orderBy("id").collect()] == [5, None, None, 11]
    assert [row.s for row in sums.collect()] == [[1, 4], None, None, [3, 8]]
    assert sums.schema["s"].dataType == ArrayType(FloatType())


def test_nulls_alone_need_no_kernel(spark: SparkSession) -> None:
    made = spark.createDataFrame([(None, 1.0)], "a float, b float")

    assert made.select(kernel("vector_add", "a", "b").alias("s")).first().s is None


def test_unsigned_types_are_the_next_wider_ones(spark: SparkSession) -> None:
    answer = spark.createDataFrame([(254,), (0,)], "x int").select(kernel("next", "x").alias("y"))

    assert answer.schema["y"].dataType == ShortType()
    assert [row.y for row in answer.collect()] == [255, 1]


def test_a_number_that_a_type_can_not_hold_fails_the_job(spark: SparkSession) -> None:
    with pytest.raises(PythonException, match="has values from 256 to 256, which UINT8 can't hold"):
        spark.createDataFrame([(256,)], "x int").select(kernel("next", "x")).collect()


def test_arrays_of_different_lengths_fail_the_job_with_both(spark: SparkSession) -> None:
    made = spark.createDataFrame([([1.0, 2.0],), ([1.0, 2.0, 3.0],)], "m array<float>").coalesce(1)

    with pytest.raises(PythonException, match="one length as 'm', and this partition has some of 2 and some of 3"):
        made.select(kernel("scaled", "m", weights=[1, 2])).collect()


def test_a_frame_without_rows_gives_none(spark: SparkSession) -> None:
    made = spark.createDataFrame([], "a float, b float")

    assert made.select(kernel("vector_add", "a", "b")).collect() == []


def test_a_kernel_that_writes_out_of_bounds_fails_the_job_by_name(spark: SparkSession) -> None:
    with pytest.raises(PythonException, match="kernel 'behind' of model 'behind' wrote out of bounds"):
        spark.createDataFrame([(1.0,)], "x float").select(kernel("behind", "x")).collect()


@pytest.mark.parametrize(
    ("arguments", "values", "error", "said"),
    [
        ((5, "spot"), {}, TypeError, "the kernel is 5: expected the name of one"),
        (
            ("vector_add", "spot", 5),
            {},
            TypeError,
            "a column of kernel 'vector_add' is 5: expected a Column or the name",
        ),
        (("vector_add", "spot"), {}, TypeError, r"kernel 'vector_add' was given 1 columns, expected 2 \(a, b\): "),
        (("vector_add", "spot", "strike"), {"c": 1}, TypeError, "has no argument 'c'; it takes a, b"),
        (("black_scholes", "spot", "strike", "years", "volatility"), {}, TypeError, "misses argument 'rate'"),
        (("vector_add", "spot", "strike"), {"output": "total"}, ValueError, "has no output 'total'; it has sum"),
        (("vector_add", "spot", "strike"), {"output": []}, ValueError, r"output is \[\]: expected an output of kernel"),
        (("vector_add", "spot", "strike"), {"output": ["sum", "sum"]}, ValueError, "several different ones"),
        (("total", "spot"), {}, ValueError, r"'y\[1\]' of kernel 'total' can't be a column"),
        (("vector_ad", "spot", "strike"), {}, ModelError, "'vector_ad' is not in the repository .* 'vector_add'"),
        (("small", "spot"), {}, ModelError, "model 'small' is no kernel of a user's: its backend is 'network'"),
    ],
)
def test_a_wrong_call_is_refused_before_a_job_runs(
    spark: SparkSession, arguments: tuple[str, ...], values: dict[str, object], error: type[Exception], said: str
) -> None:
    assert spark
    with pytest.raises(error, match=said):
        kernel(*arguments, **values)


def test_a_column_of_another_kind_is_refused_by_spark(spark: SparkSession) -> None:
    with pytest.raises(AnalysisException, match="DATATYPE_MISMATCH"):
        spark.createDataFrame([([1.0], 1.0)], "a array<float>, b float").select(kernel("vector_add", "a", "b"))


def test_the_function_of_spark_4_0_gives_the_same(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spark.createDataFrame([([1.0, 2.0],), (None,), ([3.0, 4.0],)], "m array<float>").coalesce(1)
    here = made.select(kernel("scaled", "m", weights=[1, 2]).alias("s")).collect()

    monkeypatch.setattr(functions, "_arrow_udf", None)

    assert made.select(kernel("scaled", "m", weights=[1, 2]).alias("s")).collect() == here


def test_whole_numbers_that_spark_4_0_makes_floats_of_fail_the_job_or_are_as_they_were(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "_arrow_udf", None)
    small = spark.createDataFrame([(2**53 - 1,), (None,)], "x bigint").coalesce(1)
    large = spark.createDataFrame([(2**53 + 1,), (None,)], "x bigint").coalesce(1)

    assert [row.y for row in small.select(kernel("long_next", "x").alias("y")).collect()] == [2**53, None]
    with pytest.raises(
        PythonException, match="column 'x' of kernel 'long_next' has nulls and whole numbers of 9007199"
    ):
        large.select(kernel("long_next", "x")).collect()


_CONNECT = """
from pyspark.sql import SparkSession
from spark_accel.functions import kernel
session = SparkSession.builder.remote("local[2]").getOrCreate()
assert "connect" in type(session).__module__
rows = session.createDataFrame([([1.0, 2.0],), (None,)], "m array<float>")
answers = rows.select(kernel("scaled", "m", weights=[1, 10])["row_sum"].alias("s")).collect()
print("answers", *(row.s for row in answers))
"""


def test_spark_connect_gives_the_same(node: Node) -> None:
    environment = os.environ | node.environment | {"SPARK_TESTING": "1"}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CONNECT],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert "answers 21.0 None" in done.stdout, done.stderr
