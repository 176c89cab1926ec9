"""How the programs that hblink is compared with are configured: text in, text out.

Each is set up as its own manual says, for one address on the service LAN, with no failback, so that a situation is
not followed by a second move. Nothing here starts anything.
"""

from __future__ import annotations

from pathlib import Path

from tests.rig.bmc import CIPHER_SUITE, USER
from tests.rig.setting import BMC_ADDRESS, HEARTBEAT_ADDRESS, HEARTBEAT_INTERFACE, HOST, NODES, SERVICE, VIP

INTERFACE = "lan0"
STONITH = "bmc"  # the name of the plugin below, among the external ones
ADDRESS = VIP.split("/")[0]
# keepalived and ucarp want an order; heartbeat has one in haresources.
PRIORITY = {"alpha": 110, "beta": 100}
SKEW = {"alpha": 0, "beta": 50}
ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n"
    "hacluster:x:995:995::/nonexistent:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\nhaclient:x:995:\n",
}


def keepalived_conf(node: str, advert_s: float) -> str:
    """Return keepalived.conf(5). VRRP version 3, since version 2 knows whole seconds only; nopreempt on both."""
    return f"""\
global_defs {{
    router_id {node}
    vrrp_version 3
}}
vrrp_instance service {{
    state BACKUP
    nopreempt
    interface {INTERFACE}
    virtual_router_id 51
    priority {PRIORITY[node]}
    advert_int {advert_s:g}
    virtual_ipaddress {{
        {VIP} dev {INTERFACE}
    }}
}}
"""


def ha_cf(
    node: str, port: str, keepalive_ms: int | None, deadtime_ms: int | None, password_file: Path | None = None
) -> str:
    """Return heartbeat's ha.cf: both cables, its old resource manager; None leaves a time at its default.

    With a `password_file`, the other node's BMC is its STONITH device.
    """
    other = NODES[1 - NODES.index(node)]
    times = []
    if keepalive_ms is not None and deadtime_ms is not None:
        times = [f"keepalive {keepalive_ms}ms", f"warntime {deadtime_ms * 2 // 3}ms", f"deadtime {deadtime_ms}ms"]
    stonith = []
    if password_file is not None:
        stonith = [f"stonith_host {node} external/{STONITH} {other} {BMC_ADDRESS[other]} {USER} {password_file}"]
    return "\n".join(
        [
            "use_logd off",
            "logfacility none",
            "logfile /run/ha-log",
            "debugfile /run/ha-debug",
            *times,
            "baud 115200",
            f"serial {port}",
            f"ucast {HEARTBEAT_INTERFACE} {HEARTBEAT_ADDRESS[other]}",
            "auto_failback off",
            "crm off",
            f"node {' '.join(NODES)}",
            *stonith,
            "",
        ]
    )


def stonith_plugin() -> str:
    """Return a plugin for cluster-glue's stonith: off, read until it is OFF, on, with ipmitool as hblink uses it.

    Debian's own external/ipmi says `power reset`, proves nothing, and cannot be told the cipher suite of ipmi_sim.
    """
    tool = f'ipmitool -I lanplus -C {CIPHER_SUITE} -N 1 -R 2 -H "$ipaddr" -U "$userid" -f "$passwordfile" chassis power'
    return f"""\
#!/bin/sh
power() {{
    {tool} "$1" </dev/null 2>/dev/null
}}
case "$1" in
gethosts) echo "$hostname" ;;
getconfignames) echo hostname ipaddr userid passwordfile | tr " " "\\n" ;;
getinfo-*) echo "a BMC" ;;
status) power status >/dev/null ;;
on | off) power "$1" >/dev/null ;;
reset)
    power off >/dev/null || exit 1
    for turn in $(seq 100); do
        case "$(power status)" in *off) power on >/dev/null; exit 0 ;; esac
        sleep 0.1
    done
    exit 1
    ;;
*) exit 1 ;;
esac
"""


def haresources() -> str:
    """Return heartbeat's haresources: the address, at home on the first node."""
    return f"{NODES[0]} IPaddr2::{ADDRESS}/32/{INTERFACE}\n"


def authkeys() -> str:
    """Return heartbeat's authkeys."""
    return "auth 1\n1 sha1 bench\n"


def ucarp(node: str, up: Path, down: Path) -> list[str]:
    """Return ucarp's command line; `up` and `down` are the scripts that add and remove the address."""
    source = f"{SERVICE[INTERFACE][0]}{HOST[node]}"
    order = ["--advbase=1", f"--advskew={SKEW[node]}"]
    what = [f"--interface={INTERFACE}", f"--srcip={source}", "--vhid=1", "--pass=bench", f"--addr={ADDRESS}"]
    return ["/usr/sbin/ucarp", *what, *order, f"--upscript={up}", f"--downscript={down}"]


def address_script(verb: str) -> str:
    """Return a script for ucarp that adds (`add`) or removes (`del`) the address."""
    return f"#!/bin/sh\nexec ip address {verb} {VIP} dev {INTERFACE}\n"


def start_script(node: str, shelf: Path, own: Path, command: str) -> str:
    """Return the shell script that a booted node runs: its own name and directories, then the program in its place.

    `shelf` is what package.fetch unpacked; `own`/etc and `own`/usr lie over it. Nothing of it is seen outside the node.
    """
    return f"""\
set -e
hostname {node}
mount -t overlay -o ro,lowerdir={own}/usr:{shelf}/usr:/usr overlay /usr
mount -t overlay -o ro,lowerdir={own}/etc:{shelf}/etc:/etc overlay /etc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkdir -p /run/lock /run/heartbeat /run/resource-agents
test ! -d {shelf}/var/lib/heartbeat || cp -a {shelf}/var/lib/heartbeat /var/lib/
mkdir -p /var/lib/heartbeat
chown -R hacluster:haclient /run/heartbeat /var/lib/heartbeat
exec {command}
"""
