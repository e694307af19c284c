"""``python -m pgen``."""

from pgen.cli.app import main

main()
