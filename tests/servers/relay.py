"""A TCP relay that a test can freeze, or cut when certain bytes pass: a network that fails at the worst moment."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Relay:
    """Passes every connection to its own port on to ``port`` on this machine, in one thread."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self.frozen = threading.Event()
        """While set, nothing passes; connections stay."""
        self.cut_at = b""
        """When a client sends these bytes, they are passed on, and the client's line is cut before the answer."""
        self.cut_before = b""
        """When a client sends these bytes, both lines are cut before they are passed on."""
        self.cuts = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._wake.send(b"x")
        self._thread.join()
        for line in [*self._peers, self._listener, self._wake, self._woken]:
            line.close()
        self._selector.close()

    def drop_all(self) -> None:
        """Cuts every connection there is; new ones are taken."""
        for line in list(self._peers):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.05 if self.frozen.is_set() else None):
                line = key.fileobj
                assert isinstance(line, socket.socket)
                if line is self._listener:
                    self._accept()
                elif line is self._woken:
                    self._woken.recv(1)
                elif line in self._peers and not self.frozen.is_set():
                    self._pass(line)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._clients.add(client)
        self._peers |= {client: server, server: client}
        for line in (client, server):
            self._selector.register(line, selectors.EVENT_READ)

    def _pass(self, line: socket.socket) -> None:
        peer = self._peers[line]
        try:
            data = line.recv(65_536)
            hit = line in self._clients and data
            if hit and self.cut_before and self.cut_before in data:
                self.cut_before = b""
                data = b""
                self.cuts += 1
            if data:
                peer.sendall(data)
                if hit and self.cut_at and self.cut_at in data:
                    self.cut_at = b""
                    self.cuts += 1
                    peer.settimeout(10)
                    peer.recv(65_536)  # the server has answered: what was asked for is done
                    data = b""
        except OSError:
            data = b""
        if not data:
            for end in (line, peer):
                self._selector.unregister(end)
                self._peers.pop(end)
                self._clients.discard(end)
                end.close()
