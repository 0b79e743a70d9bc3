"""A socketserver whose handlers hang: in its only thread, or with `threads` one thread each."""
import os, signal, socketserver, sys, time

signal.alarm(120)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        os.write(1, b"hung\n")  # One write: the threads share the pipe.
        time.sleep(300)


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True


kind = Threads if sys.argv[1:] == ["threads"] else socketserver.TCPServer
with kind(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
