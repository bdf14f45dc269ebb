"""The report (benchmarks room): one HTML page of a results folder that needs no network and no other file.

`board.py` and `runs.py` make plain data of records, `page.py` puts them into the templates.
"""
