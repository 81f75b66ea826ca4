#!/usr/bin/env bash
# contract.sh: holds a daemon against openapi.json with schemathesis: no 5xx, no answer that is not described, nothing
# taken that is not described either. EXAMPLES (20) requests a route in each phase, SEED (1). Run it by engine.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
here=$root/tests/contract
examples=${EXAMPLES:-20}
seed=${SEED:-1}
pid=
dir=

# clean_up: the daemon first, then all that it made in the engine.
clean_up() {
    local instance
    trap - EXIT
    [ -z "$pid" ] || {
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    }
    instance=$(sed -n 's/.*"instance": *"\([^"]*\)".*/\1/p' "$dir/state/store.json" 2>/dev/null) || true
    [ -z "$instance" ] || {
        docker ps --all --quiet --filter "label=wharf.instance=$instance" | xargs -r docker rm --force --volumes >/dev/null
        docker volume ls --quiet --filter "label=wharf.instance=$instance" | xargs -r docker volume rm --force >/dev/null
    }
    # The volume with tether is every daemon's; one that was not there before and that nobody uses is this run's.
    docker volume ls --quiet --filter label=wharf.tether | grep -vxF -e "${tether_before:-none}" |
        xargs -r docker volume rm >/dev/null 2>&1 || true
    rm -rf "$dir"
}

# tools: schemathesis in a directory of its own, made again where the pinned versions change; sets venv to it.
tools() {
    local pins=$here/requirements.txt
    command -v python3 >/dev/null || { debian_like && apt_install python3; }
    command -v python3 >/dev/null || die "python3 is missing" "Install Python 3.10 or newer."
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        debian_like || die "python3 can't make virtual environments" "Install its modules venv and ensurepip."
        apt_install python3-venv
    fi
    venv=$target/contract/$(cat "$pins" <(python3 --version) | sha256sum | cut -c1-16)
    [ ! -e "$venv/ready" ] || return 0
    say "fetching schemathesis"
    rm -rf "$target/contract"
    python3 -m venv "$venv"
    # Nothing comes that is not pinned.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$pins" ||
        die "schemathesis could not be fetched" "pip's last words are above."
    touch "$venv/ready"
}

# daemon: one of its own, without a limit to the rate of its only client.
daemon() {
    local deadline=$((SECONDS + 60))
    printf '[rate]\nrequests = 0\n' >"$dir/wharf.toml"
    env -u WHARF_HOST -u WHARF_TOKEN "$target/debug/wharf" daemon --config "$dir/wharf.toml" --state-dir "$dir/state" \
        --socket "$dir/wharf.sock" --listen 127.0.0.1:0 >"$dir/log" 2>&1 </dev/null &
    pid=$!
    until grep -q 'wharf is ready' "$dir/log"; do
        kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $deadline ] || die "the daemon did not start" "$(tail -n 5 "$dir/log")"
        sleep 0.1
    done
    WHARF_CONTRACT_URL=$(grep -o 'http://127[^" ]*' "$dir/log" | head -n 1)
    WHARF_CONTRACT_TOKEN=$(cat "$dir/state/token")
    WHARF_CONTRACT_REPORT=$dir/report.json
    export WHARF_CONTRACT_URL WHARF_CONTRACT_TOKEN WHARF_CONTRACT_REPORT
}

tools
cargo build --quiet --locked --bin wharf
scripts/images.sh demo
tether_before=$(docker volume ls --quiet --filter label=wharf.tether)
dir=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT TERM
daemon
say "schemathesis: $examples examples, seed $seed"
failed=
# In its own directory, as it leaves caches where it runs.
(cd "$dir" && PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 "$venv/bin/st" --config-file "$here/schemathesis.toml" run \
    --no-color --max-examples "$examples" --seed "$seed" "$root/openapi.json") >"$dir/out" 2>&1 || failed=yes
[ -z "$failed" ] || cat "$dir/out" >&2
kill -0 "$pid" 2>/dev/null || die "the daemon did not outlive it" "$(tail -n 20 "$dir/log")"
"$venv/bin/python" "$here/summary.py" "$dir/report.json" "$root/openapi.json" >&2 || failed=yes
[ -z "$failed" ] || die "the API does not keep its contract" "The same again: make contract EXAMPLES=$examples SEED=$seed"
