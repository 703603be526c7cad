"""File readers, the audit of frames, and the inventory that tasks read from."""
