"""The benchmark suite, `spark-accel bench`: ours and what a user would take instead, in turn, on the same cores.

`suite.py` has the table of benches; each measures and gives plain data, which `results.py` keeps as JSON. What is shown
of it is made from that JSON alone: tables by `tables.py`, the page by `page.py`, `docs/benchmarks.md` by `markdown.py`.
"""
