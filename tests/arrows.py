#!/usr/bin/python3
"""The tree of worker/ is a house: each floor may use those below it, and neither its neighbours nor those
above. Reads the #include lines.

    arrows.py                 fails where one of them goes up
    arrows.py --count TREE    how many do, in another tree's worker/
"""

import pathlib
import re
import sys

# From the ground up. A file that is named here stands on its own floor, whatever its folder's is.
FLOORS = [
    ["base"],
    ["plugin"],  # the header that others compile against
    ["loop"],
    ["wire"],
    ["settings"],
    ["job"],
    ["executors/executor.h", "sources/source.h"],  # what the core sees of its edges
    ["dispatch"],
    ["settle"],
    ["drain"],
    ["core.h"],
    ["core.c"],
    ["executors", "sources"],
    ["observe"],
    ["managers"],
    ["admin"],
    ["commands"],
    ["main.c"],
]

FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def home(path):
    return path if path in FLOOR else path.split("/")[0]


def goes_up(user, used):
    a, b = home(user), home(used)
    return FLOOR[b] > FLOOR[a] or (FLOOR[b] == FLOOR[a] and a != b)


def arrows(worker):
    for path in sorted(worker.rglob("*.[ch]")):
        user = str(path.relative_to(worker))
        for used in re.findall(r'^#include "([^"]+)"', path.read_text(), re.M):
            if (worker / used).exists() and goes_up(user, used):
                yield user, used


def main():
    tree = sys.argv[2] if sys.argv[1:2] == ["--count"] else pathlib.Path(__file__).parent.parent
    found = list(arrows(pathlib.Path(tree).resolve() / "worker"))
    for user, used in found:
        print(f"worker/{user} includes {used}, which stands above it")
    print(f"{len(found)} includes go up")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
