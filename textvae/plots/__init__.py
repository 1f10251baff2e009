"""Plots of given numbers; nothing here reads a model or a run directory."""
