"""``python -m bench [name …]``: run the benchmarks, print each beside its floor, fail when a target is missed."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import bench

NO_BENCHMARK = {"__main__", "harness", "floor", "floor_lead"}


def main(names: list[str]) -> int:
    """Run the named benchmarks, all when none is named; the number of missed targets."""
    known = sorted({item.name for item in pkgutil.iter_modules(bench.__path__)} - NO_BENCHMARK)
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"No such benchmark: {', '.join(unknown)}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    missed = 0
    for name in names or known:
        for result in importlib.import_module(f"bench.{name}").run():
            print(result, flush=True)
            missed += not result.met
    print(f"{missed} targets missed" if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
