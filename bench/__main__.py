"""Run benchmarks: `python -m bench [NAME ...]`. A figure that falls short is a fact to report, never a failed build."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from bench._bench import line, store

# `make results` asks for results by name: they are read, not measured. preprocess takes half an hour and gigabytes, its part
# sentinel2 a quarter of an hour, train, predict and mosaic minutes.
BY_NAME_ONLY = ("results", "preprocess", "sentinel2", "train", "predict", "mosaic")


def _arguments(words: list[str], names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run the named benchmarks; without a name all but " + ", ".join(BY_NAME_ONLY) + ".",
        epilog=_epilog(words, names),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--parts", metavar="A,B", help="only these parts of the benchmark")
    parser.add_argument("--scale", type=float, metavar="F", help="sides times F, to try it; no limits then")
    parser.add_argument("--size", type=int, metavar="PX", help="side of the scene, for predict")
    return parser.parse_args(words)


def _epilog(words: list[str], names: list[str]) -> str:
    """Documentation of the named benchmarks, for --help."""
    if not {"-h", "--help"} & set(words):
        return ""
    wanted = [name for name in words if name in names]
    return "\n\n".join(importlib.import_module(f"bench.bench_{name}").__doc__ or "" for name in wanted)


def _options(name: str, module: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Arguments of figures(); ValueError when the benchmark has no such option or part."""
    known = getattr(module, "PARTS", ())
    parts = given.parts.split(",") if given.parts else []
    if (parts or given.scale) and not known:
        raise ValueError(f"the benchmark {name} has no parts")
    if set(parts) - set(known):
        raise ValueError(f"no part {', '.join(sorted(set(parts) - set(known)))}; {name} has {', '.join(known)}")
    if (given.size or given.scale) and {"size": given.size, "scale": given.scale}[_side(module)] is None:
        raise ValueError(f"the benchmark {name} takes --{_side(module)}")
    chosen = {"parts": parts, "scale": given.scale, "size": given.size}
    return {option: value for option, value in chosen.items() if value}


def _side(module: Any) -> str:
    """How the size of a benchmark is given."""
    return "size" if "size" in inspect.signature(module.figures).parameters else "scale"


def main(words: list[str]) -> int:
    """Run the named benchmarks, or all."""
    names = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    given = _arguments(words, names)
    unknown = set(given.names) - set(names)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    for name in given.names or [name for name in names if name not in BY_NAME_ONLY]:
        module = importlib.import_module(f"bench.bench_{name}")
        try:
            options = _options(name, module, given)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        figures = module.figures(**options)
        if given.scale in (None, 1.0):
            store("-".join([name, *options.get("parts", ())]), figures)
        for figure in figures:
            print(line(figure), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
