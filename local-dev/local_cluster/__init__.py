"""Brings up Kubernetes, an S3 server and the notebook image on one machine.

Standard library only, so that it runs before anything is installed. ``up`` goes through the same
steps whatever there is to run containers: kind where a container engine runs (``kind.py``), else a
cluster of our own (``native.py``).
"""
