"""A JupyterLab server with this backend on the local cluster, and what the demo does with it."""
