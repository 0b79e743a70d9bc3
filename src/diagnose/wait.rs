//! What a thread waits for, from its state and its system call.

use std::fmt;

use crate::model::{Fact, Runtime, SystemCall, Thread};

/// What a thread waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing: it runs.
    Running,
    /// It ran when it was looked at, and slept a moment later, having used little: caught between
    /// two waits, of which nothing is known.
    RanBriefly,
    /// For events of an epoll set.
    Epoll { set: i32 },
    /// For events of descriptors that only its own memory names.
    Poll {
        call: String,
        /// Of how many, where the call says.
        count: Option<u64>,
    },
    /// For a connection on a listener.
    Accept { fd: i32 },
    /// For completions of an io_uring.
    IoUring,
    /// For SIGCONT.
    Stopped,
    /// For a tracer.
    Traced,
    /// In another system call, with the descriptor that is its first argument if it takes one.
    Blocked { call: String, fd: Option<i32> },
    /// It sleeps, and where could not be read.
    Unknown(String),
}

/// Whether what a thread does says anything about the program: not one that has exited, nor a
/// worker of io_uring, nor one of the Java machine's own, which compile and collect garbage while
/// the program hangs. Their names are cut after 15 bytes.
pub(super) fn is_of_the_program(thread: &Thread, runtime: Option<Runtime>) -> bool {
    const JAVA_MACHINE: [&[u8]; 8] = [
        b"C1 CompilerThre",
        b"C2 CompilerThre",
        b"G1 ",
        b"GC Thread#",
        b"Monitor Deflati",
        b"Sweeper thread",
        b"VM Periodic Tas",
        b"VM Thread",
    ];
    let is_named = |prefix: &[u8]| thread.comm.starts_with(prefix);
    let of_the_machine =
        runtime == Some(Runtime::Jvm) && JAVA_MACHINE.iter().any(|prefix| is_named(prefix));
    !thread.state.has_exited() && !is_named(b"iou-") && !of_the_machine
}

/// What `thread` waits for.
pub(super) fn wait_of(thread: &Thread) -> Wait {
    if thread.state.is_stopped() {
        return Wait::Stopped;
    }
    if thread.state.is_traced() {
        return Wait::Traced;
    }
    if thread.state.is_running() {
        /// 20 ms: a thread that computes uses more between two looks, if a core is free.
        const LITTLE: u64 = 2;
        return match thread.second_look {
            Some(look) if !look.state.is_running() && look.cpu_ticks <= LITTLE => Wait::RanBriefly,
            _ => Wait::Running,
        };
    }
    let place = thread
        .wait_channel
        .known()
        .map(String::as_str)
        .filter(|name| !name.is_empty());
    match &thread.system_call {
        Fact::Known(SystemCall::Running) => Wait::Running,
        Fact::Known(SystemCall::In {
            number,
            name,
            arguments,
        }) => {
            let call = name
                .clone()
                .unwrap_or_else(|| format!("system call {number}"));
            in_call(&call, arguments, place)
        }
        Fact::Known(SystemCall::NotInCall) => match place {
            Some(place) => Wait::Blocked {
                call: format!("the kernel ({place})"),
                fd: None,
            },
            None => Wait::Unknown("it is in no system call".into()),
        },
        Fact::Unknown(reason) => match place {
            Some(place) => by_place(place),
            None => Wait::Unknown(reason.to_string()),
        },
    }
}

fn in_call(call: &str, arguments: &[u64; 6], place: Option<&str>) -> Wait {
    match (call, first_as_fd(arguments)) {
        ("epoll_wait" | "epoll_pwait" | "epoll_pwait2", Some(set)) => Wait::Epoll { set },
        ("poll" | "ppoll", _) => Wait::Poll {
            call: call.into(),
            count: Some(arguments[1]),
        },
        // Their first argument is the largest descriptor plus one.
        ("select" | "pselect6", _) => Wait::Poll {
            call: call.into(),
            count: None,
        },
        ("accept" | "accept4", Some(fd)) => Wait::Accept { fd },
        ("io_uring_enter", _) => Wait::IoUring,
        // After a stop, poll and sleeps go on as this call, which does not say what it restarts.
        ("restart_syscall", _) => match place {
            Some(place) => by_place(place),
            None => Wait::Unknown("a system call was restarted, and does not say which".into()),
        },
        (takes_fd, fd) if TAKES_DESCRIPTOR.contains(&takes_fd) => Wait::Blocked {
            call: call.into(),
            fd,
        },
        _ => Wait::Blocked {
            call: call.into(),
            fd: None,
        },
    }
}

const TAKES_DESCRIPTOR: [&str; 19] = [
    "read",
    "readv",
    "pread64",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "write",
    "writev",
    "sendto",
    "sendmsg",
    "sendfile",
    "splice",
    "connect",
    "flock",
    "fcntl",
    "fsync",
    "fdatasync",
    "mq_timedreceive",
    "io_getevents",
];

/// By the function in which it sleeps (`/proc/PID/wchan`).
fn by_place(place: &str) -> Wait {
    match place {
        "poll_schedule_timeout.constprop.0"
        | "do_sys_poll"
        | "do_poll"
        | "do_select"
        | "poll_schedule_timeout" => Wait::Poll {
            call: "poll".into(),
            count: None,
        },
        // For events or a connection, and which descriptor it waits on is not told.
        "ep_poll" | "do_epoll_wait" => Wait::Unknown("in epoll_wait on some set".into()),
        "inet_csk_accept" | "inet_csk_wait_for_connect" => {
            Wait::Unknown("in accept on some listener".into())
        }
        "io_cqring_wait" => Wait::IoUring,
        other => Wait::Blocked {
            call: format!("the kernel ({other})"),
            fd: None,
        },
    }
}

fn first_as_fd(arguments: &[u64; 6]) -> Option<i32> {
    i32::try_from(arguments[0]).ok()
}

impl Wait {
    /// Where it waits says which descriptors it waits for, if any.
    pub(super) fn shows_its_descriptor(&self) -> bool {
        match self {
            Wait::Epoll { .. } | Wait::Accept { .. } | Wait::Stopped | Wait::Traced => true,
            Wait::Blocked { call, .. } => !call.starts_with("poll") && !call.starts_with("ppoll"),
            Wait::Running
            | Wait::RanBriefly
            | Wait::Poll { .. }
            | Wait::IoUring
            | Wait::Unknown(_) => false,
        }
    }

    /// It waits for events, and an event would wake it.
    pub(super) fn is_for_events(&self) -> bool {
        matches!(self, Wait::Epoll { .. } | Wait::Poll { .. })
    }

    /// The same wait in a process that holds a listener whose queue is not empty.
    ///
    /// A poll of one descriptor is then a poll of another one, since a poll of the listener would
    /// have returned at once (facts O4): a call that waits for one thing with a time limit, as
    /// Python's sockets and most database drivers make it, and no event loop.
    pub(super) fn beside_a_ready_listener(self) -> Wait {
        match self {
            Wait::Poll {
                call,
                count: Some(1),
            } => Wait::Blocked {
                call: format!("{call} of one descriptor"),
                fd: None,
            },
            other => other,
        }
    }
}

impl fmt::Display for Wait {
    /// As the verb of a sentence about a thread.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Running => f.write_str("running"),
            Wait::RanBriefly => f.write_str("running for a moment"),
            Wait::Epoll { set } => write!(f, "asleep in epoll_wait on fd {set}"),
            Wait::Poll { call, .. } => write!(f, "asleep in {call}"),
            Wait::Accept { fd } => write!(f, "asleep in accept on fd {fd}"),
            Wait::IoUring => f.write_str("asleep in io_uring_enter"),
            Wait::Stopped => f.write_str("stopped (state T)"),
            Wait::Traced => f.write_str("stopped by a tracer (state t)"),
            Wait::Blocked { call, fd: Some(fd) } => write!(f, "asleep in {call} on fd {fd}"),
            Wait::Blocked { call, fd: None } => write!(f, "asleep in {call}"),
            Wait::Unknown(reason) => write!(f, "asleep, where is not known ({reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProcessState, SecondLook, Unknown};

    fn check(state: char, call: Fact<SystemCall>, place: Fact<String>, expect: &str) {
        let thread = Thread {
            tid: 1,
            comm: Vec::new(),
            state: ProcessState(state),
            cpu_ticks: 0,
            second_look: None,
            system_call: call,
            wait_channel: place,
        };
        assert_eq!(wait_of(&thread).to_string(), expect);
    }

    fn call(name: &str, first: u64) -> Fact<SystemCall> {
        let arguments = [first, 0, 0, 0, 0, 0];
        Fact::Known(SystemCall::In {
            number: 0,
            name: Some(name.into()),
            arguments,
        })
    }

    #[test]
    fn the_state_comes_before_the_call() {
        let none = || Fact::Unknown(Unknown::NotCollected);
        check(
            'S',
            call("epoll_pwait", 4),
            none(),
            "asleep in epoll_wait on fd 4",
        );
        check('T', call("epoll_wait", 4), none(), "stopped (state T)");
        check(
            't',
            call("epoll_wait", 4),
            none(),
            "stopped by a tracer (state t)",
        );
        check('R', Fact::Known(SystemCall::Running), none(), "running");
        check(
            'S',
            call("recvfrom", 9),
            none(),
            "asleep in recvfrom on fd 9",
        );
        check('S', call("futex", 9), none(), "asleep in futex");
        check('D', call("fsync", 3), none(), "asleep in fsync on fd 3");
        check('S', call("accept4", 3), none(), "asleep in accept on fd 3");
    }

    /// Where it waits tells what it does, and not for what.
    #[test]
    fn a_place_in_the_kernel_is_not_a_descriptor() {
        let denied = || Fact::Unknown(Unknown::Permission);
        let at = |place: &str, expect: &str| {
            check('S', denied(), Fact::Known(place.into()), expect);
        };
        at(
            "ep_poll",
            "asleep, where is not known (in epoll_wait on some set)",
        );
        at(
            "inet_csk_accept",
            "asleep, where is not known (in accept on some listener)",
        );
        at("do_poll", "asleep in poll");
        at(
            "futex_wait_queue",
            "asleep in the kernel (futex_wait_queue)",
        );
    }

    #[test]
    fn a_moment_of_running_is_not_running() {
        let seen_again = |state, cpu_ticks| {
            let thread = Thread {
                tid: 1,
                comm: Vec::new(),
                state: ProcessState('R'),
                cpu_ticks: 0,
                second_look: Some(SecondLook {
                    state: ProcessState(state),
                    cpu_ticks,
                }),
                system_call: Fact::Known(SystemCall::Running),
                wait_channel: Fact::Unknown(Unknown::NotCollected),
            };
            wait_of(&thread)
        };
        assert_eq!(seen_again('S', 2), Wait::RanBriefly);
        assert_eq!(seen_again('S', 3), Wait::Running);
        assert_eq!(seen_again('R', 0), Wait::Running, "no core was free for it");
    }

    #[test]
    fn a_poll_of_one_descriptor_is_no_event_loop() {
        let wait = |call: &str, count| {
            in_call(call, &[0x7f00, count, 0, 0, 0, 0], None).beside_a_ready_listener()
        };
        let one = wait("poll", 1);
        assert_eq!(one.to_string(), "asleep in poll of one descriptor");
        assert!(!one.is_for_events() && !wait("ppoll", 1).is_for_events());
        assert!(wait("poll", 2).is_for_events() && wait("select", 1).is_for_events());
    }

    #[test]
    fn threads_of_the_java_machine_are_not_the_programs() {
        let thread = |name: &str| Thread {
            tid: 1,
            comm: name.as_bytes().to_vec(),
            state: ProcessState('R'),
            cpu_ticks: 0,
            second_look: None,
            system_call: Fact::Known(SystemCall::Running),
            wait_channel: Fact::Unknown(Unknown::NotCollected),
        };
        let java = Some(Runtime::Jvm);
        assert!(!is_of_the_program(&thread("C2 CompilerThre"), java));
        assert!(!is_of_the_program(&thread("GC Thread#1"), java));
        assert!(is_of_the_program(&thread("http-nio-8080-e"), java));
        assert!(is_of_the_program(&thread("C2 CompilerThre"), None));
        assert!(!is_of_the_program(&thread("iou-wrk-12"), None));
    }

    #[test]
    fn without_a_call_the_place_has_to_do() {
        let place = |name: &str| Fact::Known(name.to_owned());
        let denied = || Fact::Unknown(Unknown::Permission);
        check(
            'S',
            call("restart_syscall", 0),
            place("do_sys_poll"),
            "asleep in poll",
        );
        check(
            'S',
            denied(),
            place(""),
            "asleep, where is not known (permission denied)",
        );
        check(
            'S',
            denied(),
            place("hrtimer_nanosleep"),
            "asleep in the kernel (hrtimer_nanosleep)",
        );
    }
}
