"""`python -m spark_accel` is the command line, for where the script `spark-accel` is not on the path."""

from spark_accel.cli.main import app

app(prog_name="spark-accel")
