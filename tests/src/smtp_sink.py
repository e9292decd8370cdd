"""An SMTP server with STARTTLS and AUTH that writes each accepted message to a folder.

usage: smtp_sink.py FOLDER CERTIFICATE KEY USER PASSWORD
Prints the port it listens on.
"""

import pathlib
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

folder, certificate, key, user, password = sys.argv[1:6]


class Keep:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        Keep.count += 1
        target = pathlib.Path(folder) / f"{Keep.count:04}.eml"
        part = target.with_suffix(".part")
        part.write_bytes(envelope.content)
        part.rename(target)
        return "250 accepted"


def authenticate(server, session, envelope, mechanism, data):
    ok = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=ok, handled=ok)


tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain(certificate, key)
controller = Controller(
    Keep(),
    hostname="127.0.0.1",
    port=0,
    tls_context=tls,
    require_starttls=True,
    auth_required=True,
    authenticator=authenticate,
)
# Controller.start() connects to the port it was given to see that it works; with port 0 the
# kernel chooses, so the loop is driven here instead.
import asyncio  # noqa: E402


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(controller.factory, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
