"""`python -m clarion_bench`."""

from clarion_bench.commands import app

# The load processes import this module again when they start.
if __name__ == "__main__":
    app(prog_name="python -m clarion_bench")
