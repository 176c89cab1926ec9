#!/bin/sh
# Install the system programs that the demo and the tests use, if any is missing. Needs root only then.
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
