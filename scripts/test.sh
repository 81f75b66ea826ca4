#!/usr/bin/env bash
# test.sh: everything that has to hold, one step after the other; the first that fails ends it. Run it by engine.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
images_pid=
cpu=0
cpu_file=$(mktemp)

# count_cpu: sets cpu to the seconds that this shell's ended children used, user and system. By way of a file, because
# a subshell's count begins at zero.
count_cpu() {
    times >"$cpu_file"
    cpu=$(tail -n 1 "$cpu_file" |
        awk '{ split($1, u, /[ms]/); split($2, s, /[ms]/); printf "%d", u[1] * 60 + u[2] + s[1] * 60 + s[2] }')
}

# step NAME COMMAND…: fails where the command does; says what it took.
step() {
    local began=$SECONDS name=$1 before
    count_cpu
    before=$cpu
    shift
    say "== $name"
    if "$@"; then
        count_cpu
        say "== $name: done in $((SECONDS - began)) s, $((cpu - before)) s of CPU"
    else
        say "== $name: FAILED after $((SECONDS - began)) s"
        return 1
    fi
}

# What the tests could leave behind: objects of the engine by label, and processes by the program that they run. The
# volumes with tether, which all daemons of a version share, are among them.
traces() {
    local label
    for label in wharf.instance wharf.tether wharf.test; do
        docker ps --all --no-trunc --filter "label=$label" --format 'container {{.ID}} {{.Names}}'
        docker volume ls --quiet --filter "label=$label" | sed 's/^/volume /'
        docker network ls --no-trunc --filter "label=$label" --format 'network {{.ID}} {{.Name}}'
        docker image ls --no-trunc --filter "label=$label" --format 'image {{.ID}}'
    done | LC_ALL=C sort -u
    docker image ls --filter 'reference=wharf-test*' --format 'image {{.Repository}}:{{.Tag}}'
}

processes() {
    local exe program
    for exe in /proc/[0-9]*/exe; do
        program=$(readlink "$exe" 2>/dev/null) || continue
        case $program in
        "$target"/debug/*) exe=${exe#/proc/} && echo "process ${exe%/exe} ($program)" ;;
        esac
    done
}

# Whatever is there now and was not before; a daemon of the user's own may run beside the tests.
nothing_left() {
    local left
    left=$(LC_ALL=C comm -13 <(LC_ALL=C sort <<<"$traces_before") <(traces | LC_ALL=C sort) && processes)
    [ -z "$left" ] || {
        printf 'the tests left behind:\n%s\n' "$left" >&2
        return 1
    }
}

# The images need the network more than the processor: they are made while the lints compile.
images_start() {
    scripts/images.sh demo workspace model-server &
    images_pid=$!
}

images_wait() { wait "$images_pid"; }

# The leftovers are looked for also after a failure: what a test left behind is part of the picture.
tests() {
    local failed=
    step "tests" cargo test --locked --no-fail-fast || failed=yes
    [ -n "$failed" ] || step "the API's contract" scripts/contract.sh || failed=yes
    [ -n "$failed" ] || step "the systemd units" tests/systemd.sh || failed=yes
    step "nothing is left behind" nothing_left || failed=yes
    [ -z "$failed" ]
}

for tool in fmt clippy; do
    cargo "$tool" --version >/dev/null 2>&1 ||
        die "cargo $tool is missing" "Install it: rustup component add rustfmt clippy"
done
traces_before=$(traces)
step "format" cargo fmt --check
trap 'rm -f "$cpu_file"; [ -z "$images_pid" ] || kill "$images_pid" 2>/dev/null || true' EXIT
images_start
step "lints" while_waiting "still linting" cargo clippy --quiet --all-targets --locked -- -D warnings
step "documentation" env RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps --locked
step "compiling the tests" while_waiting "still compiling" cargo test --quiet --locked --no-run
step "images" images_wait
images_pid=
tests
count_cpu
say "everything holds, in $SECONDS s, $cpu s of CPU"
