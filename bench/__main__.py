"""Run benchmarks: `python -m bench [NAME ...]`. A figure that falls short is a fact to report, never a failed build."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from bench._bench import line, store


def main(wanted: list[str]) -> int:
    """Run the named benchmarks, or all."""
    names = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    unknown = set(wanted) - set(names)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    # the results of the real sets are read, not measured: `make results` asks for them by name
    for name in wanted or [name for name in names if name != "results"]:
        figures = importlib.import_module(f"bench.bench_{name}").figures()
        store(name, figures)
        for figure in figures:
            print(line(figure), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
