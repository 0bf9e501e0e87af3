"""`python -m stsprune`."""

from stsprune.cli import main

main()
