#!/bin/sh
# Trouble of every kind, mixed, for as long as you like, with real workers on a cluster of three RabbitMQ
# nodes and a set of three Redis servers with three Sentinels, all our own.
#
#   sh tests/soak.sh [--brokers SUITE[:valkey]] [MINUTES]        default: 60
#
#   --brokers forky:valkey            with RabbitMQ and Valkey of that Debian, as tests/run.sh has it (as root)
#   OUTFALL_TEST_BUILD=build          the build to test; it is made when it is not there
#   OUTFALL_SOAK_SEED=N               repeats the order of the trouble (not its timing)
#
# Three workers on both brokers, RabbitMQ behind a proxy that breaks. Bursts of jobs keep coming, some of which
# fail once or twice. Trouble every ten seconds or so, drawn at random: a RabbitMQ node killed, stopped and
# continued, away; a quorum queue's leader moved or standing still; an alarm; connections cut; the Redis
# master killed, stopped and continued, or replaced as planned; and amid that a worker drained, hurried,
# killed, frozen, quieted, or a queue taken from its configuration and given back. One worker, the elder, is
# never stopped. It takes about half a core.
#
# A line a minute says how it stands. At the end all is calm, and the verdict is "right" only when each job that
# a broker confirmed has run; when none ran twice but those that were announced (a report called a duplicate
# possible, or the log said "unsettled") or excused (they were in flight when a worker was killed, or when a broker
# was struck in a way that forgets); when each exit code and each exit's time fit the report; when nothing is
# left in the brokers; and when the elder's memory and descriptors have not grown. Otherwise it says where the
# workers' logs are.
set -eu
cd "$(dirname "$0")/.."

. config/packages.sh
. tests/roots.sh

usage() {
	sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '/^set /d'
}

brokers=
case ${1-} in
-h | --help) usage && exit 0 ;;
--brokers) brokers=${2-} && shift 2 ;;
esac
case $brokers in
*[!a-z:]*) usage >&2 && exit 64 ;;
*:valkey)
	roots_provide "${brokers%:*}" brokers valkey
	export OUTFALL_TEST_REDIS=valkey-server
	;;
?*) roots_provide "$brokers" brokers ;;
esac
[ -z "$brokers" ] || {
	export OUTFALL_TEST_BROKERS_ROOT
	OUTFALL_TEST_BROKERS_ROOT=$(roots_folder "${brokers%:*}")
}

OUTFALL_TEST_BUILD=${OUTFALL_TEST_BUILD:-$PWD/build}
export OUTFALL_TEST_BUILD
if [ ! -x "$OUTFALL_TEST_BUILD/outfall" ]; then
	packages_provide build brokers tests
	cmake -S . -B "$OUTFALL_TEST_BUILD" -G Ninja --log-level=WARNING
	ninja -C "$OUTFALL_TEST_BUILD" --quiet
fi
export PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 -W ignore tests/integration/soak.py "${1:-60}"
