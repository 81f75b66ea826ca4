# Where the daemon of `make run` lives, and starting and stopping it; sourced by run.sh and stop.sh.

if [ "$(id -u)" = 0 ]; then
    state=${WHARF_STATE_DIR:-/var/lib/wharf}
    socket=${WHARF_SOCKET:-/run/wharf/wharf.sock}
else
    state=${WHARF_STATE_DIR:-$HOME/.local/state/wharf}
    socket=${WHARF_SOCKET:-${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/wharf/wharf.sock}}
    socket=${socket:-$state/wharf.sock}
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

daemon_answers() { WHARF_HOST=unix://$socket timeout 5 "$wharf" ls >/dev/null 2>&1; }

daemon_start() {
    mkdir -p "$state" "$(dirname "$socket")"
    chmod 700 "$state"
    # A session of its own: neither Ctrl-C nor the end of the terminal reaches it.
    setsid "$wharf" daemon --state-dir "$state" --socket "$socket" >>"$log" 2>&1 </dev/null &
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
