"""Terminal output: results on stdout; progress, remarks and failures on stderr."""
