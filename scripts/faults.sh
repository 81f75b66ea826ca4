#!/usr/bin/env bash
# faults.sh PART…: the fault suite, long: ROUNDS (200) and SEED (by chance, printed) from the environment. Without a PART all
# of them. Run it by engine.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
fault_tools
scripts/images.sh demo workspace model-server
# As fast as a release, so that a gigabyte does not take hours; with the named crash points, which a release has not.
while_waiting "still compiling" cargo test --quiet --locked --profile faults --test faults --no-run
export ROUNDS=${ROUNDS:-200}
exec cargo test --quiet --locked --profile faults --test faults -- "$@"
