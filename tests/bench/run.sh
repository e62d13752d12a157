#!/bin/sh
# The figures of the README: each beside its limit, the tightest loop on the same broker and library
# that does nothing else, run in alternation in the same minute. Prints a table; passes nothing and
# fails nothing. Takes some minutes, and wants a machine that does nothing else meanwhile.
#
#   sh tests/bench/run.sh              everything, five rounds each
#   sh tests/bench/run.sh --rounds 1   a first look
#   sh tests/bench/run.sh redis exec   only what these words occur in
set -eu
cd "$(dirname "$0")/../.."

. config/packages.sh
packages_provide build brokers tests

mkdir -p build-bench
(
	flock 9
	cmake -S . -B build-bench -G Ninja --log-level=WARNING >/dev/null
	ninja -C build-bench --quiet >build-bench/build.log || { cat build-bench/build.log; exit 1; }
) 9>build-bench/.lock

export OUTFALL_TEST_BUILD="$PWD/build-bench" PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 tests/bench/run.py "$@"
