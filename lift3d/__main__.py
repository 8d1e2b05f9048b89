"""``python -m lift3d``: the command line."""

from lift3d.cli.app import main

if __name__ == "__main__":
    main()
