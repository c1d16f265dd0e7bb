"""Other codecs to measure beside fastlic, each run by its own Python in an environment of its own."""
