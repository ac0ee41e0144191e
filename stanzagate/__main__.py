"""``python -m stanzagate``."""

import sys

from stanzagate.cli import main

if __name__ == "__main__":
    sys.exit(main())
