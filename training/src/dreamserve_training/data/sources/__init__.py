"""Datasets of other projects: read to this project's episodes, and written from them."""
