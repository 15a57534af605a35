"""The thin shell around :mod:`sid_operator.plan`: watches, queue, leadership, reconciliation."""
