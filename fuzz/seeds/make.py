"""Writes the fuzzer's seeds: what the kernel says about a few sockets in a namespace of their own."""

import os
import select
import socket
import struct
import threading
import time


def write(target, name, content):
    os.makedirs(target, exist_ok=True)
    with open(f"{target}/{name}", "wb") as seed:
        seed.write(content)


def read(path):
    with open(path, "rb") as file:
        return file.read()


# A queue with a connection that its client has left, one accepted and in CLOSE_WAIT, TIME_WAIT, IPv6.
listener = socket.create_server(("127.0.0.1", 8080), backlog=3)
dual = socket.create_server(("::", 8081), family=socket.AF_INET6, dualstack_ipv6=True)
clients = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(3)]
clients += [socket.create_connection(("127.0.0.1", 8081)), socket.create_connection(("::1", 8081))]
accepted, _ = listener.accept()
clients[0].sendall(b"x" * 45)
clients[0].close()
clients[1].close()
ended, _ = dual.accept()
ended.close()
clients[3].close()
epoll = select.epoll()
epoll.register(listener.fileno(), select.EPOLLIN | select.EPOLLET)
epoll.register(dual.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
time.sleep(0.2)

NLM_F_REQUEST, NLM_F_DUMP, TCPDIAG_GETSOCK, NLMSG_DONE = 1, 0x300, 18, 3
DETAILS = 1 << 1 | 1 << 6 | 1 << 0  # info, skmeminfo, meminfo


def dump(kind, family, extensions):
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, extensions, 0, 0xFFFFFFFF)
    body += bytes(48)
    header = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    diag.send(header + body)
    while True:
        datagram = diag.recv(65536)
        yield datagram
        if struct.unpack_from("=H", datagram, 4)[0] == NLMSG_DONE or family == 99:
            return


for name, family, extensions in [
    ("v4", socket.AF_INET, DETAILS), ("v6", socket.AF_INET6, DETAILS),
    ("bare", socket.AF_INET, 0), ("refused", 99, 0),
]:
    for number, datagram in enumerate(dump(20, family, extensions)):
        write("sock_diag", f"{name}-{number}", datagram)

write("proc_net_tcp", "tcp", read("/proc/thread-self/net/tcp"))
write("proc_net_tcp", "tcp6", read("/proc/thread-self/net/tcp6"))
write("fdinfo", "epoll", read(f"/proc/self/fdinfo/{epoll.fileno()}"))
write("fdinfo", "socket", read(f"/proc/self/fdinfo/{listener.fileno()}"))
write("fdinfo", "ring", b"""pos:\t0
flags:\t02000002
mnt_id:\t16
ino:\t2059
SqMask:\t0x7
SqHead:\t1
SqTail:\t1
CachedSqHead:\t1
CqMask:\t0xf
CqHead:\t0
CqTail:\t0
CachedCqTail:\t0
SQEs:\t0
CQEs:\t0
SqThread:\t-1
SqThreadCpu:\t-1
UserFiles:\t2
    0: socket:[2060]
    1: <none>
UserBufs:\t0
PollList:
  op=13, task_works=0
CqOverflowList:
""")

idle = socket.create_server(("127.0.0.1", 8082))
threads = [
    threading.Thread(target=select.epoll().poll, args=(5,), daemon=True),
    threading.Thread(target=time.sleep, args=(5,), daemon=True),
    threading.Thread(target=idle.accept, daemon=True),
]
for thread in threads:
    thread.start()
time.sleep(0.2)
tids = [str(thread.native_id) for thread in threads]
for number, tid in enumerate([*tids, str(os.getpid())]):
    write("syscall", f"{number}", read(f"/proc/self/task/{tid}/syscall"))
    write("stat", f"{number}", read(f"/proc/self/task/{tid}/stat"))
write("stat", "odd-name", b"7 (a) S (\xff) S 1 7 7 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 1 0 12345 0 0\n")

ID = b"0123456789abcdef" * 4
write("cgroup", "hybrid", b"9:name=systemd:/user.slice\n6:freezer:/\n2:cpuacct,cpu:/a b\n0::/user.slice/user-0.slice\n")
write("cgroup", "service", b"0::/system.slice/nginx.service\n")
write("cgroup", "docker", b"5:cpu,cpuacct:/docker/" + ID + b"\n0::/system.slice/docker-" + ID + b".scope\n")
write("cgroup", "kubernetes", b"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
      b"0b5e4f54_9c4e_4c58_8d2c_0c4e1f1c7a11.slice/cri-containerd-" + ID + b".scope\n")
write("mountinfo", "usual", b"22 27 0:21 / /proc rw,relatime - proc proc rw,hidepid=invisible\n"
      b"27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n")
write("mountinfo", "named", b"98 24 0:4 net:[4026532281] /run/netns/blue rw shared:1 - nsfs nsfs rw\n"
      b"30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
      b"31 24 0:27 / /sys/fs/cgroup/with\\040space rw - cgroup cgroup rw,freezer\n")
for name in ["netstat", "sockstat", "sockstat6"]:
    write("netstat", name, read(f"/proc/thread-self/net/{name}"))

for name, content in [
    ("socket", b"socket:[81234]"), ("netns", b"net:[4026531840]"),
    ("passwd", b"root:x:0:0:root:/root:/bin/sh\n"), ("exe", b"/usr/bin/python3.11"),
    ("maps", b"7f00-7f01 r-xp 00000000 fe:00 1 /usr/lib/jvm/lib/server/libjvm.so\n"),
    ("services", b"http\t\t80/tcp\twww # WorldWideWeb\nntp 123/udp\n"),
    ("name", b"\x1b[2Jevil\n\xc2\x9b\xff\xe2\x80\xae"),
]:
    write("small", name, content)
for name, content in [
    ("port", b":8080"), ("address", b"[::1]:80"), ("connection", b"127.0.0.1:80-10.0.0.1:4000"),
    ("descriptor", b"4866/3"), ("cookie", b"sk:10a4"), ("state", b"close-wait"),
    ("prefix", b"10.0.0.0/8:443"),
]:
    write("words", name, content)
for name, content in [
    ("states", "state close-wait exclude listening sport = :8080"),
    ("group", "not ( sport = :http or dport >= 5432 ) && dst 10.0.0.0/8:8000-8099"),
    ("ipv6", "dst [::ffff:10.0.0.1/128]:80 | src fd00::/16:80 dev != 2"),
    ("tight", "!(sport=:80||dst!=inet:127/8)"),
    ("mixed", "sport = :80 or dport = :80 and dst 127.0.0.5"),
    ("mistake", "dst 2001:db8::1:80 \u6f22\u5b57"),
    ("quoted", "\\( sport = 0x50 \\)"),
]:
    write("expression", name, content.encode())
