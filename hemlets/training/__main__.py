"""``python -m hemlets.training JOB.json``, or several processes of it by ``torchrun``."""

import os
import sys

from hemlets.core.process_setup import paused_collection, prepare_process
from hemlets.core.processes import die_with_parent

if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # SIGTERM saves a checkpoint and ends, so nothing is lost and no process is left.
        die_with_parent()
    prepare_process()
    with paused_collection():
        from hemlets.training.engine import main

    sys.exit(main(sys.argv[1:]))
