#!/bin/sh
# Install the system programs that the demo uses, and with "test" or "vm" what those need too, if any is missing. Needs
# root only then.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
missing=
need() { # program package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need ip iproute2
need ipmitool ipmitool
need ipmi_sim openipmi
need unshare util-linux
# Debian 12 has all agents in one package; later ones have a package for each.
need fence_ipmilan "$(apt-cache pkgnames fence-agents-ipmilan 2>/dev/null | grep -x fence-agents-ipmilan || echo fence-agents)"
need fence_dummy "$(apt-cache pkgnames fence-agents-dummy 2>/dev/null | grep -x fence-agents-dummy || echo fence-agents)"
if [ "${1:-}" = test ]; then # also what compiles the rig's modem lines, and what looks at the wire
    need cc "gcc libc6-dev"
    need tcpdump tcpdump
    need ping iputils-ping
    need sysctl procps
fi
if [ "${1:-}" = vm ]; then # also what builds the image and runs the guests
    need qemu-system-x86_64 qemu-system-x86
    need mmdebstrap mmdebstrap
    need mke2fs e2fsprogs
    need sfdisk fdisk
    need mkfs.fat dosfstools
    need mcopy mtools
    need syslinux syslinux
    [ -e /usr/lib/syslinux/mbr/gptmbr.bin ] || missing="$missing syslinux-common"
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
    need tmux tmux
fi
[ -z "$missing" ] && exit 0
echo "installing:$missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "no apt-get here: please install$missing yourself" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "not root: please run: apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
apt-get install -qq -y --no-install-recommends $missing >/dev/null
