"""Pictures of numbers: no model, no run directory, only what is given."""
