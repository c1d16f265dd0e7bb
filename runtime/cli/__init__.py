"""The command line: one file per subcommand, each imported when it is called.

Exit codes: 0 done, 1 something failed, 2 used wrongly, 3 a validation did not hold.
"""
