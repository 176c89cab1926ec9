"""The figures of the README, measured on a pair of the rig, and the comparison with hblink's peers.

hblink alone: `failover` measures takeovers and switchovers, `coldstart` starts and memory, `idle` what a settled pair
costs; `figure` holds and prints. The comparison: `contestant` and `peer` say who takes part and how it is configured,
`package` fetches Debian's programs without installing them, `situation` says what is done, `compare` does it,
`commit` names the code that was measured, `reading` judges what the client saw, `tally` says what that means, `picture`
draws it, `page` puts it into the README. `run` is the program.
"""
