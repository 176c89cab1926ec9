"""The rig: two appliances, their cables, their BMCs and a client, built from namespaces, ptys and `ipmi_sim`.

Shared by the namespace tests, the demo and the benchmarks. Nothing here may reach the machine's own network, its
kernel's reset, or a process that the rig did not start.
"""
