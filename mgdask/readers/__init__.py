"""From files to audited frames: readers, the audit, and the inventory for tasks."""
