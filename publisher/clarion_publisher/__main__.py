"""``python -m clarion_publisher``; ``--help`` lists the settings."""

import signal
import sys

# As a container's first process, this one has no default handlers. The kernel would drop a
# SIGTERM that arrives before the event loop has set its own, and the pod would wait to be
# killed.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from clarion_contract.service.extras import needing  # noqa: E402 - the signal comes first

with needing("server", program="publisher"):
    from clarion_publisher.server import main  # this import takes most of the start

sys.exit(main(sys.argv[1:]))
