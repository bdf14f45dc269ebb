"""Text for people (benchmarks room): the terminal, Markdown, LaTeX, pictures made of characters."""
