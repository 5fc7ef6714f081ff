"""A Kubernetes backend for jupyter-scheduler."""
