#!/bin/sh
# See outfall work in two minutes: sh config/quickstart.sh
#
# Installs what is missing, builds, starts a RabbitMQ and a Redis of its own on loopback in a temporary
# folder, puts jobs on both, lets a worker run them, stops it with SIGTERM in the middle, lets a
# second worker finish the rest, and counts. It leaves a build folder and installed packages behind,
# nothing else, and touches no broker that it did not start.
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

ran() { # how many pictures are in the album
	cat "$ALBUM" 2>/dev/null | wc -l
}

at_least_ran() {
	[ "$(ran)" -ge "$1" ] 2>/dev/null
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

broker_localhost || give_up "this machine cannot have a RabbitMQ of its own"

step "2. Building outfall, and starting a RabbitMQ and a Redis"
tell "Both on free ports of loopback, in $place."
start_redis "$place"
(start_rabbitmq "$place") &
boot=$!
build=build-quickstart # of its own, because it leaves out the tests and what they need
mkdir -p "$build"
(
	flock 9
	cmake -S . -B "$build" -G Ninja -DOUTFALL_TESTS=OFF && ninja -C "$build"
) >"$place/build.log" 2>&1 9>"$build/.lock" || {
	cat "$place/build.log" >&2
	give_up "it does not build"
}
wait "$boot" || give_up "RabbitMQ did not start"
boot=
PATH=$top/$build:$PATH
tell "Built: $(outfall --version)"

step "3. A configuration"
cat >"$place/outfall.conf" <<CONF
worker   { concurrency = 4 }
drain    { timeout = "30s"  report = "\${REPORT}" }

rabbitmq "mq"    { url = "amqp://guest:guest@127.0.0.1:$(cat "$place/rabbitmq.port")/"
                   queue "portraits" { handler = "resize"  declare = "durable"  prefetch = 10 } }
redis    "cache" { url = "redis://127.0.0.1:$(cat "$place/redis.port")/0"
                   list "landscapes" { handler = "resize"  prefetch = 10 } }

handler  "resize" { type = "exec"  command = {"/bin/sh", "$top/config/handlers/resize.sh"} }
CONF
sed 's/^/  | /' "$place/outfall.conf"
export RUNTIME_DIRECTORY="$place"       # the admin socket goes there
export REPORT="$place/report-0.json" # each worker gets its own
export ALBUM="$place/album" WORK_SECONDS=0.3 # for resize.sh
outfall check -c "$place/outfall.conf" || give_up "the configuration should be good"
tell "" "One worker, two brokers, one handler: a shell script that gets the name of a picture on its" \
	"stdin, \"resizes\" it for 0.3 s, and adds it to an album. \`outfall check\` finds no mistake."

step "4. Jobs: $jobs on the RabbitMQ queue, $jobs on the Redis list"
n=1
while [ $n -le $jobs ]; do
	outfall enqueue -c "$place/outfall.conf" mq/portraits --body "portrait-$n.png" &&
		outfall enqueue -c "$place/outfall.conf" cache/landscapes --body "landscape-$n.png" ||
		give_up "enqueue failed"
	n=$((n + 1))
done
tell "\$ outfall enqueue mq/portraits --body portrait-1.png" \
	"\$ outfall enqueue cache/landscapes --body landscape-1.png" \
	"... and so on. Each returned when its broker had confirmed the job."

# The report as it is, but for all jobs after the first.
first_job_only() {
	awk '/^ *"jobs": \[/ { jobs = 1 }
	     jobs && /^    [{]/ { n++ }
	     /^  \]/ { if (n > 1) printf "        ... and %d more\n", n - 1; jobs = 0 }
	     !jobs || n < 2 { print "    " $0 }' "$1"
}

# start_worker NUMBER
start_worker() {
	REPORT="$place/report-$1.json" outfall run -c "$place/outfall.conf" 2>"$place/worker-$1.log" &
	worker=$!
}

# end_worker: waits for the exit that was asked for; its code is in $code
end_worker() {
	code=0
	wait "$worker" || code=$?
	worker=
}

step "5. A worker runs them, four at a time"
tell "\$ outfall run"
start_worker 1
wait_until at_least_ran $((jobs / 2))
tell "$(ran) of $((2 * jobs)) have run by now, and more are in the worker's hands. This is the moment to stop it."

step "6. SIGTERM, in the middle"
tell "\$ kill -TERM $worker"
kill -TERM "$worker"
end_worker
[ "$code" -eq 0 ] || give_up "the drained worker exited with $code"
first=$(ran)
tell "It took nothing new, gave back at once what it had not begun, let the running jobs finish, told" \
	"both brokers, closed its connections and exited with 0. In its own words:" ""
sed -n 's/^\([^ ]*T\)\([0-9:.]*\)Z *[a-z]* *\(dr[^ ]* .*\)/    \2 \3/p' "$place/worker-1.log"
tell "" "The same as JSON, for tools:" ""
first_job_only "$place/report-1.json"
tell "" "\"returned\" are the jobs it gave back, in order and at the head of their queues. None of them" \
	"has used up an attempt. \"jobs\" are those that ran when the signal came, each with its fate."

step "7. A second worker finishes the rest"
start_worker 2
wait_until at_least_ran $((2 * jobs))
kill -TERM "$worker"
end_worker
[ "$code" -eq 0 ] || give_up "the second worker exited with $code"
tell "$((2 * jobs - first)) jobs ran, and it was drained in turn: exit 0."

step "8. Counting"
n=1
while [ $n -le $jobs ]; do
	printf 'portrait-%d.png\nlandscape-%d.png\n' $n $n
	n=$((n + 1))
done | sort >"$place/expected"
sort "$ALBUM" >"$place/ran"
lost=$(sort -u "$place/ran" | comm -23 "$place/expected" - | wc -l)
doubled=$(uniq -d "$place/ran" | wc -l)
tell "$((2 * jobs)) jobs put in, $(ran) runs: first worker $first, second worker $((2 * jobs - first))." \
	"Lost: $lost.  Run twice: $doubled."
[ "$lost" -eq 0 ] && [ "$doubled" -eq 0 ] && cmp -s "$place/expected" "$place/ran" ||
	give_up "every job should have run exactly once"

step "That was it."
tell "The brokers are stopped and $place is removed." \
	"Next: config/outfall.conf shows every key, README.md the rest."
