"""The training program: distils a text-to-image teacher into a few-step student.

Importing the package is cheap: torch and diffusers are imported only by the modules that compute.
"""
