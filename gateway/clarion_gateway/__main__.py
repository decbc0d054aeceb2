"""Runs a gateway: ``python -m clarion_gateway``. ``--help`` lists the settings."""

import signal
import sys

# The first process of a container has no default signal handlers. Without this one, the kernel
# would drop a SIGTERM that comes before the event loop has set its own, and the pod would run on
# until it is killed.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from clarion_contract.service.extras import needing  # noqa: E402 - the signal comes first

with needing("server", program="gateway"):
    from clarion_gateway.server import main  # takes most of the start

sys.exit(main(sys.argv[1:]))
