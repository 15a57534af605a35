"""Builders of the child objects of a resource: pure functions from the run to manifests.

Manifests are plain dictionaries as they stand in the API reference. The API server checks them
(``fieldValidation=Strict``), which the untyped classes of the official client would not.
"""
