#!/bin/sh
# Trouble of every kind, mixed, for as long as you like, with real workers on a RabbitMQ and a Redis of
# our own.
#
#   sh tests/soak.sh [MINUTES]        default: 3
#
#   OUTFALL_TEST_BUILD=build          the build to test; it is made when it is not there
#   OUTFALL_SOAK_SEED=N               repeats the order of the trouble (not its timing)
#
# Two workers on both brokers, reached through a proxy that breaks. Jobs keep coming; a fault every few
# seconds, drawn at random: the broker restarted, stopped and continued, out of memory; connections cut;
# a worker drained or killed, and another started in its place; a queue removed from a running worker's
# configuration and added again. At the end everything is healed, and every job that was put must have
# run.
#
# Prints jobs lost; jobs run twice, and how many of these were announced (a report called a duplicate
# possible, or the log said "unsettled"), how many were in flight when a worker or RabbitMQ was killed, and
# how many neither; reconnects; memory at the start and at the end. Fails when a job is lost, or when
# one ran twice in silence.
set -eu
cd "$(dirname "$0")/.."

case ${1-} in
-h | --help)
	sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '/^set /d'
	exit 0
	;;
esac

OUTFALL_TEST_BUILD=${OUTFALL_TEST_BUILD:-$PWD/build}
export OUTFALL_TEST_BUILD
if [ ! -x "$OUTFALL_TEST_BUILD/outfall" ]; then
	. config/packages.sh
	packages_provide build brokers tests
	cmake -S . -B "$OUTFALL_TEST_BUILD" -G Ninja --log-level=WARNING
	ninja -C "$OUTFALL_TEST_BUILD" --quiet
fi
export PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 -W ignore tests/integration/soak.py "${1:-3}"
