"""From files to audited frames: readers, the audit, and the inventory that tasks read from."""
