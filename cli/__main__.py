"""`python -m cli` is `clarion`."""

from cli.main import main

if __name__ == "__main__":
    main()
