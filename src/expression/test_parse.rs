//! The language as tables of cases: what each text means, and what is said about mistakes.
//!
//! `tests/filter.rs` has the same against ss itself.

use super::*;
use crate::model::{Condition, End, Family, States, TcpState};

fn services(name: &str) -> Result<u16, String> {
    match name {
        "http" => Ok(80),
        "http-alt" => Ok(8080),
        _ => Err("unknown".to_owned()),
    }
}

/// A condition with all of its parentheses.
fn shown(condition: &Condition) -> String {
    let joined = |conditions: &[Condition], with: &str| {
        let conditions: Vec<String> = conditions.iter().map(shown).collect();
        format!("({})", conditions.join(with))
    };
    let side = |end: &End| match end {
        End::Local => 's',
        End::Remote => 'd',
    };
    match condition {
        Condition::All(all) => joined(all, " & "),
        Condition::Any(any) if any.is_empty() => "none".to_owned(),
        Condition::Any(any) => joined(any, " | "),
        Condition::Not(other) => format!("!{}", shown(other)),
        Condition::Address(end, prefix) => {
            format!("{} {}/{}", side(end), prefix.address, prefix.length)
        }
        Condition::Port(end, ports) if ports.start() == ports.end() => {
            format!("{} :{}", side(end), ports.start())
        }
        Condition::Port(end, ports) => {
            format!("{} :{}-{}", side(end), ports.start(), ports.end())
        }
        Condition::Device(index) => format!("dev {index}"),
    }
}

#[track_caller]
fn check(text: &str, expect: &str) {
    let typed = parse(text, &services).unwrap_or_else(|mistake| panic!("{mistake}"));
    let condition = typed.expression.condition.as_ref().map(shown);
    assert_eq!(condition.unwrap_or_default(), expect, "{text}");
}

#[test]
fn ports() {
    check("sport = :80", "s :80");
    check("sport :80", "s :80");
    check("sport 80", "s :80");
    check("dport = http", "d :80");
    check("dport eq :http-alt", "d :8080");
    check("sport == 0x50", "s :80");
    check("sport=:80", "s :80");
    check("sport != :80", "!s :80");
    check("sport ne 80", "!s :80");
    check("sport neq 80", "!s :80");
    check("sport < 80", "s :0-79");
    check("sport lt 80", "s :0-79");
    check("sport <= 80", "s :0-80");
    check("sport le :80", "s :0-80");
    check("sport leq :80", "s :0-80");
    check("dport > 80", "d :81-65535");
    check("dport gt 80", "d :81-65535");
    check("dport >= 80", "d :80-65535");
    check("dport ge 80", "d :80-65535");
    check("dport geq 80", "d :80-65535");
    check("sport < :0", "none");
    check("sport > :65535", "none");
    check("sport >= 0", "s :0-65535");
    check("sport = *", "()");
    check("sport = :*", "()");
    check("sport != *", "none");
    check("sport = :8000-8099", "s :8000-8099");
    check("sport != 8000-8099", "!s :8000-8099");
}

#[test]
fn addresses() {
    check("dst 10.0.0.1", "d 10.0.0.1/32");
    check("dst = 10.0.0.1", "d 10.0.0.1/32");
    check("src != 10.0.0.1", "!s 10.0.0.1/32");
    check("src 10.0.0.0/8", "s 10.0.0.0/8");
    check("src 10/8", "s 10.0.0.0/8");
    check("src 10.1/16", "s 10.1.0.0/16");
    check("src 10.0.0.0/255.0.0.0", "s 10.0.0.0/8");
    check("src 10.0.0.0/8:80", "(s 10.0.0.0/8 & s :80)");
    check("src 10.0.0.1:http", "(s 10.0.0.1/32 & s :80)");
    check("src 10.0.0.1:*", "s 10.0.0.1/32");
    check("src 10.0.0.1:80-81", "(s 10.0.0.1/32 & s :80-81)");
    check("src != 10.0.0.1:80", "!(s 10.0.0.1/32 & s :80)");
    check("dst :80", "d :80");
    check("dst *:80", "d :80");
    check("dst *", "()");
    check("dst any", "()");
    check("dst [::1]", "d ::1/128");
    check("dst [::1]:80", "(d ::1/128 & d :80)");
    check("dst [fd00::/16]", "d fd00::/16");
    check("dst [fd00::]/16", "d fd00::/16");
    check("dst [fd00::/16]:80", "(d fd00::/16 & d :80)");
    check("dst [fd00::]/16:80", "(d fd00::/16 & d :80)");
    check("dst fd00::/16", "d fd00::/16");
    check("dst fd00::/16:80", "(d fd00::/16 & d :80)");
    check("dst ::/0", "d ::/0");
    check("dst [::ffff:10.0.0.1]", "d ::ffff:10.0.0.1/128");
    check("dst [10.0.0.1]:80", "(d 10.0.0.1/32 & d :80)");
    check("dev 2", "dev 2");
    check("dev != 0", "!dev 0");
}

#[test]
fn operators() {
    check("sport = :1 and dport = :2", "(s :1 & d :2)");
    check("sport = :1 && dport = :2", "(s :1 & d :2)");
    check("sport = :1 & dport = :2", "(s :1 & d :2)");
    check("sport = :1 dport = :2", "(s :1 & d :2)");
    check(
        "sport = :1 or dport = :2 | dport = :3 || dport = :4",
        "(s :1 | d :2 | d :3 | d :4)",
    );
    check("not sport = :1", "!s :1");
    check("! ! sport = :1", "!!s :1");
    check("not sport = :1 or dport = :2", "(!s :1 | d :2)");
    check("not ( sport = :1 or dport = :2 )", "!(s :1 | d :2)");
    check(
        "!(sport=:1||dport=:2)&&dst 10.0.0.1",
        "(!(s :1 | d :2) & d 10.0.0.1/32)",
    );
    check("\\( sport = :1 \\)", "s :1");
    check("( ( sport = :1 ) )", "s :1");
    // From left to right, as in ss: no operator goes before another.
    check(
        "sport = :1 or dport = :2 and dst 10.0.0.1",
        "((s :1 | d :2) & d 10.0.0.1/32)",
    );
    check(
        "sport = :1 or dport = :2 dst 10.0.0.1",
        "((s :1 | d :2) & d 10.0.0.1/32)",
    );
    check(
        "dst 10.0.0.1 and sport = :1 or dport = :2",
        "((d 10.0.0.1/32 & s :1) | d :2)",
    );
    check("src * and sport = :1", "(() & s :1)");
}

#[test]
fn a_meaning_that_depends_on_the_reader_is_said() {
    let check = |text: &str, place: Option<&str>| {
        let regrouped = parse(text, &services).unwrap().regrouped;
        let marked = regrouped.map(|regrouped| {
            let text = regrouped.to_string();
            let lines: Vec<&str> = text.lines().collect();
            let (line, carets) = (lines[1], lines[2]);
            line[carets.find('^').unwrap()..carets.len()].to_owned()
        });
        assert_eq!(marked.as_deref(), place, "{text}");
    };
    check("sport = :1 or dport = :2 and dst 10.0.0.1", Some("and"));
    check("sport = :1 or dport = :2 dst 10.0.0.1", Some("dst"));
    check("sport = :1 and dport = :2 or dst 10.0.0.1", None);
    check("( sport = :1 or dport = :2 ) and dst 10.0.0.1", None);
    check("sport = :1 or ( dport = :2 and dst 10.0.0.1 )", None);
    check("sport = :1 or dport = :2", None);
}

#[test]
fn states() {
    use TcpState::*;
    let check = |text: &str, expect: &[TcpState]| {
        let states = parse(text, &services).unwrap().expression.states;
        let named: Vec<TcpState> = TcpState::all()
            .filter(|one| states.contains(*one))
            .collect();
        assert_eq!(named, expect, "{text}");
    };
    let all: Vec<TcpState> = TcpState::all().collect();
    let but = |states: &[TcpState]| -> Vec<TcpState> {
        TcpState::all()
            .filter(|one| !states.contains(one))
            .collect()
    };
    check("sport = :80", &all);
    check("state all", &all);
    check("state established", &[Established]);
    check("state ESTAB", &[Established]);
    check(
        "state close-wait state established",
        &[Established, CloseWait],
    );
    check("state fin-wait-1", &[FinWait1]);
    check("state fin-wait-2", &[FinWait2]);
    check("state syn-rcv", &[SynRecv]);
    check("state closed", &[Close]);
    check("state close", &[Close]);
    check("state unconnected", &[Close]);
    check("state listening", &[Listen]);
    check("state connected", &but(&[Close, Listen]));
    check("state synchronized", &but(&[Close, Listen, SynSent]));
    check("state bucket", &[SynRecv, TimeWait]);
    check("state big", &but(&[SynRecv, TimeWait]));
    check("exclude listening", &but(&[Listen]));
    check(
        "excl listening exclude established",
        &but(&[Listen, Established]),
    );
    check(
        "state connected exclude established state listening",
        &but(&[Close, Established]),
    );
    check("exclude listening state listening", &all);
    check("state close-wait sport = :80", &[CloseWait]);
    assert_eq!(
        parse("exclude listening", &services)
            .unwrap()
            .expression
            .condition,
        None
    );
    let unknown = parse("state connected", &services)
        .unwrap()
        .expression
        .states;
    assert!(unknown.contains(TcpState::Unknown(77)) && unknown != States::ALL);
}

#[test]
fn a_family_is_that_of_all_rows() {
    let check = |text: &str, family, expect: &str| {
        let typed = parse(text, &services).unwrap();
        assert_eq!(typed.expression.family, family, "{text}");
        assert_eq!(
            shown(&typed.expression.condition.unwrap()),
            expect,
            "{text}"
        );
    };
    check("dst 10.0.0.1", None, "d 10.0.0.1/32");
    check(
        "dst inet:10.0.0.1:80",
        Some(Family::V4),
        "(d 10.0.0.1/32 & d :80)",
    );
    check("dst inet6:[::1]", Some(Family::V6), "d ::1/128");
    check("dst inet6:*", Some(Family::V6), "()");
    check("sport = inet6:80", Some(Family::V6), "s :80");
    check(
        "sport = inet::80 or dport = inet:81",
        Some(Family::V4),
        "(s :80 | d :81)",
    );
}

#[test]
fn a_mistake_is_pointed_at() {
    // The text, what is marked in it, and the beginning of what was expected there.
    let check = |text: &str, place: &str, expect: &str| {
        let mistake = parse(text, &services).unwrap_err();
        let shown = mistake.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let [_, line, carets] = lines[..] else {
            panic!("{shown}");
        };
        let marked = line.get(carets.find('^').unwrap()..carets.len());
        assert_eq!(marked.unwrap_or_default(), place, "{shown}");
        assert!(mistake.expected.starts_with(expect), "{shown}");
    };
    check("sport = :80800", "80800", "a port (0 to 65535)");
    check("sport = :-1", "-1", "a port (0 to 65535), its name");
    check(
        "sport = :nosuch",
        "nosuch",
        "a port (0 to 65535), its name, or *: unknown",
    );
    check("sport = :010", "010", "a port in decimal");
    check("sport = 0xfffff", "0xfffff", "a port in decimal");
    check("sport = :90-80", "80", "a port from 90 on");
    check("sport = :80-70000", "70000", "a port (0 to 65535)");
    check("sport = :80,81", "80,81", "a port");
    check("sport = :", ":", "a port");
    check("sport =", "", "a port");
    check("sport = = :80", "=", "a port");
    check("sport =< :80", "<", "a port");
    check("sport < 80-90", "<", "= or !=");
    check("sport >= *", ">=", "= or !=");
    check("sport :80 or :8080", ":8080", "a condition");
    check(
        "dst 10.0.0.1 8080",
        "8080",
        "'and', 'or', a condition, or the end",
    );
    check(
        "dst 8080",
        "8080",
        "an address, with /LEN and :PORT if wanted, such as",
    );
    check("dst db.example", "db.example", "an address, with");
    check("dst 10.0.0.1/33", "33", "the length of a prefix (0 to 32)");
    check("dst 10.0.0.1/08", "08", "the length of a prefix (0 to 32)");
    check(
        "dst 10.0.0.1/255.0.255.0",
        "255.0.255.0",
        "the length of a prefix (0 to 32)",
    );
    check("dst [::1]/129", "129", "the length of a prefix (0 to 128)");
    check("dst 300.0.0.1", "300.0.0.1", "an address");
    check("dst 127.0.0", "127.0.0", "an address");
    check("dst *:80/8", "*:80", "an address");
    check("dst */8", "8", "no length");
    check("dst 10.0.0.1:", ":", "a port");
    check("dst ::1", "::1", "brackets");
    check("dst 2001:db8::1:80", "2001:db8::1:80", "brackets");
    check("dst [::1", "[::1", "']'");
    check("dst [::1]80", "80", "/LEN, :PORT or nothing");
    check("dst [::1/128]/128", "/128", "/LEN, :PORT or nothing");
    check("dst > 10.0.0.1", ">", "= or !=");
    check("dst unix:/x", "unix:", "inet: or inet6:");
    check(
        "dst inet:10.0.0.1 or src inet6:[::1]",
        "inet6:[::1]",
        "the family",
    );
    check("dev lo", "lo", "the index");
    check("cgroup /system.slice", "cgroup", "a condition");
    check("sport = :80 fwmark = 1", "fwmark", "a condition");
    check("autobound", "autobound", "a condition");
    check("SPORT = :80", "SPORT", "a condition");
    check("or sport = :80", "or", "a condition");
    check("sport = :80 or", "", "a condition");
    check("sport = :80 AND dport = :1", "AND", "'and', 'or'");
    check("not", "", "a condition");
    check("()", ")", "a condition");
    check("( sport = :80", "(", "a ')'");
    check("sport = :80 )", ")", "nothing more");
    check("state", "", "a state");
    check("state nosuch", "nosuch", "a state");
    check("state close-wait or sport = :80", "or", "a condition");
    check(
        "sport = :80 state established",
        "state",
        "states before all conditions",
    );
    check(
        "sport = :80 and state established",
        "state",
        "a condition: src, dst, sport, dport",
    );
    check("exclude all", "exclude all", "a state that is left");
    check(
        "state established exclude established",
        "exclude established",
        "a state that is left",
    );
    check("8080", "8080", "a condition");
}

#[test]
fn nothing_is_too_much() {
    let many = vec!["sport = :80"; 257].join(" or ");
    assert!(parse(&many, &services).is_err());
    assert!(parse(&many[..many.len() - " or sport = :80".len()], &services).is_ok());
    let deep = |depth: usize| format!("{}sport = :80{}", "( ".repeat(depth), " )".repeat(depth));
    assert!(parse(&deep(64), &services).is_ok());
    assert!(parse(&deep(65), &services).is_err());
    assert!(parse(&"not ".repeat(100_000), &services).is_err());
}

#[test]
fn what_was_typed_cannot_drive_the_terminal() {
    let mistake = parse("dst \u{1b}[31m漢字:x sport", &services).unwrap_err();
    let shown = mistake.to_string();
    let lines: Vec<&str> = shown.lines().collect();
    // The marks stand under what is seen, of which some takes two columns.
    assert_eq!(
        lines[1..],
        ["  dst \\x1b[31m漢字:x sport", "      ^^^^^^^^^^^^"]
    );
}
