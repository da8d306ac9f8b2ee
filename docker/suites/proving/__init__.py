"""Runs in the images: proves that what is installed works, and survives without the GIL. Standard library only."""
