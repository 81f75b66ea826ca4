#!/usr/bin/env bash
# stop.sh: stops the daemon that run.sh started; agents at work go on in their containers.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$root/scripts/daemon.sh"
if pid=$(daemon_pid); then
    daemon_stop "$pid"
    say "stopped the daemon; sessions and containers stay, make run goes on with them"
else
    say "no daemon of make run is running"
fi
