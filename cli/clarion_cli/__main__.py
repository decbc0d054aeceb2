"""`clarion`, which is also `python -m clarion_cli`."""

from clarion_contract.service.extras import needing

with needing("server", program="clarion"):
    from clarion_cli.main import main

if __name__ == "__main__":
    main()
