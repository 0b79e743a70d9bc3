//! `idle-pool-connection`: a client's pool keeps idle connections that the server has closed.

use super::{Cause, CauseId, Judgement, Leaked, Reason, phrase};
use crate::join::CloseWait;
use crate::model::{Confidence, Direction, Runtime};

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::IdlePoolConnection,
    judge,
};

/// More than any usual pool keeps for one far end (urllib3 10, JDBC pools 10 to 50, Apache
/// HttpClient 20).
const LARGEST_POOL: usize = 64;
/// A TLS close alert is unread too: 24 bytes (1.3) or 31 (1.2, AES-GCM).
const ALERT_BYTES: u32 = 64;

fn judge(leaked: &Leaked<'_, '_>) -> Judgement {
    let idle = |socket: &&CloseWait<'_>| {
        socket.fin_unread
            && socket.unread_bytes <= ALERT_BYTES
            && socket.direction == Some(Direction::Outbound)
    };
    if leaked.sockets.len() > LARGEST_POOL || !leaked.sockets.iter().all(idle) {
        return Judgement::DoesNotHold;
    }
    // Their pools read on while a connection idles, and close it at the end of file.
    let runtime = leaked
        .watched()
        .and_then(|it| it.detail.runtime.known().copied());
    if matches!(runtime, Some(Runtime::Go | Runtime::Node)) {
        return Judgement::DoesNotHold;
    }
    let who = match leaked.sockets[0].holders.first() {
        Some(holder) => phrase::process(holder.process, holder.id),
        None => "the holder".into(),
    };
    Judgement::Holds(Reason {
        confidence: Confidence::Likely,
        summary: format!(
            "{who} opened these connections and has not looked at them since the server closed \
             them: idle connections of a client pool, which are bounded; a number that grows is a \
             leak instead"
        ),
        evidence: Vec::new(),
        remedy: "Nothing at night, unless requests fail on a dead connection. Let the pool drop \
            idle connections before the server does (a shorter idle time), or check them before \
            use."
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::{CloseWaitCase, expect_cause};

    #[test]
    fn few_outbound_and_unread() {
        let pool = |count| CloseWaitCase::sockets(count).outbound();
        expect_cause(
            &pool(6).recv_q(1),
            judge,
            Some(Confidence::Likely),
            "client pool",
        );
        expect_cause(
            &pool(6).recv_q(25),
            judge,
            Some(Confidence::Likely),
            "client pool",
        );
        expect_cause(
            &pool(64).recv_q(1),
            judge,
            Some(Confidence::Likely),
            "client pool",
        );
        expect_cause(&pool(65).recv_q(1), judge, None, "");
    }

    #[test]
    fn pools_that_read_on_would_have_closed_them() {
        let client = CloseWaitCase::sockets(6).outbound().recv_q(1);
        let waiting = client.thread('S', "epoll_wait", 9);
        expect_cause(&waiting.clone().runtime(Runtime::Go), judge, None, "");
        let python = waiting.runtime(Runtime::Python);
        expect_cause(&python, judge, Some(Confidence::Likely), "client pool");
    }

    #[test]
    fn inbound_read_or_full_of_data_is_not_a_pool() {
        expect_cause(&CloseWaitCase::sockets(6).recv_q(1), judge, None, "");
        expect_cause(
            &CloseWaitCase::sockets(6).outbound().recv_q(0),
            judge,
            None,
            "",
        );
        expect_cause(
            &CloseWaitCase::sockets(6).outbound().recv_q(400),
            judge,
            None,
            "",
        );
    }
}
