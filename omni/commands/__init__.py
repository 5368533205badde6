"""One module a verb of the `omni` command: `configure(parser)` declares its flags, `run(args)` does the work."""
