"""Malformed and hostile resources: thousands of them, the same for the same seed.

Each begins as a valid resource made from the CRD's schema, and has mistakes, attacks and odd but
allowed values put into it; some are changed further after they were stored. The API server refuses
a resource, or the operator ends it in a condition; nothing else may happen.
"""
