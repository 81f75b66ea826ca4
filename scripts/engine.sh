#!/usr/bin/env bash
# engine.sh [COMMAND…]: makes sure that a Docker Engine answers, installing and starting one where there is none, then
# runs the command with access to it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

log=/var/log/dockerd.log
me=$(id -un)

# An engine that the command line reaches elsewhere (a docker context) is where the daemon has to look too.
elsewhere() {
    [ -z "${DOCKER_HOST:-}" ] && [ ! -S /var/run/docker.sock ] || return 0
    local host
    host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || return 0
    [ -z "$host" ] || export DOCKER_HOST=$host
}

# Hands over to the command; does not return where there is one.
finish() {
    elsewhere
    [ $# = 0 ] || exec "$@"
    exit 0
}

# The socket is there and not ours to use: a login that is older than the membership of group docker, or no membership.
no_access() {
    if id -nG "$me" | grep -qw docker && command -v sg >/dev/null && [ -z "${WHARF_IN_SG:-}" ]; then
        [ $# = 0 ] && die "$me is in group docker, but this login is older than that" "Log in again, or: newgrp docker"
        exec env WHARF_IN_SG=1 sg docker -c "$(printf '%q ' "$0" "$@")"
    fi
    die "a Docker Engine is here, but $me may not use its socket" \
        "sudo usermod -aG docker $me     (members of group docker have root's power), then log in again"
}

install_engine() {
    debian_like || die "no Docker Engine answers, and this is not Debian or Ubuntu" \
        "Install Docker Engine 20.10 or newer and start it (https://docs.docker.com/engine/install/), then try again."
    command -v dockerd >/dev/null && command -v iptables >/dev/null && command -v docker >/dev/null && return
    local packages=(iptables)
    command -v dockerd >/dev/null && command -v docker >/dev/null || packages+=(docker.io)
    apt_update
    # Newer Debians ship the command line as a package of its own.
    if ! command -v docker >/dev/null && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
    apt_install "${packages[@]}"
    [ "$(id -u)" = 0 ] || id -nG "$me" | grep -qw docker || {
        say "adding $me to group docker"
        as_root usermod -aG docker "$me"
    }
}

# A pid file that outlived its dockerd (a copied disk, a hard stop) keeps the next one from starting.
drop_stale_pid() {
    local pid
    pid=$(cat /var/run/docker.pid 2>/dev/null) || return 0
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || as_root rm -f /var/run/docker.pid
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        say "starting docker.service"
        as_root systemctl start docker || die "docker.service does not start" "systemctl status docker says why."
        return
    fi
    drop_stale_pid
    say "starting dockerd in the background (log: $log, pid: /var/run/docker.pid)"
    as_root sh -c "setsid dockerd >>$log 2>&1 </dev/null &"
}

# Root's view, because the socket may not be ours yet.
answers_root() { as_root env ${DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"} timeout 10 docker version >/dev/null 2>&1; }

wait_for_engine() {
    local deadline=$((SECONDS + 90)) told=$SECONDS
    until answers_root; do
        if [ $SECONDS -ge $deadline ]; then
            [ ! -r $log ] || tail -n 15 $log >&2
            die "the Docker Engine did not answer within 90 s" "Its log: $log, or journalctl -u docker"
        fi
        [ $((SECONDS - told)) -lt 5 ] || { say "waiting for the engine"; told=$SECONDS; }
        sleep 0.3
    done
}

command -v docker >/dev/null && engine_version >/dev/null && finish "$@"
if [ -n "${DOCKER_HOST:-}" ]; then
    command -v docker >/dev/null || install_engine
    engine_version >/dev/null && finish "$@"
    die "no Docker Engine answers at DOCKER_HOST=$DOCKER_HOST" "Start it, or unset DOCKER_HOST to use one on this machine."
fi
[ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ] && no_access "$@"
say "no Docker Engine answers"
install_engine
engine_version >/dev/null || start_engine
wait_for_engine
say "Docker Engine $(as_root docker version --format '{{.Server.Version}}') answers"
[ -w /var/run/docker.sock ] || no_access "$@"
finish "$@"
