"""`python -m dreamserve`, which is the command `dreamserve`."""

from dreamserve.cli import main

if __name__ == "__main__":
    main()
