#!/usr/bin/env bash
# versions.sh [KEY=VERSION…]: moves the versions pinned in images/versions: those named to what was said, else every agent to
# the newest that the npm registry has. Where the registry does not answer, nothing changes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
file=$root/images/versions

# registry PACKAGE@VERSION: the version that npm finds under that name. By the host's npm, else by the one in the workspace
# image, on the host's network.
registry() {
    local variable flags=()
    if command -v npm >/dev/null; then
        timeout 60 npm view --silent "$1" version </dev/null
    else
        for variable in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
            [ -z "${!variable:-}" ] || flags+=(--env "$variable")
        done
        timeout 60 docker run --rm --network host "${flags[@]}" wharf/workspace:latest \
            npm view --silent "$1" version </dev/null
    fi
}

# pinned KEY: its value; fails where the file has no such key.
pinned() { sed -n "s/^$1=//p" "$file" | grep .; }

# wanted: the keys and the versions to move them to, from the arguments, else all agents and `latest`.
wanted() {
    local argument key
    for argument; do
        key=${argument%%=*}
        case $argument in
        DEBIAN=*) die "DEBIAN is no npm package: edit images/versions" ;;
        [A-Z]*=?*) pinned "$key" >/dev/null || die "images/versions pins no $key" ;;
        *) die "$argument is not like CLAUDE=2.1.330" ;;
        esac
        echo "$key ${argument#*=}"
    done
    [ $# -gt 0 ] || sed -n 's/^\([A-Z]*\)=.*@.*/\1 latest/p' "$file"
}

# move KEY VERSION: prints the line that is to stand in the file, once the registry has said that there is such a version.
move() {
    local package=$1 old found
    old=$(pinned "$1")
    # An agent's value is its package and version; npm's own is only the version.
    case $old in *@*) package=${old%@*} ;; *) package=npm ;; esac
    found=$(registry "$package@$2") || die "the npm registry did not tell a version of $package@$2; nothing was changed"
    [[ $found =~ ^[0-9]+\.[0-9]+\.[0-9A-Za-z.+-]+$ ]] ||
        die "the npm registry has no version $package@$2; nothing was changed"
    case $old in *@*) found=$package@$found ;; esac
    [ "$old" = "$found" ] && say "$1 stays ${old##*@}" || say "$1 ${old##*@} -> ${found##*@}"
    echo "$1=$found"
}

lines=$(wanted "$@")
moved=$(while read -r key version; do move "$key" "$version" || exit 1; done <<<"$lines")
new=$(mktemp "$file.XXXXXX")
trap 'rm -f "$new"' EXIT
awk -F= 'NR == FNR { line[$1] = $0; next } $1 in line { $0 = line[$1] } { print }' <(printf '%s\n' "$moved") "$file" >"$new"
if cmp -s "$new" "$file"; then
    say "nothing to change"
else
    chmod --reference="$file" "$new"
    mv "$new" "$file"
    say "wrote images/versions; now: make images"
fi
