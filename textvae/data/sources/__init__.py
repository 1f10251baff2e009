"""Where corpora come from: files and folders, tables, the hub, torchtext and downloads."""
