"""Measurements, studies and long checks. Run each from the root of the repository: `python -m benchmarks.ROOM.NAME`.

    speed     seconds and bytes of ours, beside those of others
    studies   what generated data does to a model: paired runs over seeds, with intervals
    faults    runs that are killed, cut off, overtaken or fed damaged bytes
    record    the machine, the memory and the result file of a measurement; no command
    tests     mirror the first three

A script imports from its own room and from `record`. `--help` of a script, and its first lines, say what it measures
and with which command the stored result was made.
"""
