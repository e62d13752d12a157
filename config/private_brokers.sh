# Brokers of our own: a RabbitMQ and a Redis on loopback, in a folder of their own, for the
# quickstart, the tests and the benchmark. Nothing that is already running is touched.
#
#   . config/private_brokers.sh        for shells: the functions below
#   sh config/private_brokers.sh start-rabbitmq DIR    prints the port
#   sh config/private_brokers.sh start-redis DIR       prints the port
#   sh config/private_brokers.sh stop DIR              ends what was started in DIR; no questions
#   sh config/private_brokers.sh ctl DIR WORD...       rabbitmqctl for the RabbitMQ in DIR
#   sh config/private_brokers.sh exec PROGRAM WORD...  epmd, or a Redis with options of its own: becomes it
#
# Each folder holds at most one RabbitMQ and one Redis. Their process ids are in DIR/*.pid.
#
# Where DIR/tls/ holds ca.pem, server.pem and server.key, both listen for TLS as well, on the ports in
# DIR/rabbitmq.tls-port and DIR/redis.tls-port, and want a certificate from their clients.
#
# Ports are drawn at random from below the range the kernel gives to outgoing connections, so none
# can be taken between our look and the broker's bind except by another drawing like ours; who loses
# that race tries again with other ports.
#
# Messages may have 128 MiB, as RabbitMQ 3 has it by default; from 4.0 on it is 16 MiB.
#
# RabbitMQ is started as the packages' service is not: without the wrapper in /usr/sbin, which
# switches user, and with every path and port of its own, epmd (Erlang's name server, which would
# outlive the broker) included. RUNNING_UNDER_SYSTEMD makes the server script exec Erlang, so
# the process id we note is the broker's. Stopping is SIGKILL: the folder is thrown away anyhow.

# The programs are this machine's, unless OUTFALL_TEST_BROKERS_ROOT names the root folder of another Debian
# (tests/roots.sh makes such): then its /usr and /etc lie over ours for the broker alone, so that process id,
# paths, network and signals are as ever. OUTFALL_TEST_REDIS=valkey-server takes that instead of redis-server.

redis_server=${OUTFALL_TEST_REDIS:-redis-server}

# Becomes PROGRAM. Whatever is a broker's goes through here.
broker_exec() { # PROGRAM WORD...
	[ -n "${OUTFALL_TEST_BROKERS_ROOT-}" ] || exec "$@"
	# shellcheck disable=SC2016 # for the shell in there
	exec unshare --mount sh -c 'mount --bind "$0/etc" /etc && mount --bind "$0/usr" /usr && exec "$@"' \
		"$OUTFALL_TEST_BROKERS_ROOT" "$@"
}

broker_port() {
	while :; do
		port=$(($(od -An -N2 -tu2 /dev/urandom) % 22000 + 10000))
		hex=$(printf ':%04X ' "$port")
		grep -qs "$hex" /proc/net/tcp /proc/net/tcp6 || break
	done
	echo "$port"
}

# broker_wait PID COMMAND...: until COMMAND succeeds; 1 when PID ended, 2 when two minutes passed.
broker_wait() {
	broker_pid=$1
	shift
	deadline=$(($(date +%s) + 120))
	until "$@"; do
		kill -0 "$broker_pid" 2>/dev/null || return 1
		[ "$(date +%s)" -lt "$deadline" ] || return 2
		sleep 0.05
	done
}

# Without it Erlang waits for its own node, silently, for longer than anybody reads on.
broker_localhost() {
	command -v getent >/dev/null && ! (broker_exec getent hosts localhost) >/dev/null || return 0
	echo "localhost has no address here, and RabbitMQ does not start without." \
		"Add this line to ${OUTFALL_TEST_BROKERS_ROOT-}/etc/hosts: 127.0.0.1 localhost" >&2
	return 1
}

# In a session of its own, so that a Ctrl-C in the terminal reaches us and not the broker; with no
# descriptor of ours, so that nobody waits for a pipe that the broker holds.
broker_spawn() {
	broker_exec setsid "$@" </dev/null >>"$broker_output" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
}

start_redis() {
	broker_dir=$1/redis
	mkdir -p "$broker_dir"
	broker_output=$broker_dir/output.log
	for try in 1 2 3 4 5; do
		# A restart in the same folder keeps the port: that is how tests bring a broker back.
		port=$(cat "$1/redis.port" 2>/dev/null || broker_port)
		rm -f "$broker_dir/redis.sock"
		set -- "$1"
		[ ! -e "$1/tls/server.pem" ] || {
			tls_port=$(cat "$1/redis.tls-port" 2>/dev/null || broker_port)
			set -- "$1" --tls-port "$tls_port" --tls-ca-cert-file "$1/tls/ca.pem" \
				--tls-cert-file "$1/tls/server.pem" --tls-key-file "$1/tls/server.key"
		}
		# Its own title would be written over the environment, by which a test run finds what it started.
		broker_home=$1
		shift
		broker_spawn "$redis_server" --set-proc-title no --port "$port" --bind 127.0.0.1 --save '' --appendonly no \
			--dir "$broker_dir" --unixsocket "$broker_dir/redis.sock" "$@"
		set -- "$broker_home"
		echo $! >"$1/redis.pid"
		if broker_wait $! test -S "$broker_dir/redis.sock"; then
			echo "$port" >"$1/redis.port"
			[ ! -e "$1/tls/server.pem" ] || echo "$tls_port" >"$1/redis.tls-port"
			return 0
		fi
		kill -KILL $! 2>/dev/null
	done
	echo "$redis_server does not start; its last words:" >&2
	tail -n 5 "$broker_output" >&2
	return 1
}

start_rabbitmq() {
	broker_localhost || return
	broker_output=$1/rabbitmq/output.log
	for try in 1 2 3; do
		ended=0
		spawn_rabbitmq "$1" || ended=$?
		[ $ended -ne 0 ] || return 0
		stop_brokers_in "$1" rabbitmq epmd
		[ $ended -eq 1 ] || break # it runs, but does not get ready: other ports are no help
		[ -e "$1/rabbitmq.port" ] || rm -f "$1/rabbitmq/environment" # draws other ports
	done
	echo "rabbitmq-server does not start; its last words:" >&2
	# Behind the reason come a hundred lines of who crashed with it.
	grep -m 15 -F '[error]' "$broker_output" >&2 || tail -n 15 "$broker_output" >&2
	return 1
}

spawn_rabbitmq() (
	broker_dir=$1/rabbitmq
	mkdir -p "$broker_dir/home" "$broker_dir/log"
	rm -f "$broker_dir/output.log"
	export HOME="$broker_dir/home"
	[ -e "$HOME/.erlang.cookie" ] ||
		od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$HOME/.erlang.cookie"
	chmod 0400 "$HOME/.erlang.cookie"
	port=$(cat "$1/rabbitmq.port" 2>/dev/null || broker_port)

	cat >"$broker_dir/rabbitmq.conf" <<-CONF
		listeners.tcp.local = 127.0.0.1:$port
		distribution.listener.interface = 127.0.0.1
		vm_memory_high_watermark.absolute = 1GB
		disk_free_limit.absolute = 50MB
		max_message_size = 134217728
		log.console = true
		log.console.level = info
		log.file = false
	CONF
	[ ! -e "$1/definitions.json" ] ||
		echo "load_definitions = $1/definitions.json" >>"$broker_dir/rabbitmq.conf"
	# DIR/rabbitmq.conf: what the owner of the folder adds, a cluster's nodes for example.
	[ ! -e "$1/rabbitmq.conf" ] || cat "$1/rabbitmq.conf" >>"$broker_dir/rabbitmq.conf"
	echo '[].' >"$broker_dir/enabled_plugins"
	if [ -e "$1/tls/server.pem" ]; then
		tls_port=$(cat "$1/rabbitmq.tls-port" 2>/dev/null || broker_port)
		cat >>"$broker_dir/rabbitmq.conf" <<-CONF
			listeners.ssl.local = 127.0.0.1:$tls_port
			ssl_options.cacertfile = $1/tls/ca.pem
			ssl_options.certfile = $1/tls/server.pem
			ssl_options.keyfile = $1/tls/server.key
			ssl_options.verify = verify_peer
			ssl_options.fail_if_no_peer_cert = true
			ssl_cert_login_from = common_name
			auth_mechanisms.1 = PLAIN
			auth_mechanisms.2 = EXTERNAL
		CONF
		echo '[rabbitmq_auth_mechanism_ssl].' >"$broker_dir/enabled_plugins"
	fi
	rabbitmq_environment "$1"
	export ERL_CRASH_DUMP_SECONDS=0 # none: it would be written where we stand

	broker_spawn epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1
	echo $! >"$1/epmd.pid"
	broker_spawn /usr/lib/rabbitmq/bin/rabbitmq-server
	echo $! >"$1/rabbitmq.pid"
	broker_wait $! grep -qs 'Server startup complete' "$broker_output" || return
	[ ! -e "$1/tls/server.pem" ] || echo "$tls_port" >"$1/rabbitmq.tls-port"
	echo "$port" >"$1/rabbitmq.port"
)

# What the server and rabbitmqctl need to find this broker and no other.
rabbitmq_environment() {
	if [ ! -e "$1/rabbitmq/environment" ]; then
		cat >"$1/rabbitmq/environment" <<-ENVIRONMENT
			export HOME='$1/rabbitmq/home'
			export ERL_EPMD_PORT=$(broker_port) ERL_EPMD_ADDRESS=127.0.0.1
			export RABBITMQ_NODENAME=n1@localhost RABBITMQ_CONF_ENV_FILE=/dev/null
			export RABBITMQ_CONFIG_FILE='$1/rabbitmq/rabbitmq'
			export RABBITMQ_MNESIA_BASE='$1/rabbitmq/mnesia'
			export RABBITMQ_MNESIA_DIR='$1/rabbitmq/mnesia/n1'
			export RABBITMQ_LOG_BASE='$1/rabbitmq/log'
			export RABBITMQ_ENABLED_PLUGINS_FILE='$1/rabbitmq/enabled_plugins'
			export RABBITMQ_GENERATED_CONFIG_DIR='$1/rabbitmq/generated'
			export RABBITMQ_FEATURE_FLAGS_FILE='$1/rabbitmq/feature_flags'
			export RABBITMQ_PID_FILE='$1/rabbitmq/server.pid'
			export RABBITMQ_DIST_PORT=$(broker_port) RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
			export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+sbwt none +sbwtdcpu none +sbwtdio none -ssl bypass_pem_cache true'
			export RUNNING_UNDER_SYSTEMD=1
		ENVIRONMENT
	fi
	. "$1/rabbitmq/environment"
}

broker_version() { # rabbitmq|redis
	case $1 in
	rabbitmq) (broker_exec ls /usr/lib/rabbitmq/lib) | sed 's/^rabbitmq_server-/RabbitMQ /' ;;
	redis) (broker_exec "$redis_server" --version) | sed 's/ server v=/ /; s/ sha=.*//' ;;
	esac
}

# stop_brokers_in DIR NAME...: ends these, and waits until they are gone.
stop_brokers_in() {
	broker_dir=$1
	shift
	for name in "$@"; do
		[ -s "$broker_dir/$name.pid" ] || continue
		broker_pid=$(cat "$broker_dir/$name.pid")
		kill -CONT "$broker_pid" 2>/dev/null
		kill -KILL "$broker_pid" 2>/dev/null
		while kill -0 "$broker_pid" 2>/dev/null; do
			case $(cat "/proc/$broker_pid/stat" 2>/dev/null) in
			*') Z '*) break ;; # ended, and its parent has yet to notice
			esac
			sleep 0.01
		done
		rm -f "$broker_dir/$name.pid"
	done
	return 0
}

stop_brokers() {
	stop_brokers_in "$1" rabbitmq epmd redis
}

case ${0##*/} in
private_brokers.sh)
	set -u
	case ${1-} in
	start-rabbitmq) start_rabbitmq "$2" && cat "$2/rabbitmq.port" ;;
	start-redis) start_redis "$2" && cat "$2/redis.port" ;;
	stop) stop_brokers "$2" ;;
	ctl)
		rabbitmq_environment "$2"
		shift 2
		broker_exec /usr/lib/rabbitmq/bin/rabbitmqctl -q "$@"
		;;
	exec)
		shift
		broker_exec "$@"
		;;
	*)
		echo "usage: private_brokers.sh start-rabbitmq|start-redis|stop DIR | ctl DIR WORD... | exec PROGRAM WORD..." >&2
		exit 64
		;;
	esac
	;;
esac
