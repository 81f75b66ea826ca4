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

cleanup() {
    trap - EXIT
    docker rm -f "$name" >/dev/null 2>&1 || true
    if [ -n "$instance" ]; then
        docker ps -aq --filter "label=wharf.instance=$instance" | xargs -r docker rm -fv >/dev/null
        docker volume ls -q --filter "label=wharf.instance=$instance" | xargs -r docker volume rm >/dev/null
    fi
    docker image rm "$image" >/dev/null 2>&1 || true
    rm -rf "$staging"
}

packages() {
    [ -x /lib/systemd/systemd ] && [ -x /usr/bin/dbus-daemon ] && return
    debian_like || die "the test of the units needs systemd and dbus on this machine"
    apt_install systemd dbus
}

boot() {
    make --silent install BINARY="$binary" DESTDIR="$staging" PREFIX=$prefix UNITDIR=/etc/systemd/system \
        SYSUSERSDIR=/etc/sysusers.d TMPFILESDIR=/etc/tmpfiles.d
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

# Exposure as systemd reckons it: 10 is a process that may do everything, and 2.0 is what we allow ourselves.
confined() {
    local report
    report=$(inside systemd-analyze security --no-pager --threshold=20 wharf.service) && say "${report##*$'\n'}"
}
restarted() { [ "$(property NRestarts)" = 1 ] && [ "$(property ActiveState)" = active ]; }
workspace_runs() { [ -n "$(docker ps -q --filter "label=wharf.instance=$instance" --filter "id=$workspace")" ]; }
remembers() { wharf send "$key" recall | grep -q 'echo before'; }

trap cleanup EXIT
packages
boot
check "systemd boots" eventually booted
check "the units have no errors" inside systemd-analyze verify /etc/systemd/system/wharf.service /etc/systemd/system/wharf.socket
check "the service is confined" confined

check "starts and tells that it is ready" inside systemctl start wharf.service
check "as its own user" [ "$(inside stat -c %U "/proc/$(property MainPID)")" = wharf ]
before=$(docker ps -aq --no-trunc --filter label=wharf.instance)
wharf new --agent demo --key "$key" --json >/dev/null
answers() { wharf send "$key" 'echo before' | grep -q before; }
check "a session answers through the service" answers
workspace=$(LC_ALL=C comm -13 <(LC_ALL=C sort <<<"$before") \
    <(docker ps -aq --no-trunc --filter label=wharf.instance | LC_ALL=C sort) | head -n 1)
instance=$(docker inspect --format '{{index .Config.Labels "wharf.instance"}}' "$workspace")

inside kill -9 "$(property MainPID)"
check "is back after kill -9" eventually restarted
check "and the session remembers" remembers

inside systemctl stop wharf.service
check "stopping it leaves the workspace running" workspace_runs

inside systemctl start wharf.socket
check "with the socket alone nothing runs" [ "$(property ActiveState)" = inactive ]
check "a client starts it through the socket" remembers
check "and it is active" [ "$(property ActiveState)" = active ]
check "deletes the session" wharf rm --purge "$key"
