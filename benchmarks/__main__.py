"""`python -m fl_bench.benchmarks`: the command line, for where the script `fl-bench` is not on the path."""

from .commands.cli import main

if __name__ == "__main__":
    main()
