#!/usr/bin/env bash
# systemd.sh: installs wharf into a container that boots systemd, and tests the units there with the real engine: ready
# when it says so, back after a kill, activated by its socket, and workspaces that outlive it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
cd "$root"
binary=${BINARY:-${CARGO_TARGET_DIR:-target}/debug/wharf}
name=wharf-test-systemd-$$
image=$name:test
prefix=/opt/wharf-test
key=systemd-$$
staging=$(mktemp -d)
instance=
tether_before=

inside() { docker exec "$name" "$@"; }
wharf() { inside $prefix/bin/wharf "$@"; }
property() { inside systemctl show --property "$1" --value wharf.service; }

check() {
    local what=$1
    shift
    "$@" || {
        say "FAILED: $what"
        inside journalctl --no-pager --unit wharf --lines 40 >&2 || true
        exit 1
    }
    say "ok: $what"
}

# eventually COMMAND…: until it succeeds, 30 s at most.
eventually() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

tether_volumes() { docker volume ls -q --filter label=wharf.tether | LC_ALL=C sort; }

cleanup() {
    trap - EXIT
    docker rm -f "$name" >/dev/null 2>&1 || true
    if [ -n "$instance" ]; then
        docker ps -aq --filter "label=wharf.instance=$instance" | xargs -r docker rm -fv >/dev/null
        docker volume ls -q --filter "label=wharf.instance=$instance" | xargs -r docker volume rm >/dev/null
    fi
    # The volumes with tether belong to no daemon; one that somebody else's container uses is refused.
    LC_ALL=C comm -13 <(echo "$tether_before") <(tether_volumes) | xargs -r docker volume rm >/dev/null 2>&1 || true
    docker image rm "$image" >/dev/null 2>&1 || true
    rm -rf "$staging"
}

packages() {
    [ -x /lib/systemd/systemd ] && [ -x /usr/bin/dbus-daemon ] && return
    debian_like || die "the test of the units needs systemd and dbus on this machine"
    apt_install systemd dbus
}

installation() {
    make --silent "$1" BINARY="$binary" DESTDIR="$staging" PREFIX=$prefix UNITDIR=/etc/systemd/system \
        SYSUSERSDIR=/etc/sysusers.d TMPFILESDIR=/etc/tmpfiles.d
}

uninstalled() {
    installation uninstall
    [ "$(cd "$staging" && find . | LC_ALL=C sort)" = "$staging_before" ]
}

boot() {
    mkdir -p "$staging/opt/other" && touch "$staging/opt/other/file"
    staging_before=$(cd "$staging" && find . | LC_ALL=C sort)
    installation install
    chmod 755 "$staging"
    tests/support/systemd/image.sh "$image" "$staging"
    # --privileged fails where the machine's own first process lacks CAP_SYS_RESOURCE.
    docker run --detach --name "$name" --label wharf.test=systemd --stop-signal SIGRTMIN+3 \
        --cap-add ALL --cap-drop SYS_RESOURCE --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
        --tmpfs /run:exec --tmpfs /run/lock --tmpfs /tmp -v /var/run/docker.sock:/run/docker.sock -v /usr:/usr:ro \
        "$image" >/dev/null
}

booted() {
    case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) return 1 ;; esac
}

# The host: its agents are a service of their own.
host_pid() { inside systemctl show --property MainPID --value wharf-host.service; }
host_agent() { inside pgrep --uid wharf-host --oldest --exact wharf-demo-agen; }
host_enabled() { wharf new --agent demo --workspace host --key "$key-host" --json >/dev/null; }
host_chunks() { wharf logs --json "$key-host" | grep -o '"text":"chunk [0-9]* "' | grep -o '[0-9]*'; }
host_counted_to() { [ "$(host_chunks | wc -l)" -ge "$1" ]; }
host_counted() { [ "$(host_chunks)" = "$1" ]; }
host_refused_alone() { ! inside systemctl start wharf.service && inside journalctl --no-pager --unit wharf | grep 'enable --now wharf-host' >/dev/null; }
host_nothing_runs() { ! inside pgrep --uid wharf-host >/dev/null; }

# Exposure as systemd reckons it: 10 is a process that may do everything, and 2.0 is what we allow ourselves.
confined() {
    local report
    report=$(inside systemd-analyze security --no-pager --threshold=20 wharf.service) && say "${report##*$'\n'}"
}
restarted() { [ "$(property NRestarts)" = 1 ] && [ "$(property ActiveState)" = active ]; }
active() { [ "$(property ActiveState)" = active ]; }
gone() { [ -z "$(docker ps -aq --filter "label=wharf.instance=$instance")" ]; }
workspace_runs() { [ -n "$(docker ps -q --filter "label=wharf.instance=$instance" --filter "id=$workspace")" ]; }
agent_runs() { docker top "$workspace" | grep wharf-demo-agent >/dev/null; }
# Output is read to its end: under pipefail `grep -q` would make a failure of whoever still writes.
remembers() { wharf send "$key" recall | grep 'echo before' >/dev/null; }
answers() { wharf send "$key" 'echo before' | grep before >/dev/null; }
modes() { [ "$(inside stat -c '%a %U %G' "$1")" = "$2" ]; }
by_exec() { inside journalctl --no-pager --unit wharf | grep 'reached through execs' >/dev/null; }

# The numbers of the chunks in the session's log, as its agent's `slow N` counts them.
chunks() { wharf logs --json "$key" | grep -o '"text":"chunk [0-9]* "' | grep -o '[0-9]*'; }
slow() { wharf send --no-wait "$key" "slow $1" >/dev/null; }
counted_to() { [ "$(chunks | wc -l)" -ge "$1" ]; }
counted() { [ "$(chunks)" = "$1" ]; }

trap cleanup EXIT
tether_before=$(tether_volumes)
packages
boot
check "systemd boots" eventually booted
check "the units have no errors" inside systemd-analyze verify /etc/systemd/system/wharf.service /etc/systemd/system/wharf.socket \
    /etc/systemd/system/wharf-host.service
check "the service is confined" confined

check "starts and tells that it is ready" inside systemctl start wharf.service
check "and is active when it said so" active
check "as its own user" [ "$(inside stat -c %U "/proc/$(property MainPID)")" = wharf ]
check "its state is its own" modes /var/lib/wharf '700 wharf wharf'
check "so is its token" modes /var/lib/wharf/token '600 wharf wharf'
check "its socket is its group's" modes /run/wharf/wharf.sock '660 wharf wharf'
wharf new --agent demo --key "$key" --json >/dev/null
instance=$(inside sed -n 's/.*"instance": *"\([^"]*\)".*/\1/p' /var/lib/wharf/store.json)
check "a session answers through the service" answers
check "though the engine does not see the service's files" by_exec
workspace=$(docker ps -q --no-trunc --filter "label=wharf.instance=$instance")

slow 40
check "a turn runs" eventually counted_to 3
inside kill -9 "$(property MainPID)"
check "is back after kill -9" eventually restarted
check "the turn went on, and nothing of it is lost or there twice" eventually counted "$(seq 1 40)"
check "and the session remembers" remembers

slow 40
check "another turn runs" eventually counted_to 43
inside systemctl stop wharf.service
check "stopping it leaves the workspace running" workspace_runs
check "and the agent at work" agent_runs

inside systemctl start wharf.socket
check "with the socket alone nothing runs" [ "$(property ActiveState)" = inactive ]
check "the socket is the group's" modes /run/wharf/wharf.sock '660 root wharf'
check "a client starts it through the socket" wharf ls
check "and it is active" active
check "the turn went on there, too" eventually counted "$(seq 1 40 && seq 1 40)"
check "and the session still remembers" remembers
inside systemctl stop wharf.socket wharf.service
inside sh -c 'printf "[host]\nenabled = true\n" >/etc/wharf/wharf.toml'
check "a tether that would end with the service is refused, with what to do" host_refused_alone
inside systemctl stop wharf.service
inside systemctl reset-failed wharf.service
inside sh -c 'printf "[host]\nenabled = true\nsocket = \"/run/wharf-host/tether.sock\"\n" >/etc/wharf/wharf.toml'
check "starts with the host's service" inside systemctl start wharf-host.service wharf.service
check "a session works on the host" eventually host_enabled
check "and answers, as the service's user" eventually host_agent
wharf send --no-wait "$key-host" "slow 40" >/dev/null
check "a turn runs there" eventually host_counted_to 3
agent=$(host_agent)
inside systemctl stop wharf.service
check "stopping the daemon leaves the host's agent at work" [ "$(host_agent)" = "$agent" ]
inside systemctl start wharf.service
check "the host's turn went on" eventually host_counted "$(seq 1 40)"
inside systemctl stop wharf-host.service
check "stopping the host's service ends everything" host_nothing_runs
inside rm /etc/wharf/wharf.toml
inside systemctl restart wharf.service
wharf workspaces rm host >/dev/null
check "deletes the session" wharf rm --purge "$key"
check "and its container with it" gone

check "leaves nothing installed" uninstalled
say "the units hold"
