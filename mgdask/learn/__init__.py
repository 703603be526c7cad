"""Learning from columns, on a cluster where they are many: training that survives lost workers, splits by group, metrics with intervals,
selection, explanation, model cards; general tools.
"""
