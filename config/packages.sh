# What outfall needs on a machine, and how it gets there.
#
#   . config/packages.sh; packages_provide build brokers tests
#
# looks for everything in the named sets and installs what is missing, with apt where this is root or
# may use sudo. Where there is no apt it says what to install and fails, with 75 where apt could not get at its
# archives. When nothing is missing it
# costs some milliseconds and asks nobody. The set `languages` is what the example handlers run on, and
# `browser` is what the live page is looked at with, `promtool` what the metrics are linted with, `fuzzer` is
# clang's libFuzzer, `valkey` Redis's sibling, and `roots` what makes the root folder of another Debian.
#
# The names are those of Debian 12, 13 and testing alike.
#
# Debian starts a service when its package is installed. A RabbitMQ or Redis that nobody asked for
# would then run on this machine, so while apt works a policy-rc.d says no (unless the machine has
# one of its own, which is then respected), and services that came with this installation are not
# left enabled for the next boot.

# set, Debian package, how to see that it is there
packages_table() {
	cat <<-'TABLE'
		build   build-essential   command cc
		build   cmake             command cmake
		build   ninja-build       command ninja
		build   pkg-config        command pkg-config
		build   libuv1-dev        library libuv
		build   librabbitmq-dev   library librabbitmq
		build   libhiredis-dev    library hiredis
		build   libjansson-dev    library jansson
		build   libssl-dev        library openssl
		build   libcurl4-openssl-dev library libcurl
		build   libmicrohttpd-dev library libmicrohttpd
		build   libwslay-dev      file /usr/include/wslay/wslay.h
		brokers rabbitmq-server   file /usr/lib/rabbitmq/bin/rabbitmq-server
		brokers redis-server      command redis-server
		brokers util-linux        command setsid
		tests   libcmocka-dev     library cmocka
		tests   openssl           command openssl
		tests   groff-base        command groff
		tests   haproxy           file /usr/sbin/haproxy
		tests   nginx-light       file /usr/sbin/nginx
		tests   python3           file /usr/bin/python3
		tests   python3-pika      python pika
		tests   python3-redis     python redis
		tests   python3-websockets python websockets
		tests   python3-yaml      python yaml
		tests   supervisor        command supervisord
		promtool prometheus       command promtool
		browser chromium          command chromium
		fuzzer  clang             command clang
		fuzzer  libclang-rt-NN-dev fuzzer -
		valkey  valkey-server     command valkey-server
		roots   debootstrap       file /usr/sbin/debootstrap
		languages python3         file /usr/bin/python3
		languages nodejs          command node
		languages php-cli         command php
		languages ruby            command ruby
	TABLE
}

package_is_there() { # HOW WHAT
	case $1 in
	command) command -v "$2" ;;
	library) pkg-config --exists "$2" ;;
	file) test -e "$2" ;;
	python) /usr/bin/python3 -c "import $2" ;;
	fuzzer) test -e "$(clang -print-file-name="libclang_rt.fuzzer-$(uname -m).a")" ;;
	esac >/dev/null 2>&1
}

packages_missing() { # SET...
	packages_table | while read -r set package how what; do
		case " $* " in
		*" $set "*) package_is_there "$how" "$what" || echo "$package" ;;
		esac
	done
}

packages_provide() { # SET...
	missing=$(packages_missing "$@" | tr '\n' ' ')
	[ -n "$missing" ] || return 0
	if ! command -v apt-get >/dev/null; then
		packages_explain "$missing" "this machine has no apt"
		return 1
	fi
	if [ "$(id -u)" -eq 0 ]; then
		as_root=
	elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
		as_root=sudo
	else
		packages_explain "$missing" "installing them takes root or sudo"
		return 1
	fi
	echo "Installing what is missing: $missing"
	# A shell of its own, so that its traps and umask are not ours.
	# shellcheck disable=SC2086 # a list of words
	installed=0
	$as_root sh -c "$(packages_installer)" install $missing || installed=$?
	[ $installed -eq 0 ] || {
		packages_explain "$missing" "apt could not install them"
		return $installed
	}
	missing=$(packages_missing "$@" | tr '\n' ' ')
	[ -z "$missing" ] || {
		packages_explain "$missing" "they are still not found after installing"
		return 1
	}
}

packages_explain() { # PACKAGES WHY
	cat >&2 <<-TEXT
		Missing (names as in Debian 12, 13 and testing): $1
		They have to be installed by hand, because $2:

		    apt-get install --no-install-recommends $1

		Elsewhere look for: a C compiler, CMake 3.25, ninja, pkg-config, the development files of libuv,
		rabbitmq-c, hiredis, jansson, OpenSSL 3, libcurl 7.87, libmicrohttpd, wslay and cmocka, a
		RabbitMQ and a Redis server, the openssl and groff commands, HAProxy, nginx, supervisord 4, and Python 3
		with pika, redis, websockets and yaml. The example handlers want Node.js 18, PHP 8.1 and Ruby 3.1 as
		well, the live page Chromium, the metrics promtool, fuzzing clang with libFuzzer.
	TEXT
}

# The script that runs as root, with the packages as its arguments. One at a time: a second run waits,
# else the first to finish would take the policy away from under the other. A policy that says it is ours
# was left by a run that was killed. libclang-rt-NN-dev: as clang's package says.
packages_installer() {
	cat <<-'SCRIPT'
		set -eu
		exec 9>/run/outfall-packages.lock
		flock 9
		services="rabbitmq-server redis-server valkey-server epmd haproxy nginx supervisor prometheus"
		policy=/usr/sbin/policy-rc.d
		mark="# outfall: no services while config/packages.sh installs"
		log=$(mktemp)
		ours=
		known=
		for s in $services; do
			[ ! -e /lib/systemd/system/$s.service ] || known="$known $s "
		done
		clean() {
			[ -z "$ours" ] || rm -f "$policy"
			rm -f "$log"
		}
		trap clean EXIT
		trap 'exit 130' INT TERM HUP
		if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
			ours=1
			printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy.new"
			chmod 0755 "$policy.new"
			mv "$policy.new" "$policy"
		fi
		export DEBIAN_FRONTEND=noninteractive
		apt="apt-get -y -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3"
		install() {
			dpkg --configure -a || return
			index=
			$apt -o APT::Update::Error-Mode=any update || index=75 # an old one may do
			clang=$(apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')
			for package; do
				shift
				set -- "$@" "$(echo "$package" | sed "s/NN/$clang/")"
			done
			$apt install --no-install-recommends "$@" || return ${index:-1}
		}
		installed=0
		install "$@" >"$log" 2>&1 9>&- || installed=$?
		[ $installed -eq 0 ] || {
			tail -n 25 "$log" >&2
			exit $installed
		}
		for s in $services; do
			case $known in
			*" $s "*) ;;
			*) systemctl --quiet disable "$s.service" "$s.socket" >/dev/null 2>&1 || : ;;
			esac
		done
	SCRIPT
}
