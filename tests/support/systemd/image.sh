#!/usr/bin/env bash
# image.sh TAG DIR: makes an image that boots systemd, without a download: the host's /usr is mounted at run time, the rest
# is a tiny root file system with DIR laid over it.
set -euo pipefail
cd "$(dirname "$0")"
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
mkdir -p "$top"/{proc,sys,dev,run,tmp,root,home,usr,opt} "$top"/var/{log/journal,lib,cache,tmp} "$top"/etc/systemd/system
for link in bin sbin lib lib64; do [ ! -e /$link ] || ln -s usr/$link "$top/$link"; done
chmod 1777 "$top/tmp" "$top/var/tmp"
ln -s /run "$top/var/run"
for file in passwd group shadow gshadow nsswitch.conf ld.so.conf ld.so.conf.d ld.so.cache pam.d security dbus-1 alternatives \
    default login.defs os-release debian_version localtime; do
    [ ! -e "/etc/$file" ] || cp -a "/etc/$file" "$top/etc/"
done
cp -a /etc/systemd/*.conf "$top/etc/systemd/"
: >"$top/etc/machine-id"
: >"$top/etc/fstab"
# Units of the host's packages that have no business here.
for unit in podman.service podman.socket podman-auto-update.timer podman-restart.service docker.service docker.socket \
    containerd.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer; do
    ln -s /dev/null "$top/etc/systemd/system/$unit"
done
ln -s /lib/systemd/system/multi-user.target "$top/etc/systemd/system/default.target"
# The engine's socket, mounted in, keeps its group's number; the group's name must lead to it.
gid=$(stat -c %g /var/run/docker.sock)
if grep -q '^docker:' "$top/etc/group"; then
    sed -i "s/^docker:\([^:]*\):[^:]*:/docker:\1:$gid:/" "$top/etc/group"
else
    echo "docker:x:$gid:" >>"$top/etc/group"
fi
install -m 755 container-init "$top/container-init"
cp -a "$2"/. "$top/"
tar -C "$top" -c . |
    docker import -c 'LABEL wharf.test=systemd' -c 'ENV container=docker' -c 'CMD ["/container-init"]' - "$1" >/dev/null
