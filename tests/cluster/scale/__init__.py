"""What the operator costs an API server at a thousand resources: ``make bench-operator``.

The API server, etcd and the Job controller are upstream's own; nodes are played. Kubeflow Trainer
and JobSet, built from their Go modules, are measured in the same run, in turn with the operator.
What is asked of the API server is read from its audit log, times included, so that whoever is
measured is measured alike, whatever it is written in.
"""
