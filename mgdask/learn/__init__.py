"""Learning from columns: splits by group, metrics with intervals, selection, explanation, model cards; general tools."""
