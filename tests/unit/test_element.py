"""The elements that ride in frames: what comes first, what takes turns, and the hardware addresses of the peer."""

from __future__ import annotations

import pytest
from hblink_wire import TlvType
from hblink_wire.tlv import SERVICE_MACS_MAX, Tlv, pack, unpack

from hblink.element import Elements

BOOT, DIGEST = bytes(16), bytes(8)


def turns(elements: Elements, count: int) -> list[int]:
    return [elements.next([1]).type for _ in range(count)]


def test_all_take_turns_and_the_hardware_addresses_come_first() -> None:
    elements = Elements(BOOT, DIGEST, "0.1.0")
    elements.set_config(DIGEST, {4: b"vips"})
    elements.set_service_macs([b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x01"])
    first = elements.next([1])
    assert first == Tlv(TlvType.SERVICE_MACS, b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02"), "in order, whatever they came in"
    said = [first.type, *turns(elements, 4)]
    assert sorted(said) == sorted(
        [
            TlvType.SERVICE_MACS,
            TlvType.CONFIG_SECTIONS,
            TlvType.SOFTWARE_VERSION,
            TlvType.KEY_IDS,
            TlvType.CONFIG_DIGEST,
        ]
    )
    assert turns(elements, 5) == said


def test_without_an_ethernet_interface_no_address_is_said() -> None:
    elements = Elements(BOOT, DIGEST, "0.1.0")
    elements.set_service_macs([])
    assert TlvType.SERVICE_MACS not in turns(elements, 6)
    elements.set_service_macs([b"\x02\0\0\0\0\x01"])
    assert TlvType.SERVICE_MACS in turns(elements, 6)
    elements.set_service_macs([])
    assert TlvType.SERVICE_MACS not in turns(elements, 6)


def test_no_more_addresses_are_said_than_a_frame_should_carry() -> None:
    elements = Elements(BOOT, DIGEST, "0.1.0")
    elements.set_service_macs([bytes((2, 0, 0, 0, 0, n)) for n in range(20)])
    first = elements.next([1])
    assert len(first.value) == 6 * SERVICE_MACS_MAX
    assert unpack(pack([first])) == (first,)


def test_a_promise_takes_its_turn_in_whole_milliseconds_and_is_never_shortened() -> None:
    elements = Elements(BOOT, DIGEST, "0.1.0")
    elements.set_promise(12_000_000_001)
    said = [elements.next([1]) for _ in range(4)]
    assert [tlv.value for tlv in said if tlv.type == TlvType.STOP_PROMISE] == [(12_001).to_bytes(4, "big")]
    elements.set_promise(None)
    assert TlvType.STOP_PROMISE not in turns(elements, 6)


@pytest.mark.parametrize("value", [b"", bytes(4), b"\1\2\3", b"\1\2\3\4\5"])
def test_a_promise_of_no_time_or_another_length_is_malformed(value: bytes) -> None:
    malformed = f"TLV {int(TlvType.STOP_PROMISE)} malformed"
    assert unpack(bytes((TlvType.STOP_PROMISE, len(value))) + value) == malformed


@pytest.mark.parametrize("length", [0, 5, 7, 54])
def test_a_list_of_addresses_of_another_length_is_malformed(length: int) -> None:
    assert unpack(bytes((TlvType.SERVICE_MACS, length)) + bytes(length)) == f"TLV {int(TlvType.SERVICE_MACS)} malformed"
