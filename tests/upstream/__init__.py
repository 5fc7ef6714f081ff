"""jupyter-scheduler's own tests of its handlers and its scheduler, run on `K8sScheduler`.

They are taken from the installed release as they are. They have their own
pytest.ini: they bring their own event loop, and their warnings are not ours.
"""
