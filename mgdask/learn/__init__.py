"""Learning from columns: training that survives lost workers, splits by group, metrics with intervals, selection, explanation, cards."""
