#!/bin/sh
# exec.sh - an exec handler to start from: a process for each job. (resize.sh is a smaller one, which
# leaves no checkpoint.)
#
#   handler "prints" { type = "exec"  command = {"/usr/share/outfall/handlers/exec.sh"} }
#
# The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line
# in the file $FINGERPRINTS. By hand: echo hello | FINGERPRINTS=/dev/stdout ./exec.sh
set -eu

slice_bytes=65536
work_seconds=${WORK_SECONDS:-0} # for each slice, to make it look like work

# --- the part you write ---------------------------------------------------------------------------
# The body is in the file $body. Exit status 0: done; 65: rejected; 75: returned, if it was asked to
# stop; any other: retried. `fail` says why. It runs under set -e.
handle() {
	size=$(($(wc -c <"$body"))) at=0 digest=
	if [ "$size" -eq 0 ]; then
		fail 65 EmptyBody "an empty body has no fingerprint"
	fi
	if [ -n "$checkpoint" ]; then # an earlier run was interrupted: go on where it stopped
		at=${checkpoint%% *} digest=${checkpoint#* }
	fi
	printf '%s: %s bytes, from byte %s\n' "$id" "$size" "$at"
	while [ "$at" -lt "$size" ]; do
		sleep "$work_seconds" || :
		next=$({
			printf %s "$digest"
			dd if="$body" bs=$slice_bytes skip=$((at / slice_bytes)) count=1 2>/dev/null
		} | sha256sum) || :
		if should_stop; then # perhaps in the middle of this slice: it does not count
			tell "\"checkpoint\":\"$at $digest\""
			exit 75
		fi
		digest=${next%% *} at=$((at + slice_bytes < size ? at + slice_bytes : size))
		tell "\"progress\":$((at / size)).$((at * 10 / size % 10))"
	done
	printf '%s %s\n' "$id" "$digest" >>"$FINGERPRINTS" # the effect: last, and in one step
}

# --- the part you copy ----------------------------------------------------------------------------
# SIGTERM goes to the whole process group: it ends the command in front, then the shell runs its trap.
stopping=
trap 'stopping=1' TERM

# Cheap: ask between two slices of work. Then leave a checkpoint, and exit 75.
should_stop() {
	[ -n "$stopping" ]
}

# '"progress":0.5,"note":"half of it","checkpoint":"line 7","extend_ms":60000'
tell() {
	printf '{%s}\n' "$1" >&4
}

# fail 65 NoPage "page 7 is not there": ends the job. 65: rejected; any other but 0 and 75: retried. The class
# of the failure may be ''. Both travel with the job.
fail() {
	tell "\"error\":{\"class\":\"$(quoted "$2")\",\"message\":\"$(quoted "$3")\"}"
	printf '%s\n' "${2:+$2: }$3" >&2
	exit "$1"
}

# Any text, as JSON has it between its quotes; of bytes that are no UTF-8 nothing is left.
quoted() {
	printf %s "$1" | iconv -c -f utf-8 -t utf-8 | tr '\000-\037\177' ' ' | sed 's/[\\"]/\\&/g'
}

# The first line of descriptor 3 is the job; notices follow. By hand neither 3 nor 4 is there.
{ IFS= read -r line <&3; } 2>/dev/null || {
	line=
	exec 4>/dev/null
}
id=${OUTFALL_JOB_ID:-by-hand}
checkpoint=
line=${line%%',"properties":{'*} line=${line%%',"headers":{'*} # these may have a "checkpoint" of their own
case $line in *'"checkpoint":"'*) checkpoint=${line#*'"checkpoint":"'} checkpoint=${checkpoint%%'"'*} ;; esac

body=$(mktemp)
trap 'rm -f "$body"' EXIT
cat >"$body" || exit 75 # stopped in the middle
handle
