"""`python -m stsprune.cli`."""

from .app import main

main()
