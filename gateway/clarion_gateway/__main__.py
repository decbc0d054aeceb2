"""``python -m clarion_gateway``; ``--help`` lists the settings."""

import signal
import sys

# As a container's first process it has no default handlers: the kernel would drop a SIGTERM that
# comes before the event loop has set its own, and the pod would wait to be killed.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from clarion_contract.service.extras import needing  # noqa: E402 - the signal comes first

with needing("server", program="gateway"):
    from clarion_gateway.server import main  # the import is what takes so long

sys.exit(main(sys.argv[1:]))
