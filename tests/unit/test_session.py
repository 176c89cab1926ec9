"""The session: each receive rule, each reason it refuses for, adoption, and what its own frames say."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest
from hblink_wire import Expected, Frame, Keyring, Reject, Rejected, SessionState, Tlv, TlvType, decode, encode, new_key

from hblink.core.event import PeerBeat, PeerHalfOpen
from hblink.core.value import MS, SECOND, Advert, Role
from hblink.session import Identity, LinkReport, LinkTiming, PeerReport, Received, Session

CLUSTER = 4711
RING = Keyring((new_key(1, hashlib.sha256(b"one").digest()),), 1)
AGE = 1000 * MS
TIMINGS = (LinkTiming(100 * MS, 1000 * MS), LinkTiming(200 * MS, 1000 * MS))
STANDBY = Advert(Role.STANDBY, 0)
ACTIVE = Advert(Role.ACTIVE, 4, fence_ready=True, run_ever=True)
START = 50 * SECOND


def session(me: int, number: int = 1, *, at: int = START, first_seq: int = 1, started_at: int | None = None) -> Session:
    """A daemon's session; `number` tells the daemons of one node apart."""
    return Session(
        Identity(CLUSTER, me, 1 - me),
        TIMINGS,
        RING,
        session_id=100 * (me + 1) + number,
        started_at=at if started_at is None else started_at,
        echo_age_max_ns=AGE,
        boot_id=bytes([me + 1]) * 16,
        config_digest=b"cccccccc",
        software_version="0.1.0",
        first_seq=first_seq,
    )


def say(sender: Session, now: int, links: tuple[int, ...] = (0, 1), advert: Advert = STANDBY) -> dict[int, bytes]:
    return sender.compose(advert, links, now, 0b11)


def read(data: bytes, me: int, link: int = 0) -> Frame:
    """What a frame says, whoever it was for."""
    frame = decode(data, RING, Expected(CLUSTER, me, link))
    assert isinstance(frame, Frame)
    return frame


def pair(now: int = START) -> tuple[Session, Session]:
    """Two sessions that have adopted each other by `now`, and the first of which has said so."""
    alpha, beta = session(0, at=now - SECOND), session(1, at=now - SECOND)
    beta.receive(0, say(alpha, now)[0], now)
    alpha.receive(0, say(beta, now)[0], now)
    beta.receive(0, say(alpha, now)[0], now)
    alpha.receive(0, say(beta, now)[0], now)
    return alpha, beta


def reason(received: Received) -> Reject | None:
    return None if received.rejected is None else received.rejected.reason


def beat(received: Received) -> PeerBeat:
    (event,) = received.events
    assert isinstance(event, PeerBeat)
    return event


def forged(sender: Session, now: int, **change: Any) -> bytes:
    """A frame of `sender` on link 0 with fields changed by somebody who has the key."""
    frame = read(say(sender, now, (0,))[0], me=1 - sender._identity.me)
    return encode(dataclasses.replace(frame, **change), RING)


# Adoption


def test_three_ordinary_frames_make_both_sides_fresh() -> None:
    alpha, beta = session(0), session(1)
    first = beta.receive(0, say(alpha, START)[0], START + MS)
    assert first.events == (PeerHalfOpen(0),)
    second = alpha.receive(0, say(beta, START + 2 * MS)[0], START + 3 * MS)
    boots = [int.from_bytes(bytes([node + 1]) * 16, "big") for node in (0, 1)]
    assert beat(second) == PeerBeat(0, None, START, newest=True, adopted=True, hears=None, boot=boots[1])
    third = beta.receive(0, say(alpha, START + 4 * MS, advert=ACTIVE)[0], START + 5 * MS)
    assert beat(third) == PeerBeat(
        link=0,
        advert=ACTIVE,
        echo_sent_at=START + 2 * MS,
        newest=True,
        adopted=True,
        hears=0b01,
        boot=boots[0],
    )


def test_a_frame_says_up_exactly_when_it_echoes_the_adopted_session() -> None:
    alpha, beta = session(0), session(1)
    silent = read(say(alpha, START)[0], me=1)
    assert (silent.session_state, silent.echo_session, silent.echo_seq) == (SessionState.INIT, 0, 0)
    beta.receive(0, say(alpha, START)[0], START)
    answer = say(beta, START)[0]
    assert read(answer, me=0).session_state is SessionState.INIT
    assert read(answer, me=0).echo_session == alpha.session_id
    alpha.receive(0, answer, START)
    assert read(say(alpha, START)[0], me=1).session_state is SessionState.UP


def test_a_daemon_that_must_be_silent_answers_nobody() -> None:
    alpha, beta = session(0), session(1)
    assert beta.receive(0, say(alpha, START)[0], START).reply is None


def test_an_unknown_session_is_answered_at_once_and_says_nothing_of_this_node() -> None:
    alpha, beta = session(0), session(1)
    say(beta, START, advert=ACTIVE)
    received = beta.receive(0, say(alpha, START + MS)[0], START + 2 * MS)
    assert reason(received) is Reject.NOT_FRESH
    assert received.reply is not None
    answer = read(received.reply, me=0)
    assert (answer.session_state, answer.echo_session, answer.echo_seq) == (SessionState.INIT, alpha.session_id, 1)
    assert (answer.epoch, answer.flags, answer.hears, answer.tlvs) == (0, 0, 0, ())
    adopting = alpha.receive(0, received.reply, START + 3 * MS)
    assert beat(adopting).adopted
    assert beat(adopting).advert is None


def test_answers_are_limited_to_ten_a_second_on_a_link() -> None:
    alpha, beta = session(0), session(1)
    say(beta, START)
    replies = []
    for tick in range(1000):
        now = START + tick * MS
        replies.append(beta.receive(0, say(alpha, now, (0,))[0], now).reply)
    assert sum(reply is not None for reply in replies) == 10


def test_a_candidate_is_told_of_only_when_it_advances() -> None:
    alpha, beta = session(0), session(1)
    frames = say(alpha, START)
    later = say(alpha, START + MS)
    assert beta.receive(0, later[0], START).events == (PeerHalfOpen(0),)
    assert beta.receive(0, frames[0], START).events == ()
    assert reason(beta.receive(0, later[0], START)) is Reject.REPLAYED
    assert beta.receive(1, frames[1], START).events == ()
    assert beta.receive(1, later[1], START).events == ()


def test_candidates_are_held_in_bounds() -> None:
    beta = session(1)
    say(beta, START)
    for number in range(1, 99):
        assert beta.receive(0, say(session(0, number), START)[0], START).events == (PeerHalfOpen(0),)
    assert len(beta._candidates) == 32


def test_a_restarted_peer_is_adopted_and_its_old_words_are_void() -> None:
    alpha, beta = pair()
    now = START + 400 * MS
    restarted = session(0, 2, at=now)
    received = beta.receive(0, say(restarted, now)[0], now)
    assert received.events == (PeerHalfOpen(0),)
    assert received.reply is not None
    assert beat(restarted.receive(0, received.reply, now + MS)).adopted
    adopting = beat(beta.receive(0, say(restarted, now + 2 * MS, advert=ACTIVE)[0], now + 3 * MS))
    assert adopting.adopted
    assert adopting.advert == ACTIVE
    assert reason(beta.receive(0, say(alpha, now + 4 * MS)[0], now + 5 * MS)) is Reject.RETIRED_SESSION
    assert beta.peer_report() == PeerReport(restarted.session_id, b"\x01" * 16, None, None, 1, (), frozenset())


def test_a_restarted_daemon_adopts_the_peer_that_remembers_its_predecessor() -> None:
    _, beta = pair()
    now = START + 400 * MS
    restarted = session(0, 2, at=now)
    say(restarted, now)
    received = restarted.receive(0, say(beta, now)[0], now)
    assert received.events == (PeerHalfOpen(0),)
    assert received.reply is not None
    assert beat(beta.receive(0, received.reply, now + MS)).adopted
    assert beat(restarted.receive(0, say(beta, now + 2 * MS, advert=ACTIVE)[0], now + 3 * MS)).advert == ACTIVE


def test_while_the_adopted_session_is_heard_nobody_else_is_answered() -> None:
    """Else a replayed frame of a forgotten session would turn my frames away from the peer that is there."""
    forgotten = [say(session(0, 9), START)[0], say(session(0, 8), START)[0]]
    alpha, beta = pair()
    received = beta.receive(0, forgotten[0], START + 10 * MS)
    assert received.reply is None
    assert received.events == (PeerHalfOpen(0),)
    assert read(say(beta, START + 20 * MS)[0], me=0).echo_session == alpha.session_id


def test_a_frame_of_an_earlier_daemon_cannot_displace_its_successor() -> None:
    """Two quick restarts: the frame of the middle one comes last, echoes a young sequence, and is not believed."""
    _, beta = pair()
    now = START + 400 * MS
    middle, last = session(0, 2, at=now), session(0, 3, at=now)
    echoes = say(beta, now)[0]
    middle.receive(0, echoes, now)
    held_back = say(middle, now)[0]
    last.receive(0, echoes, now)
    assert beat(beta.receive(0, say(last, now)[0], now)).adopted
    late = beta.receive(0, held_back, now + 300 * MS)
    assert reason(late) is Reject.NOT_FRESH
    assert late.events == (PeerHalfOpen(0),)
    report = beta.peer_report()
    assert report is not None
    assert report.session == last.session_id


def test_a_wrongly_adopted_earlier_daemon_gives_way_to_the_live_one() -> None:
    _, beta = pair()
    now = START + 400 * MS
    middle, last = session(0, 2, at=now), session(0, 3, at=now)
    echoes = say(beta, now)[0]
    middle.receive(0, echoes, now)
    last.receive(0, echoes, now)
    assert beat(beta.receive(0, say(middle, now)[0], now)).adopted
    assert reason(beta.receive(0, say(last, now)[0], now)) is Reject.NOT_FRESH
    last.receive(0, say(beta, now + 100 * MS)[0], now + 100 * MS)
    assert beat(beta.receive(0, say(last, now + 200 * MS)[0], now + 200 * MS)).adopted


def test_crossed_one_way_links_stay_fresh_and_survive_a_restart() -> None:
    alpha, beta = session(0), session(1)
    now = START
    beats = 0
    for tick in range(100):
        now = START + tick * 100 * MS
        if tick == 50:
            alpha = session(0, 2, at=now)
        from_beta = beta.receive(0, say(alpha, now)[0], now)
        from_alpha = alpha.receive(1, say(beta, now, advert=ACTIVE)[1], now)
        if 5 < tick < 50 or tick >= 56:
            assert beat(from_beta).hears == 0b10
            assert beat(from_alpha).advert == ACTIVE
            assert beat(from_alpha).hears == 0b01
            beats += 1
    assert beats == 88


# R0 and R1 come from wire; here only that they are counted and lead to nothing


def test_what_wire_refuses_is_counted_on_its_link_and_changes_nothing() -> None:
    alpha, beta = pair()
    frames = say(alpha, START + MS)
    assert reason(beta.receive(1, frames[0], START + MS)) is Reject.WRONG_LINK
    assert reason(alpha.receive(0, frames[0], START + MS)) is Reject.REFLECTED
    broken = frames[0][:-1] + bytes((frames[0][-1] ^ 1,))
    refused = beta.receive(0, broken, START + MS)
    assert refused == Received((), None, Rejected(Reject.BAD_HMAC, "key id 1"))
    beta.count(1, Rejected(Reject.NOISE))
    assert beta.link_report(0, START).rejected["bad_hmac"] == 1
    assert beta.link_report(1, START).rejected == {"wrong_link": 1, "noise": 1}
    assert beat(beta.receive(0, frames[0], START + MS)).newest


# R4 to R7


def test_a_sequence_counts_once_on_each_link_and_only_forwards() -> None:
    alpha, beta = pair()
    old, new = say(alpha, START + MS), say(alpha, START + 2 * MS)
    assert beat(beta.receive(0, new[0], START + 3 * MS)).newest
    assert reason(beta.receive(0, new[0], START + 3 * MS)) is Reject.REPLAYED
    assert reason(beta.receive(0, old[0], START + 3 * MS)) is Reject.REPLAYED
    same = beat(beta.receive(1, new[1], START + 3 * MS))
    assert (same.newest, same.advert, same.hears) == (False, None, None)
    assert reason(beta.receive(1, old[1], START + 3 * MS)) is Reject.REPLAYED


def test_an_overtaken_frame_is_fresh_but_not_applied() -> None:
    alpha, beta = pair()
    slow = say(alpha, START + MS, advert=ACTIVE)[1]
    fast = say(alpha, START + 2 * MS)[0]
    assert beat(beta.receive(0, fast, START + 3 * MS)).advert == STANDBY
    overtaken = beat(beta.receive(1, slow, START + 4 * MS))
    assert (overtaken.newest, overtaken.advert) == (False, None)


def test_a_frame_far_behind_the_newest_is_stale_and_moves_nothing() -> None:
    alpha, beta = pair()
    slow = say(alpha, START + MS)[1]
    now = START + MS + AGE + 2 * MS
    alpha.receive(0, say(beta, now)[0], now)
    beta.receive(0, say(alpha, now)[0], now)
    late = beta.receive(1, slow, now)
    assert reason(late) is Reject.STALE
    assert late.events == ()
    assert read(say(beta, now)[1], me=0, link=1).echo_lag == 255


def test_an_echo_grows_old() -> None:
    alpha, beta = pair()
    assert beat(beta.receive(0, say(alpha, START + AGE - MS)[0], START + AGE - 1)).echo_sent_at == START
    late = beta.receive(0, say(alpha, START + AGE)[0], START + AGE)
    assert reason(late) is Reject.NOT_FRESH
    assert late.events == (PeerHalfOpen(0),)


def test_what_is_echoed_was_told_to_the_core() -> None:
    """A half-open frame advances what my frames echo, so it must have been reported in the same call."""
    alpha, beta = pair()
    before = read(say(beta, START)[0], me=0).echo_seq
    data = say(alpha, START + 2 * AGE)[0]
    assert beta.receive(0, data, START + 2 * AGE).events == (PeerHalfOpen(0),)
    after = read(say(beta, START + 2 * AGE)[0], me=0).echo_seq
    assert after == read(data, me=1).seq > before


def test_a_frame_that_echoes_another_session_is_half_open() -> None:
    alpha, beta = pair()
    data = forged(alpha, START + MS, echo_session=12345)
    assert beta.receive(0, data, START + MS).events == (PeerHalfOpen(0),)


def test_init_and_a_critical_element_keep_alive_and_apply_nothing() -> None:
    alpha, beta = pair()
    init = beat(beta.receive(0, forged(alpha, START + MS, session_state=SessionState.INIT), START + MS))
    assert (init.newest, init.advert, init.hears) == (True, None, None)
    received = beta.receive(0, forged(alpha, START + 2 * MS, tlvs=(Tlv(0xFF, b""),)), START + 2 * MS)
    assert reason(received) is Reject.CRITICAL_TLV
    assert (beat(received).newest, beat(received).advert, beat(received).hears) == (True, None, None)
    assert beta.link_report(0, START).rejected["critical_tlv"] == 1


def test_a_silence_of_a_month_does_not_lock_the_peer_out() -> None:
    """tx_ms has passed half its range: it says nothing about a frame that nothing has overtaken."""
    alpha, beta = pair()
    now = START + 30 * 24 * 3600 * SECOND
    alpha.receive(0, say(beta, now)[0], now)
    assert beat(beta.receive(0, say(alpha, now)[0], now)).advert == STANDBY


def test_counters_wrap() -> None:
    """tx_ms and the low half of seq pass 2**32 in the middle of a conversation."""
    wrap_ns = (1 << 32) * MS
    begin = START + wrap_ns - 1000 * MS
    alpha = session(0, at=START, first_seq=(1 << 32) - 10)
    beta = session(1, at=START, first_seq=(1 << 32) - 12)
    seen = []
    for tick in range(40):
        now = begin + tick * 100 * MS
        from_alpha = say(alpha, now)
        slow = from_alpha[1]
        received = beta.receive(0, from_alpha[0], now)
        answer = say(beta, now)[0]
        alpha.receive(0, answer, now)
        if tick > 3:
            assert beat(received).advert == STANDBY
            assert beat(received).newest
            assert beat(beta.receive(1, slow, now)).newest is False
        seen.append((read(from_alpha[0], me=1).tx_ms, read(answer, me=0).echo_seq))
    assert seen[0][0] > seen[-1][0]
    assert seen[2][1] > seen[-1][1]
    assert beta.link_report(0, begin + 3900 * MS).rx_loss == 0


# What my frames say


def _changed(advert: Advert, name: str) -> Advert:
    change: dict[str, Any] = {name: not getattr(advert, name)}
    return dataclasses.replace(advert, **change)


def test_every_word_of_an_advert_arrives() -> None:
    alpha, beta = pair()
    names = [field.name for field in dataclasses.fields(Advert) if isinstance(field.default, bool)]
    adverts = [Advert(role, 0xFFFFFFFF) for role in Role]
    adverts += [dataclasses.replace(STANDBY, health=health) for health in (1, 100, 255)]
    adverts += [_changed(STANDBY, name) for name in names]
    for step, advert in enumerate(adverts):
        now = START + step * MS
        assert beat(beta.receive(0, say(alpha, now, advert=advert)[0], now)).advert == advert


def test_unknown_health_counts_as_able() -> None:
    alpha, beta = pair()
    advert = beat(beta.receive(0, forged(alpha, START + MS, health=255), START + MS)).advert
    assert advert is not None
    assert advert.able


def test_one_emission_has_one_sequence_and_one_instant_on_every_link() -> None:
    alpha = session(0)
    frames = say(alpha, START)
    first, second = read(frames[0], me=1), read(frames[1], me=1, link=1)
    assert (first.seq, first.tx_ms) == (second.seq, second.tx_ms)
    assert (first.tx_interval_ms, second.tx_interval_ms) == (100, 200)
    assert (first.multiplier, second.multiplier) == (10, 5)
    assert read(say(alpha, START)[0], me=1).seq == first.seq + 1


def test_per_link_fields_tell_what_was_heard_there() -> None:
    alpha, beta = pair()
    now = START + 100 * MS
    beta.receive(0, say(alpha, now)[0], now)
    beta.receive(1, say(alpha, now)[1], now)
    beta.receive(0, say(alpha, now)[0], now)
    frames = say(beta, now + 30 * MS)
    first, second = read(frames[0], me=0), read(frames[1], me=0, link=1)
    assert (first.echo_lag, second.echo_lag) == (0, 1)
    assert (first.hold_ms, second.hold_ms) == (30, 30)
    assert (first.hears, first.carrier) == (0b11, 0b11)
    late = read(say(beta, now + 1000 * MS)[0], me=0)
    assert late.hears == 0
    assert late.hold_ms == 1000
    assert read(say(beta, now + 99 * SECOND)[0], me=0).hold_ms == 0xFFFF


def test_the_boot_id_rides_until_its_echo_then_the_others_take_turns() -> None:
    alpha, beta = session(0), session(1)

    def carried(sender: Session, receiver: Session, now: int) -> int:
        data = say(sender, now, (0,))[0]
        receiver.receive(0, data, now)
        (tlv,) = read(data, me=1 - sender._identity.me).tlvs
        return tlv.type

    kinds = []
    for tick in range(7):
        kinds.append(carried(alpha, beta, START + tick * MS))
        carried(beta, alpha, START + tick * MS)
    boot, others = TlvType.BOOT_ID, {TlvType.CONFIG_DIGEST, TlvType.SOFTWARE_VERSION, TlvType.KEY_IDS}
    assert kinds[:2] == [boot, boot]
    assert set(kinds[-3:]) == others
    assert beta.peer_report() == PeerReport(alpha.session_id, b"\x01" * 16, b"cccccccc", "0.1.0", 1, (1,), frozenset())


def test_the_boot_id_is_told_again_to_a_new_session() -> None:
    alpha, beta = pair()
    for tick in range(1, 4):
        beta.receive(0, say(alpha, START + tick * MS)[0], START + tick * MS)
        alpha.receive(0, say(beta, START + tick * MS)[0], START + tick * MS)
    now = START + 400 * MS
    restarted = session(1, 2, at=now)
    reply = alpha.receive(0, say(restarted, now)[0], now).reply
    assert reply is not None
    restarted.receive(0, reply, now)
    alpha.receive(0, say(restarted, now)[0], now)
    restarted.receive(0, say(alpha, now)[0], now)
    report = restarted.peer_report()
    assert report is not None
    assert report.boot_id == b"\x01" * 16


def test_a_keyring_is_replaced_under_way() -> None:
    alpha, beta = pair()
    both = RING.with_key(new_key(2, hashlib.sha256(b"two").digest()))
    alpha.keyring = beta.keyring = both
    alpha.keyring = both.activated(2)
    for tick in range(1, 9):
        now = START + tick * MS
        assert beat(beta.receive(0, say(alpha, now)[0], now)).advert == STANDBY
        alpha.receive(0, say(beta, now)[0], now)
    report = beta.peer_report()
    assert report is not None
    assert (report.key_id, report.key_ids) == (2, (1, 2))


# What status shows


def test_a_link_report_measures_round_trip_and_loss() -> None:
    alpha, beta = pair()
    now = START
    for tick in range(1, 81):
        now = START + tick * 100 * MS
        data = say(alpha, now, (0,))[0]
        if tick % 4:  # one in four is lost on the way to beta
            beta.receive(0, data, now + 5 * MS)
        alpha.receive(0, say(beta, now + 50 * MS, (0,))[0], now + 57 * MS)
    report = beta.link_report(0, now + 5 * MS)
    assert report.rx_loss == 25
    mine = alpha.link_report(0, now + 57 * MS)
    assert mine.round_trip_ns is not None
    assert 11 * MS < mine.round_trip_ns < 13 * MS
    assert (mine.rx_loss, mine.peer_hears, mine.accepted) == (0, True, 82)
    assert mine.accepted_at == now + 57 * MS
    assert alpha.link_report(1, now).peer_hears is False


def test_a_link_that_fell_silent_loses_more_and_more() -> None:
    alpha, beta = pair()
    for tick in range(1, 11):
        beta.receive(0, say(alpha, START + tick * 100 * MS, (0,))[0], START + tick * 100 * MS)
    last = START + 1000 * MS
    assert beta.link_report(0, last + 100 * MS).rx_loss == 0
    assert 0 < beta.link_report(0, last + 500 * MS).rx_loss < 50
    assert beta.link_report(0, last + 3600 * SECOND).rx_loss == 100


def test_reports_before_any_frame_are_empty() -> None:
    assert session(0).peer_report() is None
    assert session(0).link_report(1, START) == LinkReport(None, None, 0, None, 0, {})


@pytest.mark.parametrize(
    "change",
    [
        {"session_id": 0},
        {"session_id": 1 << 64},
        {"boot_id": b"short"},
        {"config_digest": b""},
        {"software_version": ""},
        {"software_version": "v" * 33},
        {"software_version": "ä"},
        {"links": ()},
        {"links": TIMINGS * 3},
        {"links": (LinkTiming(0, 0),)},
    ],
)
def test_what_cannot_be_said_is_refused_at_the_start(change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {
        "identity": Identity(CLUSTER, 0, 1),
        "links": TIMINGS,
        "keyring": RING,
        "session_id": 1,
        "started_at": 0,
        "echo_age_max_ns": AGE,
        "boot_id": bytes(16),
        "config_digest": bytes(8),
        "software_version": "0.1.0",
    }
    with pytest.raises(ValueError):  # noqa: PT011 - any of several texts
        Session(**(arguments | change))


# What the peer promises (SAFETY S2e)


def test_a_promise_stands_while_the_watchdog_is_said_to_be_armed_and_ends_with_its_session() -> None:
    now = START
    alpha, beta = pair(now)
    promising = dataclasses.replace(ACTIVE, watchdog_armed=True, promise_ns=12 * SECOND)

    def heard(advert: Advert, sender: Session = alpha) -> int | None:
        """What beta applies of the next frame of `sender` that it applies at all."""
        nonlocal now
        for _ in range(10):
            now += 100 * MS
            received = beta.receive(0, say(sender, now, (0,), advert)[0], now)
            sender.receive(0, say(beta, now, (0,))[0], now)
            (event,) = received.events
            if isinstance(event, PeerBeat) and event.advert is not None:
                return event.advert.promise_ns
        raise AssertionError("nothing was applied")

    assert heard(ACTIVE) is None
    promised = [heard(promising) for _ in range(6)]
    assert promised[-1] == 12 * SECOND, "once its turn has come, in every frame"
    assert heard(dataclasses.replace(promising, watchdog_armed=False, promise_ns=None)) is None
    assert heard(promising) == 12 * SECOND
    restarted = session(0, number=2, at=now)
    assert heard(ACTIVE, restarted) is None
    armed = dataclasses.replace(ACTIVE, watchdog_armed=True)
    assert [heard(armed, restarted) for _ in range(6)] == [None] * 6, "another daemon, which has promised nothing"
    report = beta.peer_report()
    assert report is not None
    assert report.promise_ns is None
