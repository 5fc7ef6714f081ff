"""As much of a Jupyter server as the extension and its handlers need."""

import logging
from typing import Any

from jupyter_server.auth.authorizer import AllowAllAuthorizer
from jupyter_server.auth.identity import IdentityProvider
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from traitlets.config import Config


class Server:
    """As much of a Jupyter server as the extension and its handlers need."""

    def __init__(self) -> None:
        self.config = Config()
        self.log = logging.getLogger("server")
        self.io_loop = self
        self.web_app = web.Application(
            base_url="/base/",
            allow_remote_access=True,
            # As a server has it: each handler closes itself.
            allow_unauthenticated_access=True,
            cookie_secret="secret",
            identity_provider=IdentityProvider(token="token"),
            authorizer=AllowAllAuthorizer(),
        )
        self._server = HTTPServer(self.web_app)
        socket, self.port = bind_unused_port()
        self._server.add_socket(socket)

    def call_later(self, *_: Any) -> None:
        """Nothing is asked but by the pages."""

    async def fetch(self, path: str, *, token: str = "token") -> HTTPResponse:
        """The answer at one of our addresses, whatever its status."""
        address = f"http://127.0.0.1:{self.port}/base/jupyter_scheduler_k8s/{path}"
        headers = {"Authorization": f"token {token}"}
        return await AsyncHTTPClient().fetch(address, headers=headers, raise_error=False)

    async def stop(self) -> None:
        """End it."""
        self._server.stop()
        await self._server.close_all_connections()
