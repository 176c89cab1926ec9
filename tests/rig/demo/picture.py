"""The picture: the wiring, who is what, who has the address, and what each cable carries, on 80 by 24 characters.

Draws a reading and knows nothing else. Plain ASCII; colour is added at the end, says nothing that the letters do not
say, and is left out when it is not wanted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hblink.cli.terminal import clean, cut
from tests.rig.demo.gauge import MARK_NS, LinkReading, NodeReading, Reading, WayReading
from tests.rig.setting import VIP

WIDTH, HEIGHT = 79, 24
TEXT = 22  # columns inside a node's box
BOX = TEXT + 4
GAP = WIDTH - 1 - 2 * BOX - 1  # columns between the boxes
LEFT_CABLE, RIGHT_CABLE, CLIENT_CABLE = 13, 65, 39  # columns of the service LAN's cables
STRIP = 68  # marks on a line
ARROW = 8
ADDRESS = VIP.split("/")[0]

_COLOUR = (
    (re.compile(r"\b(ACTIVE|CLAIMING|VIP \S+ \(\d of \d\))"), "1;32"),
    (re.compile(r"\b(DEAD|OFF|DOWN|NOBODY|FENCING|BLOCKED|cut)\b"), "1;31"),
    (re.compile(r"\b(STANDBY|YIELDING|ALPHA|BETA|CLIENT|HBLINK)\b"), "1"),
    (re.compile(r"\b(BOOTING|STARTING|degraded|jeopardy|peer_late|peer_lost|link_in_down|link_out_down)\b"), "33"),
)


@dataclass(frozen=True, slots=True)
class Caption:
    """What the story is at: its steps so far as the seconds at which they began, and words on the current one."""

    starts: tuple[float, ...]
    steps: int
    title: str
    words: str
    last: str = ""  # the last happening


def draw(reading: Reading, caption: Caption, elapsed_s: float, phase: int) -> list[str]:
    """Return HEIGHT lines of at most WIDTH columns; `phase` moves the frames along the cables."""
    alpha, beta = reading.nodes
    lines = [
        _spread(" HBLINK  two nodes, one service address, two heartbeat cables", f"{elapsed_s:.1f} s "),
        "",
        _client(reading),
        _cables("", "|", ""),
        _lan(),
        _cables(_tag(alpha, reading.vips), "", _tag(beta, reading.vips)),
        *_boxes(reading, phase),
        *_strip(reading.client.marks, caption),
        _rule(f" {len(caption.starts)} of {caption.steps}: {caption.title} "),
        f" {caption.words}",
        f" > {caption.last}" if caption.last else "",
        *(f" {line}" for line in reading.log),
    ]
    lines += [""] * (HEIGHT - len(lines))
    return [cut(clean(line), WIDTH).rstrip() for line in lines]


def paint(line: str) -> str:
    """Add colour to a drawn line (ECMA-48 SGR)."""
    for pattern, code in _COLOUR:
        line = pattern.sub(f"\x1b[{code}m\\g<0>\x1b[0m", line)
    return line


# ---- the service LAN ----


def _client(reading: Reading) -> str:
    client = reading.client
    if client.age_ms is None:
        seen = "NOBODY answers yet"
    elif client.owner is None:
        seen = f"NOBODY answers, for {client.age_ms:.0f} ms"
    else:
        seen = f"answered by {client.owner.upper()}, {client.age_ms:.0f} ms ago"
    longest = "-" if client.longest_ms is None else f"{client.longest_ms:.0f} ms"
    return _spread(f" CLIENT asks {ADDRESS}: {seen}", f"longest gap {longest} ")


def _lan() -> str:
    wire = list(" " + "=" * (WIDTH - 2))
    for column in (LEFT_CABLE, CLIENT_CABLE, RIGHT_CABLE):
        wire[column] = "+"
    name = " service LAN "
    wire[CLIENT_CABLE - 22 : CLIENT_CABLE - 22 + len(name)] = name
    return "".join(wire)


def _cables(left: str, middle: str, right: str) -> str:
    """A line of cables, with tags: the left one's and the right one's both on the picture's inner side."""
    line = [" "] * WIDTH
    for column, text in ((LEFT_CABLE, left), (CLIENT_CABLE, middle)):
        line[column : column + len(text)] = text
    line[RIGHT_CABLE + 1 - len(right) : RIGHT_CABLE + 1] = right
    return "".join(line)


def _tag(node: NodeReading, vips: int) -> str:
    """The cable of a node, and beside it the VIPs that its kernel has."""
    cable = "|" if node.runs else ":"
    if not node.held:
        return cable
    tag = f"VIP {ADDRESS} ({node.held} of {vips})"
    return f"{cable} {tag}" if node.name == "alpha" else f"{tag} {cable}"


# ---- the nodes and the cables between them ----


def _boxes(reading: Reading, phase: int) -> list[str]:
    alpha, beta = (_box(node, peer, reading.vips) for node, peer in (reading.nodes, reading.nodes[::-1]))
    between = ["", *(line for link in reading.links for line in _cable(link, reading.nodes, phase))]
    between += [""] * (len(alpha) - len(between))
    return [
        f" {left}{middle:^{GAP}}{right}"
        for left, middle, right in zip(alpha, (f"{text:<{GAP - 2}}" for text in between), beta, strict=True)
    ]


def _box(node: NodeReading, peer: NodeReading, vips: int) -> list[str]:
    """Ten lines: the node, and below it its BMC, which lives on when the node is dead (its outline turns to dots)."""
    edge, side = ("-", "|") if node.runs else (".", ":")
    border = f"+{edge * (BOX - 2)}+"
    ready = {None: "not read yet", True: "yes", False: "NO"}[node.can_fence]
    if not node.speaks:
        rows = ["", "", "", "", ""]
    else:
        rows = [
            _spread("addresses", f"{node.held} of {vips}", TEXT),
            _spread("epoch", f"{node.epoch}", TEXT),
            _spread(f"can fence {peer.name}", ready, TEXT),
            _spread(f"if {peer.name} died", node.outlook or "-", TEXT),
            _spread("alarms", _alarms(node), TEXT),
        ]
    rows.insert(0, _spread(node.name.upper(), node.condition, TEXT))
    bmc = _spread(f"BMC power {'on' if node.power else 'OFF'}", f"fenced {node.fences}x", TEXT)
    body = [f"{side} {row:<{TEXT}} {side}" for row in rows]
    steady = f"+{'-' * (BOX - 2)}+"
    return [border, *body, steady, f"| {bmc:<{TEXT}} |", steady]


def _alarms(node: NodeReading) -> str:
    """The most telling alarm of a node, and how many there are besides."""
    if not node.alarms:
        return "none"
    order = ("blocked", "peer_lost", "degraded")
    first = next((code for code in order if code in node.alarms), node.alarms[0])
    return first if len(node.alarms) == 1 else f"{first} +{len(node.alarms) - 1}"


def _cable(link: LinkReading, nodes: tuple[NodeReading, NodeReading], phase: int) -> list[str]:
    there = _way(link.there, nodes[0].speaks, phase)
    back = _way(link.back, nodes[1].speaks, phase + 3, backward=True)
    return [link.name, there, back]


def _way(way: WayReading, source_speaks: bool, phase: int, *, backward: bool = False) -> str:
    """An arrow with a frame that moves along it while frames arrive, and what `hblink status` says of it."""
    line = "=" if way.unit == "fr/s" else "-"
    if way.rate >= 0.5 and source_speaks:
        shaft = [line] * (ARROW - 1)
        shaft[phase % len(shaft)] = "o"
        arrow = "".join(shaft) + ">"
    elif way.state == "DOWN" and source_speaks:
        arrow = f"{line * 2}> cut "
    else:
        arrow = " " * ARROW
    if backward:
        arrow = f" cut <{line * 2}" if "cut" in arrow else arrow[::-1].replace(">", "<")
    return f"{arrow} {way.rate:4.0f} {way.unit:4} {way.state}"


# ---- below ----


def _strip(marks: str, caption: Caption) -> list[str]:
    """Two lines: the steps' numbers above who answered the client, half a second a mark; the newest STRIP of them."""
    dropped = max(0, len(marks) - STRIP)
    above = [" "] * STRIP
    for number, start in enumerate(caption.starts, 1):
        column = int(start * 1e9) // MARK_NS - dropped
        if 0 <= column < STRIP:
            above[column] = str(number)
    return [f" step     {''.join(above)}", f" answers  {marks[dropped:]}"]


def _rule(title: str) -> str:
    return f" --{title}".ljust(WIDTH - 1, "-")


def _spread(left: str, right: str, width: int = WIDTH) -> str:
    return f"{left}{right:>{max(width - len(left), len(right) + 1)}}"
