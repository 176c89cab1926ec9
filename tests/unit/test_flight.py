"""The flight record: every event and effect survives the way to JSON and back, and a record replays to itself."""

from __future__ import annotations

import typing
from dataclasses import replace

import pytest

from hblink.core import effect, event
from hblink.core.state import initial
from hblink.core.step import step
from hblink.core.value import SECOND, Advert, Alarm, Grant, Memory, Power, Reason, Role, Settings
from hblink.flight import FlightError, head_line, read, replay, step_line

SETTINGS = Settings(me=0, preferred=0)
ADVERT = Advert(Role.STANDBY, 7, yielded=True, want=True, able=False)
MEMORY = Memory(7, ran=True, peer_heard=True, grant=Grant.FENCED, last_authentic_at=5)
SAMPLES = {
    "Memory": MEMORY,
    "Power": Power.OFF,
    "Alarm": Alarm("degraded", 1),
    "Reason": Reason.STALL,
    "bool": True,
    "int": 42,
}


def sample(cls: type) -> typing.Any:
    """An instance with every field set to something that is not its default."""
    hints = typing.get_type_hints(cls)
    fields = {name: SAMPLES.get(getattr(hint, "__name__", ""), 3) for name, hint in hints.items()}
    if cls is event.PeerBeat:
        fields["advert"] = ADVERT
    return cls(**fields)


@pytest.mark.parametrize("cls", typing.get_args(event.Event), ids=lambda cls: cls.__name__)
def test_every_event_comes_back_equal(cls: type) -> None:
    state = initial(SETTINGS)
    line = step_line(1, sample(cls), state, state, ())
    _, steps = read([head_line(SETTINGS, "alpha", "1"), line])
    assert next(steps).event == sample(cls)


@pytest.mark.parametrize("cls", typing.get_args(effect.Effect), ids=lambda cls: cls.__name__)
def test_every_effect_comes_back_equal(cls: type) -> None:
    state = initial(SETTINGS)
    line = step_line(1, event.Woke(), state, state, (sample(cls),))
    _, steps = read([head_line(SETTINGS, "alpha", "1"), line])
    assert next(steps).effects == (sample(cls),)


def test_settings_come_back_equal() -> None:
    settings = replace(SETTINGS, me=1, deadtime_ns=7, guarantee=SETTINGS.guarantee)
    assert read([head_line(settings, "alpha", "1")])[0] == settings


def test_a_record_replays_to_the_same_effects() -> None:
    events = (
        event.Started(Memory()),
        event.Released(1),
        event.LinkOpened(0),
        event.PeerBeat(0, Advert(Role.STANDBY, 0), echo_sent_at=12 * SECOND, hears=3),
        event.Activated(2),
    )
    state, lines = initial(SETTINGS), [head_line(SETTINGS, "alpha", "1")]
    for number, happened in enumerate(events):
        at = (10 + number) * SECOND
        before = state
        state, effects = step(SETTINGS, state, happened, at)
        lines.append(step_line(at, happened, before, state, effects))
    assert state.role is Role.ACTIVE
    settings, steps = read(lines)
    replayed = list(replay(settings, steps))
    assert [again for _, _, again in replayed] == [recorded.effects for recorded, _, _ in replayed]
    assert replayed[-1][1] == state


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "line 2"),
        ("{}", "line 2"),
        ('{"at":1,"event":{"type":"Nonsense"},"before":"","after":"","effects":[]}', "Nonsense"),
        ('{"at":1,"event":{"type":"LinkOpened","link":"x"},"before":"","after":"","effects":[]}', "whole number"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    _, steps = read([head_line(SETTINGS, "alpha", "1"), line])
    with pytest.raises(FlightError, match=message):
        next(steps)


def test_a_bad_head_is_named() -> None:
    with pytest.raises(FlightError, match="line 1"):
        read(["not json"])
