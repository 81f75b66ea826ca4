# What the scripts share: messages, root's rights, packages, and how to ask the engine. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Debian keeps dockerd and iptables where a user's PATH does not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# say TEXT…: one line of progress, with the seconds since the script started.
say() { printf '[%3ds] %s\n' "$SECONDS" "$*" >&2; }

# die TEXT…: each argument a line; ends the script.
die() {
    printf 'wharf: %s\n' "$1" >&2
    shift
    [ $# = 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

# as_root COMMAND…
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        die "this needs root and there is no sudo: $*" "Run it as root, then try again."
    elif [ -t 0 ] || sudo -n true 2>/dev/null; then
        sudo "$@"
    else
        die "this needs root, and sudo would ask for a password without a terminal: $*" "Run it as root, then try again."
    fi
}

debian_like() { command -v apt-get >/dev/null && command -v dpkg >/dev/null; }

# apt_update: once a script; a broken third-party repository is no reason to give up.
apt_update() {
    [ -z "${apt_is_fresh:-}" ] || return 0
    say "refreshing the package lists"
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null 2>&1 || say "some package lists could not be refreshed"
    apt_is_fresh=1
}

# apt_install PACKAGE…: never removes a package for it.
apt_install() {
    local log
    apt_update
    say "installing $*"
    log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends --no-remove \
        -o DPkg::Lock::Timeout=300 install "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "could not install $*" "apt-get's last words are above."
    fi
    rm -f "$log"
}

# fault_tools: what the fault suite needs beside the engine: a clock that can be set for one process, disks, networks.
fault_tools() {
    local packages=()
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || packages+=(libfaketime)
    command -v mkfs.ext4 >/dev/null || packages+=(e2fsprogs)
    command -v losetup >/dev/null || packages+=(mount)
    command -v ss >/dev/null && command -v ip >/dev/null || packages+=(iproute2)
    command -v iptables >/dev/null || packages+=(iptables)
    [ ${#packages[@]} = 0 ] && return
    debian_like || die "the fault suite needs ${packages[*]}" "Install what these Debian packages hold."
    apt_install "${packages[@]}"
}

# engine_version: prints the engine's version; fails where none answers.
engine_version() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }

# megabytes BYTES: for people to read.
megabytes() { awk -v b="$1" 'BEGIN { printf "%.1f MB", b / 1e6 }'; }

# while_waiting TEXT COMMAND…: runs it, and says that it still runs, every 15 s.
while_waiting() {
    local text=$1 teller never outcome=0
    shift
    # Not by `sleep`: it would outlive its shell, and keep open what the caller reads to its end.
    exec {never}<> <(:)
    (while read -rt 15 -u "$never" || true; do say "$text"; done) &
    teller=$!
    "$@" || outcome=$?
    kill "$teller" 2>/dev/null || true
    wait "$teller" 2>/dev/null || true
    exec {never}>&-
    return $outcome
}
