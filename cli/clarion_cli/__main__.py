"""`clarion`, which is also `python -m clarion_cli`."""

from clarion_cli.failure import ExitCode
from clarion_contract.service.extras import needing

with needing("server", program="clarion", exit_code=ExitCode.SETUP):
    from clarion_cli.main import main

if __name__ == "__main__":
    main()
