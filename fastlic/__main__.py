"""`python -m fastlic` is the console script `fastlic`."""

from fastlic.runtime.cli.app import main

if __name__ == "__main__":
    main()
