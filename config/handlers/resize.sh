#!/bin/sh
# resize.sh - an exec handler to start from. The job's body is the name of a picture; "resizing" is a
# pause, and its effect a line in the file $ALBUM.
#
#   handler "thumbs" { type = "exec"  command = {"/usr/share/outfall/handlers/resize.sh"} }
set -eu
album=${ALBUM:?ALBUM is not set: where shall the pictures go?}

# Asked to stop: the job's timeout has passed, or the worker is stopping and waits no longer. Undo
# what is half done and say "not now". Ending by the signal itself would do as well.
half_done=$album.$$
stop() {
	rm -f "$half_done"
	echo "asked to stop, giving up $name" >&2
	exit 75
}
name='a job not read yet'
trap stop TERM

name=$(cat)
case $name in
'' | *[!A-Za-z0-9._-]*)
	echo "not the name of a picture: $name" >&2
	exit 65 # it will not become one: never again
	;;
esac
echo "resizing $name, attempt $OUTFALL_ATTEMPT of job $OUTFALL_JOB_ID from $OUTFALL_QUEUE"

# The long part, in the background and waited for: a shell hears a signal in `wait`, but while a command
# runs in front of it only when that has ended. The signal goes to the whole process group, so it
# ends the sleep too.
echo "$name" >"$half_done"
sleep "${WORK_SECONDS:-0.2}" &
wait $! || :

# The effect, in one step at the very end, and then "done": whoever is killed before the step has
# done nothing, and nobody is interrupted between the step and its exit status.
trap '' TERM
cat "$half_done" >>"$album"
rm -f "$half_done"
