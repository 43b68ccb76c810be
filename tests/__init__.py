"""Tests: `unit` needs nothing, `adapters` a real API server and S3 server, `e2e` real containers.

`cluster` is that Kubernetes, and the tests of it.
"""
