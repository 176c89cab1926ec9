"""The situations that the product promises a behaviour for, each with the scenario files that show it."""

from __future__ import annotations

SITUATIONS: dict[str, tuple[str, ...]] = {
    "Ethernet heartbeat lost, serial alive; or the reverse": (
        "ethernet_lost",
        "serial_lost",
        "links_lost_without_carrier",
    ),
    "one-way loss on a link, or crossed one-way losses": ("one_way_loss", "crossed_one_way_losses"),
    "all links lost, peer alive": ("all_links_lost",),
    "... and the fence fails or its BMC is gone": ("all_links_lost_no_bmc", "bmc_says_on", "no_fence_device"),
    "active loses carrier on its service port, serial alive": (
        "service_carrier_lost",
        "service_carrier_lost_in_turn",
        "service_carrier_lost_on_both",
    ),
    "upstream lost with carrier up": ("upstream_lost", "upstream_lost_on_both", "upstream_lost_before_a_fence"),
    "active's daemon killed or frozen": ("daemon_killed", "daemon_frozen", "frozen_within_a_turn"),
    "node paused 10 s, then resumes": ("node_paused", "standby_paused_about_deadtime"),
    "host crash or power cut, BMC alive": ("host_crash", "standby_crash", "bmc_asks_politely"),
    "peer and its BMC lose power together": ("power_and_bmc_lost", "power_and_bmc_lost_with_a_pdu", "at_least_one"),
    "both boot, links fine": ("cold_start", "cold_start_late_preferred"),
    "one boots, peer absent": ("one_boots_alone_peer_off", "one_boots_alone_peer_on", "at_least_one_inert"),
    "active's daemon restarts within deadtime": ("daemon_restart", "daemon_stopped"),
    "a yield races a claim, a roll-back or a restart of either daemon": ("yield_races_restart",),
    "a fence command executes late, after the link healed": ("late_fence", "late_fence_hits_the_standby"),
    "fenced node boots while links are cut": ("fenced_node_boots_in_the_dark", "standby_reboots_in_the_dark"),
    "service start fails": ("service_start_fails", "address_cannot_be_added"),
    "service stop fails or hangs": ("service_stop_hangs", "service_stop_hangs_self_reset"),
    "planned switchover; peer vanishes in the middle": ("switchover", "switchover_peer_vanishes", "switchover_refused"),
    "VIP removed by another program": ("address_taken",),
    "VIP answered by a foreign MAC": (
        "foreign_holder_before_a_claim",
        "foreign_holder_stays",
        "foreign_holder_while_active",
    ),
    "wall clock stepped an hour either way": ("wall_clock_stepped",),
    "recorded traffic replayed, reflected, moved between links": (
        "replayed_traffic",
        "replay_of_an_earlier_boot",
        "replay_does_not_revive",
    ),
    "wrong key, wrong cluster, other version, different configuration": (
        "wrong_key",
        "wrong_cluster",
        "other_configuration",
    ),
    "noise, a getty, a terminal, wrong baud on the serial line": ("getty_on_the_line",),
    "state directory missing, read-only, full, rolled back": (
        "state_directory_unusable",
        "state_directory_rolled_back",
        "runtime_directory_broken",
    ),
    # Beyond faults: what operators order, and what bounds it.
    "maintenance": (
        "maintenance",
        "maintenance_ends_by_itself",
        "maintenance_and_a_dead_peer",
        "maintenance_ordered_on_both",
    ),
    "standby and online": ("standby_and_online", "standby_refused"),
    "failback": ("failback",),
    "fences bounded": ("fence_cap", "fence_cap_does_not_hold_what_is_off"),
    "a fence device that lies": ("bmc_lies", "bmc_of_another_machine", "dual_active_heals"),
    "key rotation in the middle of a failure": ("key_rotation", "key_rotation_out_of_order"),
    "a drill of the fence device": ("drill",),
    "two nodes with one name": ("two_nodes_with_one_name",),
    "boot time jumps": ("boot_time_jumps",),
}
