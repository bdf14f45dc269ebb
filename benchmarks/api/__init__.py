"""The Python interface (benchmarks room): what `import fl_bench as fb` offers, as `fb.run(...)` and `fb.load(...)`.

`fl_bench/__init__.py` lists its names and finds them here when they are first asked for. They do what the commands of
the same names do, with the same records, and take and give Python objects: data frames, figures, classes as methods.
"""
