"""Runs on the local cluster while servers and containers are killed; then, what became of each.

`python -m chaos --count 200 --seed 1`, or `make chaos`. The judge is outside the
product: each cell tells a listener of its own that it was executed, and what was
told is compared with each job's status and outputs, and with the bucket.

It needs the cluster that local-dev makes on this machine: containers are killed
from outside, by the host.
"""
