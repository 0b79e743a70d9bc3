//! A filter that the kernel runs over the table: byte code of `inet_diag` (`net/ipv4/inet_diag.c`).

/// Rows whose local port is in a set.
///
/// A larger set than [`PortFilter::LIMIT`] is not worth the kernel's time: each row would run
/// through all of it. Then the caller asks for all rows and drops those it does not want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFilter {
    local_ports: Vec<u16>,
}

const OP_JUMP: u8 = 1;
const OP_LOCAL_AT_LEAST: u8 = 2;
const OP_LOCAL_AT_MOST: u8 = 3;
const OP_SIZE: usize = 4;
/// At-least with its port, at-most with its port, jump to the end.
const BLOCK: usize = 5 * OP_SIZE;

impl PortFilter {
    /// The largest set that the kernel is asked to filter by.
    pub const LIMIT: usize = 32;

    /// A filter for these local ports, unless there are none or too many.
    pub fn new(ports: impl IntoIterator<Item = u16>) -> Option<PortFilter> {
        let mut local_ports: Vec<u16> = ports.into_iter().collect();
        local_ports.sort_unstable();
        local_ports.dedup();
        (!local_ports.is_empty() && local_ports.len() <= Self::LIMIT)
            .then_some(PortFilter { local_ports })
    }

    /// The byte code: for each port "at least and at most, then jump behind the end", which
    /// accepts. A row that passes no block jumps four bytes further, which rejects. The two
    /// comparisons are the oldest ones, understood by every kernel (equality came with 4.16).
    pub(crate) fn to_bytecode(&self) -> Vec<u8> {
        let end = self.local_ports.len() * BLOCK;
        let mut code = Vec::with_capacity(end);
        for (index, port) in self.local_ports.iter().enumerate() {
            let start = index * BLOCK;
            let last = index + 1 == self.local_ports.len();
            // Where a comparison that fails continues, counted from the op itself.
            let next = |at: usize| {
                if last {
                    end + OP_SIZE - at
                } else {
                    start + BLOCK - at
                }
            };
            push_op(&mut code, OP_LOCAL_AT_LEAST, 8, next(start));
            push_op(&mut code, 0, 0, usize::from(*port));
            push_op(&mut code, OP_LOCAL_AT_MOST, 8, next(start + 8));
            push_op(&mut code, 0, 0, usize::from(*port));
            push_op(&mut code, OP_JUMP, 4, end - (start + 16));
        }
        code
    }
}

/// `struct inet_diag_bc_op`: code, offset if true, offset if false (or the operand).
fn push_op(code: &mut Vec<u8>, op: u8, yes: u8, no: usize) {
    code.extend([op, yes]);
    code.extend(u16::try_from(no).unwrap_or(u16::MAX).to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's interpreter (`inet_diag_bc_run`), for the ops that are used here.
    fn accepts(code: &[u8], port: u16) -> bool {
        let word = |at: usize| u16::from_ne_bytes([code[at], code[at + 1]]);
        let (mut at, end) = (0, code.len());
        while at < end {
            let yes = match code[at] {
                OP_JUMP => false,
                OP_LOCAL_AT_LEAST => port >= word(at + 6),
                OP_LOCAL_AT_MOST => port <= word(at + 6),
                other => panic!("op {other} at {at}"),
            };
            at += usize::from(if yes {
                u16::from(code[at + 1])
            } else {
                word(at + 2)
            });
        }
        at == end
    }

    #[test]
    fn accepts_the_ports_and_no_other() {
        let code = PortFilter::new([8080, 22, 65535, 22])
            .unwrap()
            .to_bytecode();
        assert_eq!(code.len(), 3 * BLOCK);
        let check = |port, expect| assert_eq!(accepts(&code, port), expect, "port {port}");
        check(22, true);
        check(8080, true);
        check(65535, true);
        check(21, false);
        check(23, false);
        check(0, false);
    }

    #[test]
    fn too_many_ports_are_not_a_filter() {
        assert_eq!(PortFilter::new([]), None);
        assert_eq!(PortFilter::new(0..=32), None);
        assert!(PortFilter::new(0..32).is_some());
    }
}
