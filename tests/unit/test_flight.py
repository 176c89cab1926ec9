"""The flight record: every event and effect survives the way to JSON and back, and a record replays to itself."""

from __future__ import annotations

import typing
from dataclasses import replace

import pytest

from hblink.core import effect, event
from hblink.core.state import LinkView, initial
from hblink.core.step import step
from hblink.core.value import SECOND, Advert, Alarm, Grant, Holder, Memory, Power, Reason, Role, Settings
from hblink.flight import FlightError, head_line, read, replay, step_line

SETTINGS = Settings(me=0, preferred=0)
ADVERT = Advert(Role.STANDBY, 7, yielded=True, want=True, able=False)
MEMORY = Memory(7, ran=True, peer_heard=True, grant=Grant.FENCED, last_authentic_at=5, fences=(3, 4))
SAMPLES = {
    "Memory": MEMORY,
    "Power": Power.OFF,
    "Holder": Holder.PEER,
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
    [(_, step)] = read([head_line(SETTINGS, "alpha", "1"), line])
    assert step.event == sample(cls)


@pytest.mark.parametrize("present", [True, False, None])
def test_what_is_felt_of_a_far_end_comes_back_equal(present: bool | None) -> None:
    happened = event.LinkSignalChanged(1, present)
    before = replace(initial(SETTINGS), links=(LinkView(open=True, signal=True), LinkView(signal_lost_at=7)))
    line = step_line(8, happened, before, before, (), whole=True)
    [(_, recorded)] = read([head_line(SETTINGS, "alpha", "1"), line])
    assert (recorded.event, recorded.state) == (happened, before)


@pytest.mark.parametrize("cls", typing.get_args(effect.Effect), ids=lambda cls: cls.__name__)
def test_every_effect_comes_back_equal(cls: type) -> None:
    state = initial(SETTINGS)
    line = step_line(1, event.Woke(), state, state, (sample(cls),))
    [(_, step)] = read([head_line(SETTINGS, "alpha", "1"), line])
    assert step.effects == (sample(cls),)


def test_settings_come_back_equal() -> None:
    settings = replace(SETTINGS, me=1, deadtime_ns=7, guarantee=SETTINGS.guarantee)
    state = initial(settings)
    line = step_line(1, event.Woke(), state, state, ())
    assert [found for found, _ in read([head_line(settings, "alpha", "1"), line])] == [settings]


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
    replayed = list(replay(read(lines)))
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
    head = head_line(SETTINGS, "alpha", "1")
    with pytest.raises(FlightError, match=message):
        list(read([head, line, head]))


@pytest.mark.parametrize("head", ["not json", "{}", '{"flight":1,"settings":{}}'])
def test_a_bad_head_is_named(head: str) -> None:
    with pytest.raises(FlightError, match="line 1"):
        list(read([head]))


def life(**settings: int) -> list[str]:
    own = replace(SETTINGS, **settings)
    before = initial(own)
    after, effects = step(own, before, event.Started(Memory()), 10 * SECOND)
    return [head_line(own, "alpha", "1"), step_line(10 * SECOND, event.Started(Memory()), before, after, effects)]


def test_a_file_holds_several_lives_and_a_torn_last_line() -> None:
    lines = [*life(), *life(me=1)]
    assert [settings.me for settings, _ in read([*lines, lines[1][:40]])] == [0, 1]
    assert len(list(replay(read(lines)))) == 2


def test_a_record_that_begins_in_mid_flight_is_not_replayed() -> None:
    state = initial(SETTINGS)
    line = step_line(1, event.Woke(), state, state, ())
    with pytest.raises(FlightError, match="mid-flight"):
        list(replay(read([head_line(SETTINGS, "alpha", "1"), line])))


def test_a_record_from_before_there_were_drills_of_one_level_is_read() -> None:
    state = initial(SETTINGS)
    line = step_line(
        1, event.DrillRequested(4), state, state, (effect.PowerOff(7), effect.ReadPower(8), effect.PowerOn(9))
    )
    older = line.replace(',"level":null', "").replace(',"level_ready":false', "")
    assert older != line
    [(_, step)] = read([head_line(SETTINGS, "alpha", "1"), older])
    assert step.event == event.DrillRequested(4)
    assert step.effects == (effect.PowerOff(7), effect.ReadPower(8), effect.PowerOn(9))
