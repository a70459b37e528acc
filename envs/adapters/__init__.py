"""Other suites behind gymnax's `Environment`; each module imports its suite, so import them only where needed."""
