#!/usr/bin/python3
"""The tree of worker/ is a house: each floor may use those below it, and neither its neighbours nor those
above; no room but a broker's own knows which brokers there are; and the tour (worker/README.md) names what is there.
Reads the #include lines, the code, and the tour.

    house.py           fails where it is not so
    house.py TREE      looks at another tree's worker/
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


# Who may name a broker in code. Comments and texts for people may.
AT_HOME = ["sources/rabbitmq/", "sources/redis/", "sources/kinds.c", "wire/"]

NOT_CODE = re.compile(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', re.S)


def strangers(worker):
    for path in sorted(worker.rglob("*.[ch]")):
        name = str(path.relative_to(worker))
        named = re.search(r"(?i)\w*(rabbitmq|redis|amqp)\w*", NOT_CODE.sub(" ", path.read_text()))
        if named and not name.startswith(tuple(AT_HOME)):
            yield name, named.group()


def missing(worker):
    """What the tables of the tour name: a file in the first column, its functions in the second."""
    tour = worker / "README.md"
    for line in tour.read_text().splitlines() if tour.exists() else []:
        row = re.match(r"\| `([\w/]+\.c)` \|(.*?)\|", line)
        if row is None:
            continue
        path = worker / row.group(1)
        code = path.read_text() if path.exists() else ""
        for name in re.findall(r"`(\w+)\(\)`", row.group(2)):
            if not re.search(rf"(?m)^\w[^;=\n]*\b{name}\(", code):
                yield row.group(1), name


def main():
    tree = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
    worker = tree.resolve() / "worker"
    up, named, lost = list(arrows(worker)), list(strangers(worker)), list(missing(worker))
    for user, used in up:
        print(f"worker/{user} includes {used}, which stands above it")
    for name, word in named:
        print(f"worker/{name} names a broker: {word}")
    for name, function in lost:
        print(f"worker/README.md: {name} has no {function}()")
    print(f"{len(up)} includes go up, {len(named)} files name a broker, the tour misses {len(lost)} functions")
    return 1 if up or named or lost else 0


if __name__ == "__main__":
    sys.exit(main())
