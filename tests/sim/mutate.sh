#!/bin/sh
# Who notices when the core is wrong? See mutate.py, which this only starts; `--help` says it all.
exec python3 "$(dirname "$0")/mutate.py" "$@"
