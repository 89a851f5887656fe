"""`python -m rsir_scale`: the command line where its script is not on the path."""

from rsir_scale.cli.main import main

if __name__ == "__main__":
    main()
