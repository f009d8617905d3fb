"""One module a demo; `base` holds what they share."""
