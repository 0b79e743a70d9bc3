//! `held-by-another-process`: a process other than the one that serves the connections keeps them
//! open, by descriptors that it inherited or was passed.

use super::{Cause, CauseId, Judgement, Leaked, Reason, phrase};
use crate::diagnose::wait::Wait;
use crate::model::{Confidence, Direction, Evidence, Process};

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::HeldByAnotherProcess,
    judge,
};

/// Inbound sockets, none of whose holders has the listener they came in through, while somebody
/// else has it. Not where the holder is a child that serves this one connection (fork for each
/// connection), nor where it does something with the descriptors.
fn judge(leaked: &Leaked<'_, '_>) -> Judgement {
    let first = leaked.sockets[0];
    if let [one, others @ ..] = &first.holders[..]
        && !others.is_empty()
    {
        return Judgement::Holds(Reason {
            confidence: Confidence::Possible,
            summary: format!(
                "{} have descriptors for the same sockets: closing them in one of them is not \
                 enough",
                phrase::processes(&first.holders)
            ),
            evidence: Vec::new(),
            remedy: remedy(one.process),
        });
    }
    if first.direction != Some(Direction::Inbound) {
        return Judgement::DoesNotHold;
    }
    let (Some(holder), Some(listener)) = (first.holders.first(), first.listener) else {
        return Judgement::DoesNotHold;
    };
    let listener_holders = leaked.table.holders_of(listener);
    if listener_holders.is_empty() || listener_holders.iter().any(|other| other.id == holder.id) {
        return Judgement::DoesNotHold;
    }
    let server = &listener_holders[0];
    let serves_one = leaked.sockets.len() == 1
        && holder
            .process
            .zip(server.process)
            .is_some_and(|(child, parent)| {
                child.parent == parent.id.pid && child.exe.known() == parent.exe.known()
            });
    if serves_one {
        return Judgement::DoesNotHold;
    }
    let confidence = match leaked.watched() {
        Some(watched) if watched.in_call_on_them() || !watched.registrations.is_empty() => {
            return Judgement::DoesNotHold;
        }
        Some(watched) if watched.waits.iter().all(Wait::shows_its_descriptor) => Confidence::Likely,
        // It may be serving them: a session of sshd, a service started by inetd or systemd.
        Some(_) | None => Confidence::Possible,
    };
    let idle = match confidence {
        Confidence::Possible => "",
        _ => ", does nothing with them",
    };
    let (who, other) = (
        phrase::process(holder.process, holder.id),
        phrase::process(server.process, server.id),
    );
    Judgement::Holds(Reason {
        confidence,
        summary: format!(
            "{who} keeps connections open that came in through the listener of {other}: it \
             inherited the descriptors or was passed them{idle}, and the server has closed its own"
        ),
        evidence: vec![Evidence::new(
            format!(
                "the listener {} is held by {other}, and not by {who}",
                listener.local
            ),
            format!("/proc/{}/fd", server.id.pid),
        )],
        remedy: remedy(holder.process),
    })
}

fn remedy(holder: Option<&Process>) -> String {
    let who = holder.map_or("the other process".into(), |process| {
        phrase::process(Some(process), process.id)
    });
    format!(
        "End or restart {who}; the sockets close with their last descriptor. In the program: \
         accept with SOCK_CLOEXEC (accept4), and close inherited descriptors in children."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::{CloseWaitCase, expect_cause};

    fn case(count: u16) -> CloseWaitCase {
        CloseWaitCase::sockets(count)
            .recv_q(1)
            .listener_held_by_another()
    }

    #[test]
    fn the_holder_has_no_listener_and_does_nothing() {
        let idle = case(5).thread('S', "wait4", 0);
        expect_cause(
            &idle,
            judge,
            Some(Confidence::Likely),
            "does nothing with them",
        );
        expect_cause(&case(5), judge, Some(Confidence::Possible), "inherited");
        // What it polls is in its own memory: perhaps these.
        for call in ["poll", "select"] {
            let polls = case(5).thread('S', call, 0);
            let words = "was passed them, and the server";
            expect_cause(&polls, judge, Some(Confidence::Possible), words);
        }
    }

    #[test]
    fn the_server_itself_and_a_child_at_work_are_exempt() {
        expect_cause(&CloseWaitCase::sockets(5).recv_q(1), judge, None, "");
        expect_cause(
            &case(5).thread('S', "epoll_wait", 9).registered(0x19),
            judge,
            None,
            "",
        );
        expect_cause(&case(5).thread('S', "recvfrom", 4), judge, None, "");
        expect_cause(
            &case(1).thread('S', "wait4", 0).child_of_the_other(),
            judge,
            None,
            "",
        );
    }

    #[test]
    fn several_holders_are_possible() {
        let shared = CloseWaitCase::sockets(2).recv_q(1).also_held_by_another();
        expect_cause(
            &shared,
            judge,
            Some(Confidence::Possible),
            "the same sockets",
        );
    }
}
