"""From files to audited frames: readers, what they found, and windows of frames ready for the store."""
