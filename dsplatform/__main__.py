"""`python -m dsplatform`: the command line."""

from dsplatform.cli.app import main

if __name__ == "__main__":
    main()
