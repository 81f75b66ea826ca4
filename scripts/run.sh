#!/usr/bin/env bash
# run.sh: builds wharf, starts its daemon, and opens a session with an agent in its own container. Run it by engine.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$root/scripts/daemon.sh"
cd "$root"

build() {
    command -v cargo >/dev/null || die "cargo is not in PATH" "Install Rust: https://rustup.rs"
    command -v cc >/dev/null || die "no C compiler in PATH" "Install one: sudo apt-get install gcc"
    [ -x "$wharf" ] || say "building wharf; the first time this takes some minutes"
    # On a terminal cargo shows its own progress; elsewhere a line a crate would bury everything else.
    local quiet=()
    [ -t 2 ] || quiet=(--quiet)
    cargo build --release --locked "${quiet[@]}"
}

start() {
    local pid
    if pid=$(daemon_pid); then
        if daemon_is_current "$pid" && daemon_answers; then
            return
        fi
        say "restarting the daemon: there is a newer build (agents at work go on)"
        daemon_stop "$pid"
    elif daemon_answers; then
        say "a daemon answers at $socket, started elsewhere; using it"
        return
    fi
    say "starting the daemon"
    daemon_start
}

build
agent=demo
key=default:first-light
image=demo
prompt='run echo "Hello from $(hostname), as $(id -un), on $(uname -sr)"'
env=()
if [ -n "${ANTHROPIC_API_KEY:-}" ]; then
    agent=claude key=default:first-light-claude image=workspace
    prompt='Say hello, and in one sentence what machine you are on: look, with one shell command.'
    # By name: values on a command line are for everyone to read.
    env=(--env ANTHROPIC_API_KEY)
    [ -z "${ANTHROPIC_BASE_URL:-}" ] || env+=(--env ANTHROPIC_BASE_URL)
fi
scripts/images.sh "$image"
start
export WHARF_HOST=unix://$socket
say "opening the session $key with $agent"
"$wharf" new --agent "$agent" --key "$key" "${env[@]}" --json >/dev/null
say "ready"

command="$wharf"
[ -z "${WHARF_STATE_DIR:-}${WHARF_SOCKET:-}" ] || command="WHARF_HOST=$WHARF_HOST $wharf"
hints() {
    cat <<EOT

  look at it      $command ls        $command logs $key
  go on           $command chat $key
  one prompt      $command send $key 'TEXT'
  stop            make stop          (the daemon; its log: $log)
  throw away      $command rm --purge $key

EOT
}
if [ -t 0 ] && [ -t 1 ]; then
    hints
    exec "$wharf" chat "$key"
fi
printf '> %s\n' "$prompt"
"$wharf" send "$key" "$prompt"
hints
