"""From a `[[fence]]` table to the device that it describes; the one place that knows every type."""

from __future__ import annotations

from hblink.config import FenceConfig, IpmiFenceConfig
from hblink.fencing.agent import AgentDevice
from hblink.fencing.device import FenceDevice
from hblink.fencing.ipmi import IpmiDevice
from hblink.loop import Loop


def device_of(loop: Loop, config: FenceConfig) -> FenceDevice:
    """The device that `config` describes."""
    return IpmiDevice(loop, config) if isinstance(config, IpmiFenceConfig) else AgentDevice(loop, config)
