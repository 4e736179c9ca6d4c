"""``python -m confiture`` is ``confiture``."""

import sys

from confiture.cli import main

sys.exit(main())
