"""``python -m publisher``."""

import sys

from publisher.server import main

sys.exit(main())
