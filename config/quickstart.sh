#!/bin/sh
# See outfall work in two minutes: sh config/quickstart.sh
#
# Installs what is missing, builds, starts a RabbitMQ and a Redis of its own on loopback in a temporary
# folder, puts jobs on both, lets a worker run them, stops it with SIGTERM in the middle, lets a
# second worker finish the rest, and counts. It leaves the build folder and installed packages
# behind, nothing else, and touches no broker that it did not start.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
jobs=24 # on each broker

. config/packages.sh
. config/private_brokers.sh

if [ -t 1 ]; then
	bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
else
	bold='' dim='' plain=''
fi

step() {
	printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

tell() {
	printf '  %s\n' "$@"
}

give_up() {
	printf '\nquickstart: %s\n' "$*" >&2
	for log in "$place"/worker-*.log; do
		[ ! -e "$log" ] || { echo "--- the end of ${log##*/}:" && tail -n 20 "$log"; } >&2
	done
	exit 1
}

# --- what is ours, and how it goes away again ------------------------------------------------

place=$(mktemp -d "${TMPDIR:-/tmp}/outfall-quickstart.XXXXXX")
worker=
boot=
clean() {
	trap '' INT TERM HUP
	for pid in $boot $worker; do
		kill -KILL "$pid" 2>/dev/null || :
	done
	stop_brokers "$place"
	rm -rf "$place"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

# wait_until COMMAND...: a minute at most
wait_until() {
	deadline=$(($(date +%s) + 60))
	until "$@"; do
		[ "$(date +%s)" -lt "$deadline" ] || give_up "waited a minute in vain for: $*"
		[ -z "$worker" ] || kill -0 "$worker" 2>/dev/null || give_up "the worker ended by itself"
		sleep 0.05
	done
}

ran() { # how many jobs have run to their end
	cat "$place/done" 2>/dev/null | wc -l
}

at_least_ran() {
	[ "$(ran)" -ge "$1" ]
}

is_gone() {
	! kill -0 "$1" 2>/dev/null
}

# --- the tour --------------------------------------------------------------------------------

step "1. What is needed"
if [ -z "$(packages_missing build brokers)" ]; then
	tell "Everything is installed already."
else
	packages_provide build brokers
fi

step "2. Building outfall, and starting a RabbitMQ and a Redis"
tell "Both on free ports of loopback, in $place."
start_redis "$place"
(start_rabbitmq "$place") &
boot=$!
mkdir -p build
(
	flock 9
	cmake -S . -B build -G Ninja --log-level=WARNING >/dev/null
	ninja -C build --quiet outfall
) 9>build/.lock
wait "$boot" || give_up "RabbitMQ did not start"
boot=
PATH=$top/build:$PATH
tell "Built: $(outfall --version)"

step "3. A configuration"
cat >"$place/outfall.conf" <<CONF
worker   { concurrency = 4 }
drain    { timeout = "30s"  report = "\${REPORT}" }

rabbitmq "mq"    { url = "amqp://guest:guest@127.0.0.1:$(cat "$place/rabbitmq.port")/"
                   queue "emails" { handler = "work"  declare = "durable"  prefetch = 10 } }
redis    "cache" { url = "redis://127.0.0.1:$(cat "$place/redis.port")/0"
                   list "thumbnails" { handler = "work"  prefetch = 10 } }

handler  "work"  { type = "exec"  command = {"/bin/sh", "$top/config/handlers/@HANDLER@"} }
CONF
sed 's/^/  | /' "$place/outfall.conf"
export REPORT="$place/report-0.json"
outfall check -c "$place/outfall.conf"
tell "" "One worker, two brokers, one handler: a shell script that gets the job on its stdin." \
	"\`outfall check\` finds nothing wrong with it."

step "4. Jobs: $jobs on the RabbitMQ queue, $jobs on the Redis list"
n=1
while [ $n -le $jobs ]; do
	outfall enqueue -c "$place/outfall.conf" mq/emails --body "email-$n"
	outfall enqueue -c "$place/outfall.conf" cache/thumbnails --body "thumbnail-$n"
	n=$((n + 1))
done
tell "\$ outfall enqueue mq/emails --body email-1" "\$ outfall enqueue cache/thumbnails --body thumbnail-1" \
	"... and so on. Each returned when its broker had confirmed the job."
