"""Statistics of a comparison (benchmarks room): a file per subject, each a pure function of a table.

`table.py` is what everything starts from (data sets x settings x methods x seeds), `reading.py` makes it from records
or a CSV file, `comparison.py` runs all the parts into one result.
"""
