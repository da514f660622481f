"""``tools/benchmark.py``: what is timed (`subjects`), how (`timing`), and what is written
(`results`).
"""
