#!/bin/sh
# pool.sh - a pool handler to start from: a process that stays and gets one job after another.
#
#   handler "prints" { type = "pool"  command = {"/usr/share/outfall/handlers/pool.sh"}  processes = 4 }
#
# The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line
# in the file $FINGERPRINTS.
set -u

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
# stdout is the protocol's alone, as 5: your prints, and your children's, go to the log. Their stdin is
# /dev/null, because jobs run in the background; this shell listens meanwhile.
exec 5>&1 >&2
folder=$(mktemp -d)
body=$folder/body
trap 'rm -rf "$folder"' EXIT
trap 'echo asked >"$folder/stop"; wait; exit 0' TERM

# Cheap: ask between two slices of work. Then leave a checkpoint, and exit 75.
should_stop() {
	[ -e "$folder/stop" ] || [ "$(time_left)" -le 0 ]
}

# Whole seconds, once the worker drains; until then there is no limit.
time_left() {
	if [ -e "$folder/drain" ]; then
		echo $(($(cat "$folder/drain") - $(date +%s)))
	else
		echo 999999999
	fi
}

# '"progress":0.5,"note":"half of it","checkpoint":"line 7","extend_ms":60000'
tell() {
	printf '{"type":"progress","id":"%s",%s}\n' "$id" "$1" >&5
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

# Exactly so many bytes, and none of the line behind them: dd reads once, and takes what is there.
read_body() {
	: >"$body"
	left=$1
	while [ "$left" -gt 0 ]; do
		dd bs="$left" count=1 >>"$body" 2>/dev/null
		had=$left left=$(($1 - $(wc -c <"$body")))
		[ "$left" -lt "$had" ] || exit 0 # the worker died in the middle of it
	done
}

run() {
	trap '' TERM # it is for the shell in front, who leaves word
	(set -e; handle)
	status=$?
	outcome='retry'
	case $status in
	0) outcome='done' ;;
	65) outcome='reject' ;;
	75) ! should_stop || outcome='return' ;;
	esac
	printf '{"type":"result","id":"%s","outcome":"%s","reason":"exit status %s"}\n' \
		"$id" "$outcome" "$status" >&5
}

# What lies between two marks in the line, as it is written there (an id keeps its backslashes). A quote
# within a string has one too, so no text of a job can be taken for a mark.
between() {
	found=
	case $line in *"$1"*) found=${line#*"$1"} found=${found%%"$2"*} ;; esac
}

printf '{"type":"ready","concurrency":1}\n' >&5
while IFS= read -r line; do
	case $line in
	'{"type":"job",'*)
		wait # for the one before, which has said its last word
		line=${line%%',"properties":{'*} line=${line%%',"headers":{'*} # may have a "checkpoint" too
		between '"id":"' '","source":' && id=$found
		between '"bytes":' ',' && bytes=${found%'}'}
		between '"checkpoint":"' '"' && checkpoint=$found
		read_body "$bytes"
		rm -f "$folder/stop"
		run &
		;;
	'{"type":"cancel",'*) echo asked >"$folder/stop" ;;
	'{"type":"drain",'*)
		between '"remaining_ms":' '}'
		rm -f "$folder/drain"
		[ -z "$found" ] || echo $(($(date +%s) + (found + 999) / 1000)) >"$folder/drain"
		;;
	esac
done
wait
