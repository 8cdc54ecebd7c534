"""``python -m hemlets.cli``: the same as the `hemlets` command."""

import sys

from hemlets.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
