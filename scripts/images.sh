#!/usr/bin/env bash
# images.sh NAME…: builds the images `demo`, `workspace` and `model-server` (of the tests) where their inputs changed.
# An image carries the hash of its inputs as a label; REBUILD=1 builds in any case. AGENTS="claude opencode" puts only those
# of the pinned agents into the workspace.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
. images/versions
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target/images"
# Two runs at once (a test beside a `make run`, another checkout) build one after the other: they share tags and engine.
exec 9>"${TMPDIR:-/tmp}/wharf-images.$(id -u).lock"
flock --nonblock 9 || {
    say "waiting for another build of images to end"
    flock 9
}
label=wharf.inputs

# BuildKit where the command line has it, else the classic builder of old.
docker_build() {
    if docker buildx version >/dev/null 2>&1; then
        DOCKER_BUILDKIT=1 docker build --progress=plain "$@"
    else
        DOCKER_BUILDKIT=0 docker build "$@"
    fi
}

# inputs DIR TEXT…: a hash over the files below DIR (names, which are programs, contents) and the texts. No other modes:
# they are the umask's of whoever checked out.
inputs() {
    local dir=$1
    shift
    (
        printf '%s\n' "$@"
        cd "$dir" && find . -type f \( -perm -100 -printf '%p x\n' -o -true \) -exec sha256sum {} + | LC_ALL=C sort
    ) | sha256sum | cut -d' ' -f1
}

# current IMAGE HASH: whether the engine has that image, made from these inputs.
current() {
    [ -z "${REBUILD:-}" ] &&
        [ "$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null)" = "$2" ]
}

# build NAME CONTEXT HASH [docker build's flags…]
build() {
    local name=$1 context=$2 hash=$3 log=$target/images/$1.log began=$SECONDS old
    old=$(docker image inspect --format '{{.Id}}' "wharf/$1:latest" 2>/dev/null) || old=
    shift 3
    say "building wharf/$name"
    local proxies=() variable
    for variable in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [ -z "${!variable:-}" ] || proxies+=(--build-arg "$variable")
    done
    if ! docker_build --label "$label=$hash" --label "org.opencontainers.image.version=$version" \
        -t "wharf/$name:latest" -t "wharf/$name:$version" "${proxies[@]}" "$@" "$context" 2>&1 9>&- |
        tee "$log" | steps; then
        tail -n 30 "$log" >&2
        die "building wharf/$name failed" "The whole log: $log"
    fi
    # What it replaces goes, unless a container still stands on it: the engine refuses then.
    [ -z "$old" ] || [ "$old" = "$(docker image inspect --format '{{.Id}}' "wharf/$name")" ] ||
        docker image rm "$old" >/dev/null 2>&1 || true
    say "wharf/$name: $(size "wharf/$name"), built in $((SECONDS - began)) s"
}

# The builder's steps, one line each, as progress.
steps() {
    local line
    while IFS= read -r line; do
        case $line in
        "Step "* | "#"[0-9]*" ["*) say "  ${line:0:110}" ;;
        esac
    done
}

size() { megabytes "$(docker image inspect --format '{{.Size}}' "$1")"; }

# The programs that run inside containers, static; in a target directory of their own, so that a build of the daemon at
# the same time neither waits nor makes them anew.
inside() {
    local triple
    triple=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS='-C target-feature=+crt-static' cargo build --quiet --locked --profile inside --no-default-features \
        --features "$2" --bin "$1" --target "$triple" --target-dir "$target/inside" 9>&- ||
        die "building $1 failed"
    echo "$target/inside/$triple/inside/$1"
}

# A static busybox: the host's, else the distribution's, unpacked without installing it.
static_busybox() {
    local found=$target/images/busybox
    if found=$(type -P busybox) && ! ldd "$found" >/dev/null 2>&1; then
        echo "$found"
        return
    fi
    found=$target/images/busybox/bin/busybox
    if [ ! -x "$found" ]; then
        debian_like || die "the demo image needs a static busybox" "Install one (often the package busybox-static)."
        fetch_busybox "$target/images/busybox"
    fi
    echo "$found"
}

fetch_busybox() {
    rm -rf "$1"
    mkdir -p "$1"
    (
        cd "$1"
        apt-get -qq download busybox-static >/dev/null 2>&1 || {
            apt_update
            apt-get -qq download busybox-static >/dev/null 2>&1
        } || die "could not fetch the package busybox-static"
        dpkg-deb -x busybox-static_*.deb .
        # Merged /usr or not, depending on the release.
        [ -x bin/busybox ] || { mkdir -p bin && cp usr/bin/busybox bin/busybox; }
    )
}

image_demo() {
    local context=$target/images/demo agent shell hash applet
    say "building the demo agent"
    agent=$(inside wharf-demo-agent inside)
    shell=$(static_busybox)
    hash=$(inputs images/demo "$(sha256sum <"$agent")" "$(sha256sum <"$shell")" "$(sha256sum <scripts/images.sh)")
    if current wharf/demo:latest "$hash"; then
        say "wharf/demo is up to date"
        return
    fi
    rm -rf "$context"
    mkdir -p "$context/root"/{bin,sbin,usr/bin,usr/sbin,etc,proc,sys,dev,tmp,run,opt/wharf} \
        "$context/root"/{workspace,home/agent,var/lib/wharf}
    install -m 755 "$shell" "$context/root/bin/busybox"
    install -m 755 "$agent" "$context/root/bin/wharf-demo-agent"
    for applet in $("$shell" --list-full); do
        [ "$applet" = bin/busybox ] || ln -sf /bin/busybox "$context/root/$applet"
    done
    printf 'root:x:0:0:root:/:/bin/sh\nagent:x:1000:1000:agent:/home/agent:/bin/sh\n' >"$context/root/etc/passwd"
    printf 'root:x:0:\nagent:x:1000:\n' >"$context/root/etc/group"
    chmod 1777 "$context/root/tmp"
    # tether's journal: root's, out of the agent's reach.
    chmod 700 "$context/root/var/lib/wharf"
    # An archive keeps the owners that files in a context lose, and nobody needs root to write one.
    local tar=(tar --directory "$context/root" --sort=name --mtime=@0 --numeric-owner --no-recursion)
    (cd "$context/root" && find . -mindepth 1 | grep -vE '^\./(workspace|home/agent)$') |
        "${tar[@]}" --owner=0 --group=0 --files-from=- -cf "$context/root.tar"
    "${tar[@]}" --owner=1000 --group=1000 -rf "$context/root.tar" ./workspace ./home/agent
    rm -rf "$context/root"
    cp images/demo/Dockerfile "$context/"
    build demo "$context" "$hash" --label "wharf.agent.demo=$version"
}

# The Debian underneath: the official image where a registry has it, else one made here from the packages.
base() {
    local official=debian:$DEBIAN-slim own=wharf/base:$DEBIAN
    if docker image inspect "$official" >/dev/null 2>&1; then
        echo "$official"
    elif docker image inspect "$own" >/dev/null 2>&1; then
        echo "$own"
    elif say "asking the registry for $official" && timeout 60 docker pull --quiet "$official" >/dev/null 2>&1; then
        echo "$official"
    else
        make_base "$own" >&2
        echo "$own"
    fi
}

make_base() {
    debian_like || die "the registry does not answer and this is not Debian or Ubuntu" "docker pull debian:$DEBIAN-slim, or run this where it can."
    say "no registry: making a Debian $DEBIAN from its packages"
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || apt_install debian-archive-keyring
    command -v mmdebstrap >/dev/null || apt_install mmdebstrap
    local log=$target/images/base.log path exclude=()
    for path in man doc locale; do exclude+=("--dpkgopt=path-exclude=/usr/share/$path/*"); done
    if ! as_root mmdebstrap --quiet --variant=minbase --format=tar "${exclude[@]}" "$DEBIAN" - 2>"$log" |
        docker import --change "LABEL $label=base" - "$1" >/dev/null; then
        tail -n 20 "$log" >&2
        die "mmdebstrap failed" "The whole log: $log"
    fi
    say "$1: $(size "$1")"
}

# agents: the pinned agents as COMMAND=PACKAGE@VERSION, a line each; of them those named in AGENTS, where it is set.
agents() {
    local key value name
    for name in ${AGENTS:-}; do
        grep -qx "${name^^}=@\?[^@]*@.*" images/versions || die "AGENTS: images/versions pins no agent $name"
    done
    while IFS='=' read -r key value; do
        case $key in '' | '#'* | DEBIAN | NPM) continue ;; esac
        [ -z "${AGENTS:-}" ] || [[ " $AGENTS " = *" ${key,,} "* ]] || continue
        echo "${key,,}=$value"
    done <images/versions
}

image_workspace() {
    local context=$target/images/workspace hash base certificate agents agent flags=()
    rm -rf "$context"
    cp -R images/workspace "$context"
    for certificate in /usr/local/share/ca-certificates/*.crt; do
        [ ! -e "$certificate" ] || cp "$certificate" "$context/certs/"
    done
    agents=$(agents)
    hash=$(inputs "$context" "$DEBIAN" "$NPM" "$agents")
    if current wharf/workspace:latest "$hash"; then
        say "wharf/workspace is up to date"
        return
    fi
    base=$(base)
    # What the image says of itself, so that nobody has to start it to know: wharf.agent.NAME=VERSION.
    for agent in $agents; do flags+=(--label "wharf.agent.${agent%%=*}=${agent##*@}"); done
    build workspace "$context" "$hash" --build-arg "BASE=$base" --build-arg "NPM=$NPM" \
        --build-arg "AGENTS=${agents//$'\n'/ }" --build-arg "STAGE=$hash" "${flags[@]}"
    # The classic builder leaves the stage behind, 900 MB that no one asks for again until a version changes.
    docker image ls --quiet --filter "label=wharf.stage=$hash" --filter dangling=true |
        xargs -r docker image rm >/dev/null 2>&1 || true
}

# The model API that the tests run a real agent against; in a container, because that is what the agent can reach.
image_model_server() {
    local context=$target/images/model-server program hash
    program=$(inside wharf-model-server model-server)
    rm -rf "$context"
    mkdir -p "$context"
    cp tests/support/model_server/Dockerfile "$program" "$context/"
    hash=$(inputs "$context")
    if current wharf/model-server:latest "$hash"; then
        say "wharf/model-server is up to date"
        return
    fi
    build model-server "$context" "$hash"
}

[ $# -gt 0 ] || die "images.sh NAME…: demo, workspace, model-server"
for name in "$@"; do
    case $name in
    demo) image_demo ;;
    workspace) image_workspace ;;
    model-server) image_model_server ;;
    *) die "no image $name; there are demo, workspace, model-server" ;;
    esac
done
