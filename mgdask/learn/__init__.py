"""Learning from columns, general tools: splits by group, metrics with intervals, selection, explanation, cards."""
