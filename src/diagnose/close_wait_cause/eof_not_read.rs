//! `eof-not-read`: all data was read, and the end of file behind it was not (Recv-Q 1).

use super::{Cause, CauseId, Judgement, Leaked, unread_cause};
use crate::model::Confidence;

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::EofNotRead,
    judge,
};

fn judge(leaked: &Leaked<'_, '_>) -> Judgement {
    unread_cause(
        leaked,
        leaked.count(|socket| socket.fin_unread && socket.unread_bytes == 0),
        Confidence::Certain,
        "read all data and not the end of file behind it (Recv-Q 1)",
        "keep reading or polling each socket until the end of file, then close it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::{CloseWaitCase, expect_cause};

    #[test]
    fn recv_q_is_one() {
        let case = |recv_q| CloseWaitCase::sockets(23).recv_q(recv_q);
        expect_cause(
            &case(1),
            judge,
            Some(Confidence::Certain),
            "not the end of file",
        );
        expect_cause(&case(0), judge, None, "");
        expect_cause(&case(2), judge, None, "");
    }

    #[test]
    fn the_holder_refines_it() {
        let case = CloseWaitCase::sockets(3)
            .recv_q(1)
            .thread('S', "epoll_wait", 9)
            .unregistered();
        expect_cause(
            &case,
            judge,
            Some(Confidence::Certain),
            "in none of its epoll sets",
        );
    }
}
