//! `read-not-closed`: everything was read, and the socket not closed (Recv-Q 0).

use super::{Cause, CauseId, Judgement, Leaked, unread_cause};
use crate::model::Confidence;

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::ReadNotClosed,
    judge,
};

/// One `recv()` may drain the data with the FIN behind it before the program has seen the end of
/// file, so that it saw it is likely only (facts W2).
fn judge(leaked: &Leaked<'_, '_>) -> Judgement {
    unread_cause(
        leaked,
        leaked.count(|socket| !socket.fin_unread),
        Confidence::Likely,
        "read everything, most likely the end of file too (Recv-Q 0), and not closed the socket",
        "close the socket on every path after the end of file, errors included",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::{CloseWaitCase, expect_cause};

    #[test]
    fn recv_q_is_zero() {
        let case = |recv_q| CloseWaitCase::sockets(23).recv_q(recv_q);
        expect_cause(&case(0), judge, Some(Confidence::Likely), "read everything");
        expect_cause(&case(1), judge, None, "");
    }
}
