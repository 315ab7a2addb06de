"""`python -m expunge`, which is how `--launch` starts its processes."""

from expunge.cli.main import main

main()
