"""The figures of the README, measured on a pair of the rig.

`failover` measures takeovers and switchovers, `coldstart` starts and memory, `idle` what a settled pair costs; `figure`
holds what was measured and prints it, `run` is the program.
"""
