//! A filter that the kernel runs over the table: byte code of `inet_diag` (`net/ipv4/inet_diag.c`).
//!
//! Only the oldest operations are used, which every kernel understands. A program ends well at its
//! very end, and badly four bytes behind it; it can only jump forwards, and a comparison that holds
//! goes on with the next operation, since that offset is a byte (`struct inet_diag_bc_op`).

use std::net::IpAddr;

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};

use crate::model::{Condition, End, Prefix};

/// A program that takes a row or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteCode(Vec<u8>);

/// The largest set of ports that the kernel is asked to filter by. More are not worth its time: each
/// row would run through all of it. Then the caller asks for all rows and drops what it does not want.
pub(crate) const PORTS_AT_MOST: usize = 32;

/// Bytes of the longest program: half of what its offsets reach, and of what an attribute holds. The
/// kernel's auditor walks all of it again for each jump.
const LONGEST: usize = 32 * 1024;

const OP_JUMP: u8 = 1;
const OP_LOCAL_AT_LEAST: u8 = 2;
const OP_LOCAL_AT_MOST: u8 = 3;
const OP_REMOTE_AT_LEAST: u8 = 4;
const OP_REMOTE_AT_MOST: u8 = 5;
const OP_LOCAL: u8 = 7;
const OP_REMOTE: u8 = 8;
const OP_SIZE: usize = 4;

impl ByteCode {
    /// Takes rows with these local ports, unless there are none or too many.
    pub fn of_local_ports(ports: impl IntoIterator<Item = u16>) -> Option<ByteCode> {
        let mut ports: Vec<u16> = ports.into_iter().collect();
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() || ports.len() > PORTS_AT_MOST {
            return None;
        }
        let ports = ports.into_iter();
        let ports = ports.map(|port| Condition::Port(End::Local, port..=port));
        ByteCode::of(&Condition::Any(ports.collect()))
    }

    /// Takes every row that `condition` takes, and no other. Devices, which not every
    /// release can tell, stand in no program: more rows pass, then. `None` if nothing is left, or the
    /// program is too long.
    pub fn of(condition: &Condition) -> Option<ByteCode> {
        let mut parts = Vec::new();
        each_part(condition, &mut |part| {
            if !part.asks_for_device() {
                parts.push(part);
            }
        });
        if parts.is_empty() {
            return None;
        }
        let mut program = Program::default();
        for part in parts {
            let next = program.label();
            program.push(part, next, REJECT, next);
            program.bind(next);
        }
        program.link().map(ByteCode)
    }

    /// The content of `INET_DIAG_REQ_BYTECODE`.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Gives the conditions that all have to hold.
fn each_part<'a>(condition: &'a Condition, on_part: &mut dyn FnMut(&'a Condition)) {
    match condition {
        Condition::All(all) => all.iter().for_each(|one| each_part(one, on_part)),
        part => on_part(part),
    }
}

/// Operations before their offsets are known.
#[derive(Default)]
struct Program {
    ops: Vec<Op>,
    /// Where each label is, as an index of `ops`.
    labels: Vec<usize>,
}

struct Op {
    code: u8,
    /// The operand of a comparison of ports has the form of an operation.
    operand: Vec<u8>,
    no: Label,
}

/// A place in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label(usize);

/// Behind the end: the row is not taken.
const REJECT: Label = Label(usize::MAX);

impl Program {
    fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    fn bind(&mut self, label: Label) {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = self.ops.len();
        }
    }

    /// Appends what goes on at `yes` if `condition` holds and at `no` if not; `next` is the label that
    /// is bound right behind it.
    fn push(&mut self, condition: &Condition, yes: Label, no: Label, next: Label) {
        match condition {
            Condition::Not(other) => self.push(other, no, yes, next),
            Condition::All(all) => self.push_each(all, Junction::All, (yes, no, next)),
            Condition::Any(any) => self.push_each(any, Junction::Any, (yes, no, next)),
            Condition::Port(end, ports) => {
                let (at_least, at_most) = match end {
                    End::Local => (OP_LOCAL_AT_LEAST, OP_LOCAL_AT_MOST),
                    End::Remote => (OP_REMOTE_AT_LEAST, OP_REMOTE_AT_MOST),
                };
                if *ports.start() > 0 {
                    self.compare(at_least, port_operand(*ports.start()), no);
                }
                if *ports.end() < u16::MAX {
                    self.compare(at_most, port_operand(*ports.end()), no);
                }
                self.jump(yes, next);
            }
            Condition::Address(end, prefix) => {
                let code = match end {
                    End::Local => OP_LOCAL,
                    End::Remote => OP_REMOTE,
                };
                self.compare(code, address_operand(prefix), no);
                self.jump(yes, next);
            }
            // It is in no program.
            Condition::Device(_) => self.jump(yes, next),
        }
    }

    fn push_each(
        &mut self,
        conditions: &[Condition],
        junction: Junction,
        (yes, no, next): (Label, Label, Label),
    ) {
        let Some((last, others)) = conditions.split_last() else {
            return match junction {
                Junction::All => self.jump(yes, next),
                Junction::Any => self.jump(no, next),
            };
        };
        for one in others {
            let behind = self.label();
            match junction {
                Junction::All => self.push(one, behind, no, behind),
                Junction::Any => self.push(one, yes, behind, behind),
            }
            self.bind(behind);
        }
        self.push(last, yes, no, next);
    }

    fn compare(&mut self, code: u8, operand: Vec<u8>, no: Label) {
        self.ops.push(Op { code, operand, no });
    }

    fn jump(&mut self, to: Label, next: Label) {
        if to != next {
            self.compare(OP_JUMP, Vec::new(), to);
        }
    }

    /// The bytes, with all offsets; `None` if they are too many, or none.
    fn link(&self) -> Option<Vec<u8>> {
        let mut starts = Vec::with_capacity(self.ops.len() + 1);
        let mut end = 0;
        for op in &self.ops {
            starts.push(end);
            end += op.size();
        }
        starts.push(end);
        let mut code = Vec::with_capacity(end);
        for (op, start) in self.ops.iter().zip(&starts) {
            let target = match op.no {
                REJECT => end + OP_SIZE,
                Label(label) => *starts.get(*self.labels.get(label)?)?,
            };
            let no = u16::try_from(target.checked_sub(*start)?).ok()?;
            code.extend([op.code, u8::try_from(op.size()).ok()?]);
            code.extend(no.to_ne_bytes());
            code.extend(&op.operand);
        }
        (!code.is_empty() && code.len() <= LONGEST).then_some(code)
    }
}

impl Op {
    fn size(&self) -> usize {
        OP_SIZE + self.operand.len()
    }
}

#[derive(Debug, Clone, Copy)]
enum Junction {
    All,
    Any,
}

/// A port, in the place of an operation's second offset.
fn port_operand(port: u16) -> Vec<u8> {
    let [a, b] = port.to_ne_bytes();
    vec![0, 0, a, b]
}

/// `struct inet_diag_hostcond`: family, length of the prefix, any port, address.
fn address_operand(prefix: &Prefix) -> Vec<u8> {
    const ANY_PORT: i32 = -1;
    let family = match prefix.address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    };
    let mut operand = vec![family, prefix.length, 0, 0];
    operand.extend(ANY_PORT.to_ne_bytes());
    match prefix.address {
        IpAddr::V4(address) => operand.extend(address.octets()),
        IpAddr::V6(address) => operand.extend(address.octets()),
    }
    operand
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::test_rows::connection;
    use crate::model::{SocketEntry, TcpState};

    /// The kernel's interpreter (`inet_diag_bc_run`), for the ops that are used here, and what its
    /// auditor (`inet_diag_bc_audit`) refuses.
    fn accepts(code: &[u8], row: &SocketEntry) -> bool {
        let word = |at: usize| u16::from_ne_bytes([code[at], code[at + 1]]);
        let (mut at, end) = (0, code.len());
        while at < end {
            let operand = code[at + 2 + 2..].iter().copied();
            let (local, remote) = (row.local, row.remote);
            let yes = match code[at] {
                OP_JUMP => false,
                OP_LOCAL_AT_LEAST => local.port() >= word(at + 6),
                OP_LOCAL_AT_MOST => local.port() <= word(at + 6),
                OP_REMOTE_AT_LEAST => remote.port() >= word(at + 6),
                OP_REMOTE_AT_MOST => remote.port() <= word(at + 6),
                op @ (OP_LOCAL | OP_REMOTE) => {
                    let operand: Vec<u8> = operand.take(usize::from(code[at + 1]) - 4).collect();
                    let address = match operand[0] {
                        AF_INET => IpAddr::from(<[u8; 4]>::try_from(&operand[8..]).unwrap()),
                        _ => IpAddr::from(<[u8; 16]>::try_from(&operand[8..]).unwrap()),
                    };
                    assert_eq!(operand[4..8], [0xff; 4], "any port");
                    let length = operand[1];
                    let end = if op == OP_LOCAL { local } else { remote };
                    Prefix { address, length }.takes(end.ip())
                }
                other => panic!("op {other} at {at}"),
            };
            assert!(code[at + 1].is_multiple_of(4) && word(at + 2).is_multiple_of(4));
            at += usize::from(if yes {
                u16::from(code[at + 1])
            } else {
                word(at + 2)
            });
            assert!(at <= end + OP_SIZE);
        }
        at == end
    }

    fn row(local: &str, remote: &str) -> SocketEntry {
        let mut row = connection(local, TcpState::Established);
        row.remote = remote.parse().unwrap();
        row
    }

    #[test]
    fn accepts_the_ports_and_no_other() {
        let code = ByteCode::of_local_ports([8080, 22, 65535, 22]).unwrap();
        let check = |port: u16, expect| {
            let row = row(&format!("127.0.0.1:{port}"), "127.0.0.9:40000");
            assert_eq!(accepts(code.bytes(), &row), expect, "port {port}");
        };
        check(22, true);
        check(8080, true);
        check(65535, true);
        check(21, false);
        check(23, false);
        check(0, false);
    }

    #[test]
    fn too_many_ports_are_not_a_filter() {
        assert_eq!(ByteCode::of_local_ports([]), None);
        assert_eq!(ByteCode::of_local_ports(0..=32), None);
        assert!(ByteCode::of_local_ports(0..32).is_some());
    }

    /// Every condition of up to three levels over a few simple ones, on rows that tell them apart.
    #[test]
    fn the_program_takes_what_the_condition_takes() {
        let address = |end, address: &str, length| {
            let address = address.parse().unwrap();
            Condition::Address(end, Prefix { address, length })
        };
        let simple = [
            Condition::Port(End::Local, 80..=80),
            Condition::Port(End::Remote, 40_000..=u16::MAX),
            Condition::Port(End::Local, 0..=u16::MAX),
            address(End::Local, "127.0.0.0", 8),
            address(End::Remote, "::1", 128),
            Condition::All(Vec::new()),
            Condition::Any(Vec::new()),
        ];
        let rows = [
            row("127.0.0.1:80", "127.0.0.9:40000"),
            row("10.0.0.1:80", "127.0.0.9:39999"),
            row("127.0.0.1:81", "127.0.0.9:65535"),
            row("[::1]:80", "[::1]:40000"),
            row("[::ffff:127.0.0.1]:5432", "[::ffff:127.0.0.9]:1"),
            row("[fd00::1]:5432", "[::1]:1"),
        ];
        let not = |one: &Condition| Condition::Not(Box::new(one.clone()));
        let (mut checked, mut taken) = (0, 0);
        let mut check = |condition: &Condition| {
            let code = ByteCode::of(condition);
            for row in &rows {
                let takes = condition.takes(row);
                // Without operations every row is delivered.
                let delivered = code.as_ref().is_none_or(|code| accepts(code.bytes(), row));
                assert_eq!(delivered, takes, "{condition:?} {row:?}");
                (checked, taken) = (checked + 1, taken + u32::from(takes));
            }
        };
        let mut level: Vec<Condition> = simple
            .iter()
            .flat_map(|one| [one.clone(), not(one)])
            .collect();
        level.iter().for_each(&mut check);
        let pair = |a: &Condition, b: &Condition| {
            let both = vec![a.clone(), b.clone()];
            let (all, any) = (Condition::All(both.clone()), Condition::Any(both));
            [not(&all), all, not(&any), any]
        };
        let simple = level.clone();
        level = (simple.iter())
            .flat_map(|a| simple.iter().flat_map(move |b| pair(a, b)))
            .collect();
        level.iter().for_each(&mut check);
        for a in level.iter().step_by(7) {
            for b in level.iter().step_by(11) {
                pair(a, b).iter().for_each(&mut check);
            }
        }
        assert!(checked > 10_000 && taken > 1_000, "{checked} {taken}");
    }

    #[test]
    fn what_the_kernel_cannot_tell_is_left_out() {
        let (port, device) = (Condition::Port(End::Local, 80..=80), Condition::Device(1));
        let both = || vec![port.clone(), device.clone()];
        assert_eq!(ByteCode::of(&device), None);
        assert_eq!(ByteCode::of(&Condition::Any(both())), None);
        assert_eq!(ByteCode::of(&Condition::All(both())), ByteCode::of(&port));
        assert!(ByteCode::of(&port).is_some());
    }

    #[test]
    fn a_program_that_is_too_long_is_none() {
        let addresses = (0..2000_u32).map(|number| {
            let address = IpAddr::from(number.to_be_bytes());
            let prefix = Prefix {
                address,
                length: 32,
            };
            Condition::Address(End::Remote, prefix)
        });
        assert!(ByteCode::of(&Condition::Any(addresses.collect())).is_none());
    }
}
