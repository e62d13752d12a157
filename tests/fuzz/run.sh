#!/bin/sh
# The fuzz targets under clang's libFuzzer, in a build of their own, which also shows that clang warns of
# nothing in the worker.
#
#   sh tests/fuzz/run.sh                   every target, side by side, 20 s each
#   sh tests/fuzz/run.sh amqp redis        these
#   sh tests/fuzz/run.sh --build           only builds
#
#   OUTFALL_FUZZ_SECONDS=3600              how long
#   OUTFALL_FUZZ_BUILD=build-fuzz          where it is built; corpus/NAME in there grows from run to run
#
# An input that breaks something is kept in the build folder, and named. It goes into seeds/ with the
# mending commit.
set -eu
cd "$(dirname "$0")/../.."
build=${OUTFALL_FUZZ_BUILD:-build-fuzz}
seconds=${OUTFALL_FUZZ_SECONDS:-20}

names() {
	for source in tests/fuzz/fuzz_*.c; do
		basename "$source" .c | sed 's/^fuzz_//'
	done
}

# Without -O2: it would take twice as long to build, and fuzzing is hardly faster for it.
build() {
	mkdir -p "$build"
	(
		flock 9
		cmake -S . -B "$build" -G Ninja --log-level=WARNING -DCMAKE_C_COMPILER=clang -DOUTFALL_FUZZ=ON -DOUTFALL_WERROR=ON \
			-DCMAKE_C_FLAGS_RELWITHDEBINFO="-O1 -gline-tables-only"
		# shellcheck disable=SC2046 # a list of words
		ninja -C "$build" --quiet $(names | sed 's/^/fuzz_/')
	) 9>"$build/.lock"
}

fuzz() { # NAME
	mkdir -p "$build/corpus/$1"
	if "$build/tests/fuzz/fuzz_$1" -max_total_time="$seconds" -timeout=20 -max_len=8192 \
		-artifact_prefix="$build/found-$1-" "$build/corpus/$1" "tests/fuzz/seeds/$1" \
		>"$build/$1.log" 2>&1; then
		printf '%s: %s\n' "$1" "$(grep 'DONE' "$build/$1.log")"
	else
		printf '%s: FAILED, see %s\n' "$1" "$build/$1.log"
		grep -A 30 -E 'ERROR|internal error' "$build/$1.log" || tail -n 30 "$build/$1.log"
		return 1
	fi
}

build
[ "${1-}" != --build ] || exit 0
[ $# -gt 0 ] || {
	# shellcheck disable=SC2046 # a list of words
	set -- $(names)
}
running=
for name in "$@"; do
	fuzz "$name" &
	running="$running $!"
done
status=0
for pid in $running; do
	wait "$pid" || status=1
done
exit $status
