"""A Kubernetes control plane without nodes, for tests that need the real API server and no pods.

etcd and the API server, with those of the controllers that are asked for, as processes of this
machine: upstream's own, from the binaries that the local cluster is built of. It is up in seconds,
listens on free loopback ports, keeps everything in one directory, and ends with the block that
started it, so that any number of them run beside one another and beside the local cluster.
"""
