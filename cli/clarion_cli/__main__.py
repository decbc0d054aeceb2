"""`python -m clarion_cli` is `clarion`."""

from clarion_cli.main import main

if __name__ == "__main__":
    main()
