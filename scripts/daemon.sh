# Where the daemon of `make run` lives, and starting and stopping it; sourced by run.sh and stop.sh.

# Where whoever calls lives; HOME need not be set, under a service manager or in a container.
home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
# Root is a user like any other here: /var/lib/wharf and /run/wharf belong to the service that `make install` brings.
state=${WHARF_STATE_DIR:-${XDG_STATE_HOME:-$home/.local/state}/wharf}
case $state in /*) ;; *) state=$PWD/$state ;; esac
usual=
if [ "$(id -u)" != 0 ] && [ -n "${HOME:-}" ] && [ -z "${WHARF_STATE_DIR:-}${WHARF_SOCKET:-}${XDG_STATE_HOME:-}" ]; then
    # The command line finds this daemon unaided.
    usual=yes
fi
if [ -n "$usual" ] && [ -n "${XDG_RUNTIME_DIR:-}" ]; then
    socket=$XDG_RUNTIME_DIR/wharf/wharf.sock
else
    socket=${WHARF_SOCKET:-$state/wharf.sock}
fi
wharf=${CARGO_TARGET_DIR:-$root/target}/release/wharf
log=$state/make-run.log
pid_file=$state/make-run.pid

# daemon_pid: prints the id of the daemon that `make run` started, where it lives.
daemon_pid() {
    local pid program
    pid=$(cat "$pid_file" 2>/dev/null) || return 1
    # A pid comes again: only a process that runs our program is ours. A rebuilt program shows as "… (deleted)".
    program=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
    [ "${program% (deleted)}" = "$(readlink -m "$wharf")" ] || return 1
    echo "$pid"
}

# Whether the running daemon's program is the one on disk.
daemon_is_current() { [ "/proc/$1/exe" -ef "$wharf" ]; }

# Whether the daemon hands the same access to a model on to its agents as this environment has, where it has any.
daemon_has_access() {
    [ -n "${ANTHROPIC_API_KEY:-}" ] || return 0
    local name theirs
    for name in ANTHROPIC_API_KEY ANTHROPIC_BASE_URL; do
        theirs=$(tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n "s/^$name=//p") || return 1
        [ "$theirs" = "${!name:-}" ] || return 1
    done
}

daemon_answers() { WHARF_HOST=unix://$socket timeout 5 "$wharf" ls >/dev/null 2>&1; }

# Where another daemon has the usual port, this one takes a free one: the socket is what its user needs.
listen() {
    [ -z "${WHARF_LISTEN:-}" ] && (exec 3<>/dev/tcp/127.0.0.1/7717) 2>/dev/null && echo --listen=127.0.0.1:0
    return 0
}

daemon_start() {
    mkdir -p "$(dirname "$state")"
    [ -d "$state" ] || mkdir -m 700 "$state"
    mkdir -p "$(dirname "$socket")"
    # A session of its own: neither Ctrl-C nor the end of the terminal reaches it. What is set for the session's client
    # is none of its business, and what it writes is for its user alone.
    (
        umask 077
        unset WHARF_HOST WHARF_TOKEN WHARF_IN_SG
        # shellcheck disable=SC2046 # one flag or none
        exec setsid "$wharf" daemon --state-dir "$state" --socket "$socket" $(listen) >>"$log" 2>&1 </dev/null
    ) &
    local pid=$! deadline=$((SECONDS + 30))
    echo "$pid" >"$pid_file"
    until daemon_answers; do
        kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $deadline ] || {
            tail -n 15 "$log" >&2
            die "the daemon did not come up" "Its log: $log"
        }
        sleep 0.1
    done
}

# daemon_stop PID: asks, and waits for the end.
daemon_stop() {
    local deadline=$((SECONDS + 30))
    kill -TERM "$1" 2>/dev/null || true
    while daemon_pid >/dev/null; do
        [ $SECONDS -lt $deadline ] || die "the daemon (process $1) did not stop within 30 s" "Its log: $log"
        sleep 0.1
    done
    rm -f "$pid_file"
}
