"""A small client of the Kubernetes API: what the controller's hot path needs, over aiohttp.

The official client gives one thread a request and costs 4 to 5 times the CPU of this one for the
same applies; the controller needs a dozen calls, so they stand here.
"""
