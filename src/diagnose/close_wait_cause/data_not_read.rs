//! `data-not-read`: data and the end of file are unread (Recv-Q above 1).

use super::{Cause, CauseId, Judgement, Leaked, unread_cause};
use crate::model::Confidence;

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::DataNotRead,
    judge,
};

fn judge(leaked: &Leaked<'_, '_>) -> Judgement {
    unread_cause(
        leaked,
        leaked.count(|socket| socket.fin_unread && socket.unread_bytes > 0),
        Confidence::Certain,
        "left data and the end of file unread (Recv-Q above 1)",
        "read until the end of file, or close the socket when its work is given up",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::{CloseWaitCase, expect_cause};

    #[test]
    fn recv_q_is_above_one() {
        let case = |recv_q| CloseWaitCase::sockets(23).recv_q(recv_q);
        expect_cause(&case(11), judge, Some(Confidence::Certain), "left data");
        expect_cause(&case(2), judge, Some(Confidence::Certain), "left data");
        expect_cause(&case(1), judge, None, "");
    }

    #[test]
    fn a_hung_handler_is_no_forgotten_close() {
        let case = CloseWaitCase::sockets(3)
            .recv_q(9)
            .thread('S', "recvfrom", 30);
        expect_cause(
            &case,
            judge,
            Some(Confidence::Certain),
            "a handler that hangs",
        );
    }
}
