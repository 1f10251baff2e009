"""The settings of a run: schema, merging of files and options, shipped recipes."""

from textvae.config.draft import Draft
from textvae.config.recipes import recipe_files
from textvae.config.schema import Config, Member, changed_keys, epochs, signature

__all__ = ["Config", "Draft", "Member", "changed_keys", "epochs", "recipe_files", "signature"]
