"""cosmos room: COSMOS, a method like any other, in several files (arXiv 2605.11165)."""
