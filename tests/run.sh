#!/bin/sh
# Every test, from a clean checkout: installs what is missing, builds, starts brokers of its own, runs
# everything with ctest, and leaves nothing behind but the build folders.
#
#   sh tests/run.sh                   all of it: plain, address and thread sanitizer builds
#   sh tests/run.sh --quick           the plain build only
#   sh tests/run.sh --sanitize-all    with every integration test in the sanitizer builds too, of which
#                                     they else have those where it is likeliest to matter
#   sh tests/run.sh -R drain          further arguments go to ctest (-R, -E, -L, -V, --repeat ...)
#
# With another Debian (bookworm, trixie, forky; as root), in front of the arguments above:
#
#   sh tests/run.sh --on trixie       quickstart and all of this there, on a copy of the checkout, local
#                                     changes included
#   sh tests/run.sh --brokers trixie  this machine's build with RabbitMQ and Redis from there: the tests
#                                     that use a broker
#   sh tests/run.sh --brokers trixie:valkey     the same with Valkey instead of Redis
#   ... --renew                       makes the root folder anew, in which that Debian is kept from run to
#                                     run: ~/.cache/outfall/roots/trixie (XDG_CACHE_HOME counts)
#
# Its packages come from the archives that this machine's apt uses; exit status 75 says that they could not
# be had. tests/roots.sh has the rest.
#
#   OUTFALL_TEST_JOBS=4               how many tests side by side (default: two for each core,
#                                     for they mostly wait)
#   OUTFALL_TEST_SCRATCH_IN=/dev/shm  where the temporary folder goes (default: TMPDIR or /tmp)
#
# What fails beside others on a busy machine is run once more, alone, and that counts. It is said loudly.
#
# One RabbitMQ serves the whole run, each test in a virtual host of its own; a test that wants to kill
# its broker, or is started alone, boots one for itself. Two runs at a time do not disturb each
# other, also from the same checkout.
set -eu
cd "$(dirname "$0")/.."
top=$PWD

. config/packages.sh
. config/private_brokers.sh
. tests/roots.sh

say() {
	printf '\n-- %s\n' "$*"
}

usage() {
	sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '/^set /d'
}

which= # builds, as it was asked for
on=    # the Debian to run on
brokers=
while :; do
	case ${1-} in
	--quick | --sanitize-all) which=$1 ;;
	--renew) roots_renew=1 ;;
	--on) on=${2-} && shift ;;
	--brokers) brokers=${2-} && shift ;;
	-h | --help) usage && exit 0 ;;
	*) break ;;
	esac
	shift
done
case $on$brokers in
*[!a-z:]*) usage >&2 && exit 64 ;;
esac
[ -z "$on" ] || [ -z "$brokers" ] || { usage >&2 && exit 64; }

# Whatever a test started, at any depth, carries the name of our folder in its environment. That
# finds also what a test left behind when ctest had to kill it.
export OUTFALL_TEST_SCRATCH
OUTFALL_TEST_SCRATCH=$(mktemp -d "${OUTFALL_TEST_SCRATCH_IN:-${TMPDIR:-/tmp}}/outfall-tests.XXXXXX")
rabbitmq_boot=
clean() {
	trap '' INT TERM HUP
	roots_end
	[ -z "$rabbitmq_boot" ] || kill -KILL "$rabbitmq_boot" 2>/dev/null || :
	stop_brokers "$OUTFALL_TEST_SCRATCH/shared"
	for environ in $(grep -lsz "^OUTFALL_TEST_SCRATCH=$OUTFALL_TEST_SCRATCH\$" /proc/[0-9]*/environ); do
		pid=${environ#/proc/}
		pid=${pid%/environ}
		[ "$pid" -eq $$ ] || kill -KILL "$pid" 2>/dev/null || :
	done
	rm -rf "$OUTFALL_TEST_SCRATCH"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

# The files that git knows or would take, as they are; where there is no git, all but builds.
copy_checkout() { # FOLDER
	mkdir -p "$1"
	if git ls-files >/dev/null 2>&1; then
		git ls-files -z --cached --others --exclude-standard |
			xargs -0 sh -c 'for file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done' sh |
			tar --null --no-recursion -T - -cf -
	else
		tar --exclude='./build*' --exclude=./.git -cf - .
	fi | tar -C "$1" -xf -
}

if [ -n "$on" ]; then
	roots_provide "$on" build brokers tests -- languages browser promtool fuzzer
	copy_checkout "$OUTFALL_TEST_SCRATCH/outfall"
	mkdir -m 1777 "$OUTFALL_TEST_SCRATCH/tmp"
	say "on $on, in $(roots_folder "$on")"
	# Our temporary folder is its /tmp: the names of sockets have no room for more.
	roots_bind="$OUTFALL_TEST_SCRATCH/outfall:/outfall $OUTFALL_TEST_SCRATCH/tmp:/tmp"
	roots_run "$on" sh -c '
		set -e
		cd /outfall
		sh config/quickstart.sh
		exec sh tests/run.sh "$@"' sh $which "$@"
	exit
fi

packages_provide build brokers tests
packages_provide languages || say "going on without: ctest says which tests are skipped for it"
packages_provide browser || say "going on without: ctest says which tests are skipped for it"
packages_provide promtool || say "going on without: ctest says which tests are skipped for it"
packages_provide fuzzer || say "going on without: ctest says which tests are skipped for it"

if [ -n "$brokers" ]; then
	case $brokers in
	*:valkey)
		roots_provide "${brokers%:*}" brokers valkey
		export OUTFALL_TEST_REDIS=valkey-server
		;;
	*) roots_provide "${brokers%:*}" brokers ;;
	esac
	export OUTFALL_TEST_BROKERS_ROOT
	OUTFALL_TEST_BROKERS_ROOT=$(roots_folder "${brokers%:*}")
	set -- -L brokers "$@"
	say "brokers of $brokers: $(broker_version rabbitmq), $(broker_version redis)"
fi

sanitizers="address thread"
sanitize_all=OFF
case $which in
--quick) sanitizers= ;;
--sanitize-all) sanitize_all=ON ;;
esac

# One build at a time in each folder.
build() { # FOLDER SANITIZER
	mkdir -p "$1"
	(
		flock 9
		cmake -S . -B "$1" -G Ninja -DOUTFALL_WERROR=ON -DOUTFALL_SANITIZE="$2" \
			-DOUTFALL_SANITIZE_ALL_TESTS="$sanitize_all" --log-level=WARNING
		ninja -C "$1" --quiet
	) 9>"$1/.lock"
}

mkdir "$OUTFALL_TEST_SCRATCH/shared"
(start_rabbitmq "$OUTFALL_TEST_SCRATCH/shared") & # boots while we build
rabbitmq_boot=$!

say "building in ./build"
build build ""
printf 'subdirs("%s")\n' "$top/build" >"$OUTFALL_TEST_SCRATCH/CTestTestfile.cmake"
for sanitizer in $sanitizers; do
	say "building in ./build-$sanitizer (-fsanitize=$sanitizer)"
	build "build-$sanitizer" "$sanitizer"
	printf 'subdirs("%s")\n' "$top/build-$sanitizer" >>"$OUTFALL_TEST_SCRATCH/CTestTestfile.cmake"
done

say "waiting for RabbitMQ"
wait "$rabbitmq_boot"
rabbitmq_boot=
export OUTFALL_TEST_RABBITMQ="$OUTFALL_TEST_SCRATCH/shared"

say "testing (the longest tests kill brokers and workers, and take a minute or two)"
status=0
ctest --test-dir "$OUTFALL_TEST_SCRATCH" --output-on-failure --no-tests=error \
	--parallel "${OUTFALL_TEST_JOBS:-$(($(nproc) * 2))}" "$@" || status=$?
[ "$status" -eq 8 ] || exit "$status" # 8: some have failed

say "LOUD: tests failed beside others (see above). Once more, alone: whoever fails again is broken"
ctest --test-dir "$OUTFALL_TEST_SCRATCH" --output-on-failure --no-tests=error --rerun-failed
