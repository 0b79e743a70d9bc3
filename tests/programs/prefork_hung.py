"""A parent that only waits, and two workers that share its listener and hang on a silent back end."""
import os, signal, socket

listener = socket.create_server(("127.0.0.1", 0))
for _ in range(2):
    if os.fork() == 0:
        signal.alarm(120)
        ours, backend = socket.socketpair()
        ours.settimeout(300)  # Python then waits in poll(), not in recv().
        client, _ = listener.accept()
        client.recv(100)
        os.write(1, b"hung\n")  # One write: the workers share the pipe.
        ours.recv(1)
        os._exit(0)
signal.alarm(120)
print(listener.getsockname()[1], flush=True)
while True:
    os.wait()
