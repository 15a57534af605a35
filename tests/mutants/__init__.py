"""Tests of the tests: deliberate mistakes in the method, each of which a test must find."""
