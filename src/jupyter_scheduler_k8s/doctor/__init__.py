"""`jupyter scheduler-k8s doctor`: whether everything that a job needs is as it must be."""
