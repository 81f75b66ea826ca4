#!/usr/bin/env bash
# run.sh: builds wharf, starts its daemon, and opens a session with an agent in its own container. Run it by engine.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$root/scripts/daemon.sh"
cd "$root"

build() {
    command -v cargo >/dev/null || die "cargo is not in PATH" "Install Rust: https://rustup.rs"
    command -v cc >/dev/null || die "no C compiler in PATH" "Install one: sudo apt-get install gcc"
    # On a terminal cargo shows its own progress; elsewhere a line a crate would bury everything else.
    if [ -t 2 ]; then
        cargo build --release --locked
        return
    fi
    [ -x "$wharf" ] || say "building wharf; the first time this takes some minutes"
    while_waiting "still building wharf" cargo build --release --locked --quiet
}

start() {
    local pid
    if pid=$(daemon_pid); then
        if ! daemon_is_current "$pid"; then
            say "restarting the daemon: there is a newer build (agents at work go on)"
        elif ! daemon_has_access "$pid"; then
            say "restarting the daemon: ANTHROPIC_API_KEY or ANTHROPIC_BASE_URL is another one (agents at work go on)"
            access_changed=yes
        elif daemon_answers; then
            return
        else
            say "restarting the daemon: it does not answer"
        fi
        daemon_stop "$pid"
    elif daemon_answers; then
        say "a daemon answers at $socket, started elsewhere; using it"
        return
    fi
    say "starting the daemon"
    daemon_start
}

# What is only reachable from this machine is not reachable from a container.
check_base_url() {
    case ${ANTHROPIC_BASE_URL:-} in
    *//localhost[:/]* | *//127.* | *//\[::1\]* | *//localhost)
        say "careful: ANTHROPIC_BASE_URL=$ANTHROPIC_BASE_URL is this machine's loopback, and the agent is in a container;"
        say "  let that server listen on an address of this machine, or run it in a container on a network of the engine"
        say "  and name that network: WHARF_RUN_NETWORK=NAME make run"
        ;;
    esac
}

# open FLAG…: the session, made or found; sets session to what it is, and wakes one that an earlier failure put to rest.
open() {
    session=$("$wharf" new --key "$key" "$@" --json)
    case $session in *'"status":"error"'*) "$wharf" restore "$key" >/dev/null ;; esac
}

# Claude Code, in a workspace with a name. The daemon hands its own ANTHROPIC_… variables on: nothing is stored.
open_claude() {
    local workspace=first-light-claude
    check_base_url
    "$wharf" workspaces create "$workspace" --image wharf/workspace:latest \
        --network "${WHARF_RUN_NETWORK:-default}" --json >/dev/null ||
        die "the workspace $workspace could not be opened" "If it is another network: $command workspaces rm $workspace"
    open --agent claude --workspace "$workspace"
    [ -n "${access_changed:-}" ] || return 0
    # An agent that waits for its next prompt has the old access, and gets the new one when it starts again; one at work
    # is left alone.
    case $session in
    *'"status":"running"'* | *'"status":"waiting"'*) say "the agent is at work, with the access that it had" ;;
    *'"status":"idle"'*) "$wharf" workspaces stop "$workspace" >/dev/null ;;
    esac
}

hints() {
    local tcp
    tcp=$(grep -o 'http://127[^" ]*' "$log" 2>/dev/null | tail -n 1) || true
    cat <<EOT

${export:+  in this shell   $export
}  look at it      $command ls
                  $command logs $key
  go on           $command chat $key
  one prompt      $command send $key 'TEXT'
  stop            make stop     (the daemon; an agent at work goes on in its container)
  throw away      $throw_away

  its API         $socket${tcp:+
                  $tcp, token in $state/token}
  its state       $state
  its log         $log

EOT
}

build
command=$wharf
[ "$wharf" != "$PWD/target/release/wharf" ] || command=target/release/wharf
export=
[ -n "$usual" ] || export="export WHARF_HOST=unix://$socket"
if [ -n "${ANTHROPIC_API_KEY:-}" ]; then
    agent=claude image=workspace key=default:first-light-claude
    throw_away="$command workspaces rm first-light-claude"
    prompt='Say hello, and in one sentence what you can do here. Use no tool.'
else
    agent=demo image=demo key=default:first-light
    throw_away="$command rm --purge $key"
    prompt='run echo "Hello from $(hostname), as $(id -un), on $(uname -sr)"'
fi
scripts/images.sh "$image"
start
export WHARF_HOST=unix://$socket
say "opening the session $key with $agent"
if [ "$agent" = claude ]; then open_claude; else open --agent demo; fi
say "ready"

if [ -t 0 ] && [ -t 1 ]; then
    hints
    exec "$wharf" chat "$key"
fi
printf '> %s\n' "$prompt"
# What the prompt came to is what this command comes to; where to go on is worth knowing in any case.
outcome=0
"$wharf" send "$key" "$prompt" || outcome=$?
hints
exit $outcome
