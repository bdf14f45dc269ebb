"""Figures of a comparison (benchmarks room): a file per figure, each a pure function of plain data.

`blocks.py` reads the plain data from records, `style.py` holds what all figures share, `gallery.py` lists what can be
drawn. Only `style.py` imports matplotlib, and only when something is drawn.
"""
