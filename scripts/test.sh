#!/usr/bin/env bash
# test.sh: everything that has to hold, one step after the other; the first that fails ends it. Run it by engine.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}

step() {
    local began=$SECONDS name=$1
    shift
    say "== $name"
    "$@" || die "$name failed after $((SECONDS - began)) s"
    say "== $name: done in $((SECONDS - began)) s"
}

# What the tests could leave behind: objects of the engine by label, and processes by the program that they run.
traces() {
    local label
    for label in wharf.instance wharf.test; do
        docker ps --all --quiet --no-trunc --filter "label=$label" | sed 's/^/container /'
        docker volume ls --quiet --filter "label=$label" | sed 's/^/volume /'
        docker network ls --quiet --no-trunc --filter "label=$label" | sed 's/^/network /'
    done | LC_ALL=C sort -u
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
    left=$(LC_ALL=C comm -13 <(echo "$before") <(traces) && processes)
    [ -z "$left" ] || {
        printf 'the tests left behind:\n%s\n' "$left" >&2
        return 1
    }
}

for tool in fmt clippy; do
    cargo "$tool" --version >/dev/null 2>&1 ||
        die "cargo $tool is missing" "Install it: rustup component add rustfmt clippy"
done
before=$(traces)
step "images" scripts/images.sh demo workspace model-server
step "format" cargo fmt --check
step "lints" cargo clippy --quiet --all-targets --locked -- -D warnings
step "documentation" env RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps --locked
say "== tests"
failed=
cargo test --locked || failed="the tests"
if [ -z "$failed" ]; then tests/systemd.sh || failed="the systemd units"; fi
# Also after a failure: what it left behind is part of the picture.
nothing_left || failed=${failed:-"cleaning up"}
[ -z "$failed" ] || die "$failed failed"
say "everything holds, in $SECONDS s"
