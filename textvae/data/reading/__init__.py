"""Sentences from files: text and tables, read on access and never all held in memory."""
