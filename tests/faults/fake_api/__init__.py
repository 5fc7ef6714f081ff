"""A small Kubernetes API server over HTTP, with faults on request.

server      keeps objects, numbers their versions, answers lists in pages
watches     what each open watch is sent
things      selectors and patches
requests    requests, answers and faults
wire        all of it as HTTP
"""

from faults.fake_api.requests import Answer, Asked, Fault, Lost, Silent
from faults.fake_api.server import FakeApi
from faults.fake_api.things import Thing
from faults.fake_api.watches import OpenWatch

__all__ = ["Answer", "Asked", "FakeApi", "Fault", "Lost", "OpenWatch", "Silent", "Thing"]
