# Other Debians beside this one, for tests/run.sh: a root folder for each suite, in a cache, and a way to
# run something in it.
#
#   . tests/roots.sh
#   roots_provide SUITE SET...      makes the root unless it is there, installs these sets of config/packages.sh
#   roots_run SUITE COMMAND...      runs it there; roots_bind says what is seen beside the root
#
# The root comes from the archives that this machine's own apt uses, with the suite's name exchanged:
# apt is asked for them, so each way to write them down is understood, and only what calls itself Debian
# is taken. Which of SUITE, SUITE-updates and SUITE-security an archive has is asked of it, too.
#
# Under its own name a root is whole: it is made beside, and renamed. A lock keeps whoever makes, renews or
# installs apart from whoever runs. Mounts are made in a namespace, and so end with the processes in it. These
# have process ids of their own, and end with the first of them, which ends with this shell.
#
# Exit status 75: the archives could not be had. 77: this user cannot have root folders.

roots_cache=${XDG_CACHE_HOME:-$HOME/.cache}/outfall/roots
roots_bind= # for roots_run, words like FOLDER:PLACE: the folder is seen in the root as this place
roots_pid=  # what roots_alone waits for

roots_folder() { # SUITE
	echo "$roots_cache/$1"
}

roots_say() {
	printf '%s\n' "roots: $*" >&2
}

# --- where a suite comes from ----------------------------------------------------------------

# A line "LABEL ADDRESS FILE" for each archive of Debian in this machine's lists. FILE names it.
roots_archives() {
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(SOURCESENTRY)' \
		'Created-By: Packages' | awk -F'|' '
		$1 == "Debian" && $3 == "main" && !seen[$2 $4]++ { sub(/:[0-9]+$/, "", $5); print $2, $4, $5 }'
}

# The first address that a list of mirrors names, or the address itself.
roots_address() { # ADDRESS
	case $1 in
	mirror+file:*) awk '!/^#/ && NF { print $1; exit }' "/${1#mirror+file:*/}" ;;
	*) echo "$1" ;;
	esac
}

# The keyrings that a file of sources says its archives are signed by.
roots_keyrings() { # FILE
	sed -n 's/^[^#]*[Ss]igned-[Bb]y[:=] *\([^]]*\).*/\1/p' "$1" | tr ', ' '\n\n' | grep '^/' | sort -u
}

# In the machine's apt, but with lists and sources of our own: is there such a suite?
roots_asks() { # FILE-OF-SOURCES
	mkdir -p "$1.lists/partial"
	apt-get -qq -o Dir::State::Lists="$1.lists" -o Dir::Etc::SourceList="$1" -o Dir::Etc::SourceParts=/dev/null \
		-o Acquire::IndexTargets::deb::Packages::DefaultEnabled=false -o Acquire::Retries=3 \
		-o APT::Update::Error-Mode=any -o APT::Update::Post-Invoke-Success::= update >"$1.log" 2>&1
}

# Writes FOLDER/SUITE.sources and so on, one for each suite that an archive has, and the keyrings beside.
roots_find_sources() { # SUITE FOLDER
	[ -n "$(roots_archives)" ] || apt-get -qq update || :
	roots_archives | while read -r label address file; do
		address=$(roots_address "$address")
		signed=
		for keyring in $(roots_keyrings "$file"); do
			cp "$keyring" "$2/" && signed="$signed $2/${keyring##*/}"
		done
		case $label in
		Debian) suites="$1 $1-updates" ;;
		Debian-Security) suites="$1-security" ;;
		*) suites= ;;
		esac
		for suite in $suites; do
			[ ! -e "$2/$suite.sources" ] || continue # one mirror is enough
			printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n%s' "$address" "$suite" \
				"${signed:+Signed-By:$signed
}" >"$2/$suite.sources"
			roots_asks "$2/$suite.sources" || {
				roots_say "without $suite, which cannot be had: $(grep -m 1 '^[EW]' "$2/$suite.sources.log")"
				rm "$2/$suite.sources"
			}
		done
	done
	[ -e "$2/$1.sources" ]
}

# --- making one ------------------------------------------------------------------------------

roots_make() { # SUITE
	root=$(roots_folder "$1")
	making=$root.making
	rm -rf --one-file-system "$making" "$making.apt"
	mkdir -p "$making.apt"
	roots_say "making $root with debootstrap"
	roots_find_sources "$1" "$making.apt" || {
		rm -rf "$making.apt"
		roots_say "the package index of $1 cannot be had from the archives that this machine's apt uses"
		return 75
	}
	script=
	[ -e "/usr/share/debootstrap/scripts/$1" ] || script=/usr/share/debootstrap/scripts/sid
	address=$(sed -n 's/^URIs: //p' "$making.apt/$1.sources")
	keyring=$(ls "$making.apt"/*.gpg 2>/dev/null | head -n 1)
	case $address in
	https:*) include=ca-certificates ;;
	*) include= ;;
	esac
	# shellcheck disable=SC2086 # $script is a word or none
	roots_alone debootstrap --variant=minbase ${include:+--include=$include} ${keyring:+--keyring="$keyring"} \
		"$1" "$making" "$address" $script >"$making.log" 2>&1 || {
		tail -n 5 "$making.log" >&2
		roots_say "debootstrap could not make $1"
		return 75
	}
	roots_settle "$making.apt" "$making"
	rm -rf --one-file-system "$root" "$making.apt"
	mv "$making" "$root"
}

# The root's apt: the same archives, keyrings and ways as here; nothing kept, nothing flushed.
roots_settle() { # FOLDER-OF-SOURCES ROOT
	rm -f "$2/etc/apt/sources.list" "$2"/var/cache/apt/archives/*.deb
	mkdir -p "$2/etc/apt/keyrings"
	for file in "$1"/*.gpg "$1"/*.asc "$1"/*.pgp; do
		[ ! -e "$file" ] || cp "$file" "$2/etc/apt/keyrings/"
	done
	for file in "$1"/*.sources; do
		sed "s|$1/|/etc/apt/keyrings/|g" "$file" >"$2/etc/apt/sources.list.d/${file##*/}"
	done
	{
		apt-config dump --format '%F "%v";%n' Acquire |
			grep -E '^Acquire::(Check-|Retries|(http|https|ftp)::(Proxy|Timeout|[^: ]*::Proxy)\b)' || :
		echo 'Acquire::Languages "none";'
		echo 'APT::Keep-Downloaded-Packages "false";'
	} >"$2/etc/apt/apt.conf.d/90outfall"
	echo force-unsafe-io >"$2/etc/dpkg/dpkg.cfg.d/outfall"
}

# What changes on the machine, and is looked at each time. Without localhost Erlang waits for minutes.
roots_network() { # ROOT
	cat /etc/hosts >"$1/etc/hosts.new" 2>/dev/null || :
	grep -Eqs '^[^#]*\blocalhost\b' "$1/etc/hosts.new" || echo '127.0.0.1 localhost' >>"$1/etc/hosts.new"
	mv "$1/etc/hosts.new" "$1/etc/hosts"
	cat /etc/resolv.conf >"$1/etc/resolv.conf.new" 2>/dev/null || :
	mv "$1/etc/resolv.conf.new" "$1/etc/resolv.conf"
}

# --- what others call ------------------------------------------------------------------------

roots_may() {
	[ "$(id -u)" -eq 0 ] && unshare --mount --pid --fork true 2>/dev/null || {
		roots_say "a root folder of another Debian takes root, and the right to mount in a namespace of one's" \
			"own (in a container: CAP_SYS_ADMIN). As root: sudo sh tests/run.sh ..."
		return 77
	}
	command -v apt-get >/dev/null || {
		roots_say "no apt here: the roots come from the archives that the machine's own apt uses"
		return 77
	}
	packages_provide roots || return 77
}

# A function of config/packages.sh, in the root.
roots_packages() { # SUITE packages_missing|packages_provide SET...
	suite=$1
	shift
	bind=$roots_bind roots_bind=
	done=0
	roots_run "$suite" sh -c "$(cat config/packages.sh)
$*" || done=$?
	roots_bind=$bind
	return $done
}

roots_ready() { # SUITE SET...
	[ -d "$(roots_folder "$1")" ] || return 1
	suite=$1
	shift
	[ -z "$(roots_packages "$suite" packages_missing "$@")" ]
}

# With roots_renew=1 it is made anew. The lock is held until this shell ends: exclusive while something
# changes, shared afterwards. Sets behind a "--" may be missing: whoever needs them says so.
roots_provide() { # SUITE SET... [-- SET...]
	roots_may || return
	mkdir -p "$roots_cache"
	exec 8>"$(roots_folder "$1").lock"
	flock -s 8
	suite=$1 root=$(roots_folder "$1")
	[ ! -d "$root" ] || roots_network "$root"
	shift
	if [ -z "${roots_renew-}" ] && roots_ready "$suite" "$@"; then
		return 0
	fi
	flock -n 8 || {
		roots_say "waiting for others who use $root"
		flock 8
	}
	if [ -n "${roots_renew-}" ] || [ ! -d "$root" ]; then
		roots_make "$suite" || return
		roots_network "$root"
	fi
	needed=1
	for set in "$@"; do
		case $set in
		--) needed= ;;
		*)
			roots_packages "$suite" packages_provide "$set" || [ -z "$needed" ] || return
			;;
		esac
	done
	flock -s 8
}

# In namespaces of its own. What stands in the background ignores Ctrl-C from birth, and would hand that on.
roots_alone() { # COMMAND...
	env --default-signal=INT,QUIT setpriv --pdeathsig KILL \
		unshare --mount --pid --fork --kill-child --mount-proc "$@" </dev/null &
	roots_pid=$!
	ended=0
	wait "$roots_pid" || ended=$?
	roots_pid=
	return $ended
}

# For traps: ends what roots_alone waits for, and returns when all in there is gone.
roots_end() {
	[ -n "$roots_pid" ] || return 0
	for pid in $(cat "/proc/$roots_pid/task/$roots_pid/children" 2>/dev/null) $roots_pid; do
		kill -KILL "$pid" 2>/dev/null || :
		wait "$roots_pid" 2>/dev/null || :
	done
}

# The environment begins anew, as where somebody logs in.
roots_run() { # SUITE COMMAND...
	root=$(roots_folder "$1")
	shift
	# shellcheck disable=SC2016 # for the shell in there
	roots_alone sh -c '
		set -e
		root=$1
		mount --bind "$root" "$root" # unshare in there wants a mount as its root
		mount --rbind /dev "$root/dev"
		mount --rbind /sys "$root/sys"
		mount -t proc proc "$root/proc"
		for bind in $2; do
			mkdir -p "$root${bind#*:}"
			mount --bind "${bind%%:*}" "$root${bind#*:}"
		done
		cd "$root"
		shift 2
		exec chroot "$root" env -i "$@"' sh "$root" "$roots_bind" \
		HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
		${TERM+TERM="$TERM"} ${CI+CI="$CI"} ${http_proxy+http_proxy="$http_proxy"} \
		${https_proxy+https_proxy="$https_proxy"} ${OUTFALL_TEST_JOBS+OUTFALL_TEST_JOBS="$OUTFALL_TEST_JOBS"} \
		"$@"
}
