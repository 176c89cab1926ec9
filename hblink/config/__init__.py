"""hblink.toml: one file, equal on both nodes, from text to typed values.

`load` and `parse` judge the file alone; `hblink.config.secret` holds what is this node's own, and `hblink.host` what
only the machine can tell.
"""

from hblink.config.document import ConfigError, Problem
from hblink.config.reader import load, parse
from hblink.config.value import (
    SECTIONS,
    AgentFenceConfig,
    Config,
    FenceConfig,
    IpmiFenceConfig,
    LinkConfig,
    SerialLinkConfig,
    Timing,
    UdpLinkConfig,
    VipConfig,
    settings_of,
)

__all__ = [
    "SECTIONS",
    "AgentFenceConfig",
    "Config",
    "ConfigError",
    "FenceConfig",
    "IpmiFenceConfig",
    "LinkConfig",
    "Problem",
    "SerialLinkConfig",
    "Timing",
    "UdpLinkConfig",
    "VipConfig",
    "load",
    "parse",
    "settings_of",
]
