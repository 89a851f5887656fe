"""The entry point of `ray job submit`: `python jobs/rsir.py CONFIG --run-dir RUN [--set section.key=value …]`.

The same run as `rsir run`, on the cluster that Ray names in RAY_ADDRESS; its exit codes are those of the command line.
Submitted again after a stop, it goes on where the run directory stands.
"""

import sys

from rsir_scale.cli.main import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
