"""A real one-node Kubernetes cluster on a bare machine, for the tests and the demo.

`python -m tests.cluster.local up` starts upstream's own components as processes of this machine;
`down` ends them. The standard library is all that this package needs.
"""
