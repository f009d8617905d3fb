"""The document's mathematics on plain NumPy arrays: no torch, no Panel."""
