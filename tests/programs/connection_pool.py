"""A client that keeps six connections for later, as a pool does, and looks at none of them."""
import http.client, signal, sys, time

signal.alarm(120)
pool = [http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])) for _ in range(6)]
for connection in pool:
    connection.request("GET", "/")
for connection in pool:
    connection.getresponse().read()
print("idle", flush=True)
time.sleep(300)
