"""The environment of the suite's processes."""

import os
from pathlib import Path

import spark_accel
from spark_accel.daemon import worker_environment


def environment(threads: int) -> dict[str, str]:
    """This process's own, in which the package is found and libraries start so many threads and no others.

    Peers get large pages as our workers do.
    """
    folder = str(Path(spark_accel.__file__).parents[1])
    variables = {
        "PYTHONPATH": os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "POCL_MAX_PTHREAD_COUNT": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "CI": "true",  # OpenVINO's telemetry forks processes that call home, which it does not in CI
    }
    return {**os.environ, **worker_environment.large_pages(os.environ), **variables}
