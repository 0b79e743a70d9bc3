//! The grammar: states, then conditions.

use std::iter::Peekable;
use std::ops::Range;
use std::vec::IntoIter;

use super::end::{self, Expected, Ports, Services};
use super::mistake::{Mistake, Regrouped};
use super::word::{Word, words};
use crate::model::{Condition, End, Expression, Family, States, TcpState};

/// What the text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// Which rows are wanted.
    pub expression: Expression,
    /// A place where the text may have been meant otherwise.
    pub regrouped: Option<Regrouped>,
}

/// Reads an expression. `services` knows the TCP ports that have names, or why one has none.
pub fn parse(text: &str, services: &dyn Fn(&str) -> Result<u16, String>) -> Result<Typed, Mistake> {
    let mut parser = Parser {
        text,
        words: words(text).into_iter().peekable(),
        services,
        count: 0,
        named_family: None,
        regrouped: None,
    };
    let states = parser.states()?;
    let condition = match parser.words.peek() {
        None => None,
        Some(_) => Some(parser.conditions(0)?),
    };
    if let Some(word) = parser.words.next() {
        return Err(parser.mistake(word.at, "nothing more: there is no '(' for this ')'"));
    }
    Ok(Typed {
        expression: Expression {
            states,
            family: parser.named_family,
            condition,
        },
        regrouped: parser.regrouped,
    })
}

/// More conditions than anybody types, and less than what a stack or the kernel's offsets hold.
const CONDITIONS_AT_MOST: usize = 256;
const DEPTH_AT_MOST: usize = 64;

const CONDITION: &str = "a condition: src, dst, sport, dport, dev, not or '('";
const STATE: &str = "a state: established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, time-wait, \
    closed, close-wait, last-ack, listening, closing; or all, connected, synchronized, bucket, big";

struct Parser<'a> {
    text: &'a str,
    words: Peekable<IntoIter<Word>>,
    services: Services<'a>,
    count: usize,
    named_family: Option<Family>,
    regrouped: Option<Regrouped>,
}

/// What stands between two ends that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What combines two conditions; one behind the other is `and`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Junction {
    And,
    Or,
}

impl Parser<'_> {
    fn mistake(&self, at: Range<usize>, expected: impl Into<String>) -> Mistake {
        Mistake::new(self.text, at, expected)
    }

    fn in_word(&self, word: &Word, expected: Expected) -> Mistake {
        self.mistake(word.part(expected.at), expected.what)
    }

    /// The next word; `expected` says what it has to be.
    fn word(&mut self, expected: &str) -> Result<Word, Mistake> {
        let end = self.text.len();
        let word = self.words.next();
        // The mark stands one column behind the text.
        word.ok_or_else(|| self.mistake(end..end, expected))
    }

    fn peek(&mut self) -> Option<&str> {
        self.words.peek().map(|word| word.text.as_str())
    }

    /// `state STATE` and `exclude STATE`, as often as wanted, each on what those before have left.
    fn states(&mut self) -> Result<States, Mistake> {
        let mut states = None;
        while let Some(word) = self.words.next_if(|word| is_about_states(&word.text)) {
            let name = self.word(STATE)?;
            let Some(named) = states_called(&name.text) else {
                return Err(self.mistake(name.at, STATE));
            };
            let left = match word.text.as_str() {
                "state" => states.unwrap_or(States::NONE).with(named),
                _ => states.unwrap_or(States::ALL).without(named),
            };
            if left == States::NONE {
                let at = word.at.start..name.at.end;
                return Err(self.mistake(at, "a state that is left: these leave none"));
            }
            states = Some(left);
        }
        Ok(states.unwrap_or(States::ALL))
    }

    /// Conditions up to `)` or the end, from left to right.
    fn conditions(&mut self, depth: usize) -> Result<Condition, Mistake> {
        let mut left = self.condition(depth)?;
        let mut seen_or = false;
        while let Some(word) = self.words.peek().filter(|word| word.text != ")") {
            let at = word.at.clone();
            let junction = match word.text.as_str() {
                "and" | "&&" | "&" => Some(Junction::And),
                "or" | "||" | "|" => Some(Junction::Or),
                _ => None,
            };
            if junction.is_some() {
                self.words.next();
            } else if !self.peek().is_some_and(begins_condition) {
                let what = match self.peek() {
                    Some(word) if is_about_states(word) => {
                        "states before all conditions, or 'and', 'or', a condition"
                    }
                    _ => "'and', 'or', a condition, or the end",
                };
                return Err(self.mistake(at, what));
            }
            let junction = junction.unwrap_or(Junction::And);
            if junction == Junction::And && seen_or && self.regrouped.is_none() {
                self.regrouped = Some(Regrouped::new(self.text, at));
            }
            seen_or |= junction == Junction::Or;
            left = join(left, junction, self.condition(depth)?);
        }
        Ok(left)
    }

    fn condition(&mut self, depth: usize) -> Result<Condition, Mistake> {
        let word = self.word(CONDITION)?;
        self.count += 1;
        if self.count > CONDITIONS_AT_MOST || depth > DEPTH_AT_MOST {
            let what =
                format!("no more than {CONDITIONS_AT_MOST} conditions, {DEPTH_AT_MOST} deep");
            return Err(self.mistake(word.at, what));
        }
        match word.text.as_str() {
            "not" | "!" => Ok(Condition::Not(Box::new(self.condition(depth + 1)?))),
            "(" => {
                let inside = self.conditions(depth + 1)?;
                match self.words.next() {
                    Some(_) => Ok(inside),
                    None => Err(self.mistake(word.at, "a ')' for this '('")),
                }
            }
            "src" => self.host(End::Local),
            "dst" => self.host(End::Remote),
            "sport" => self.port(End::Local),
            "dport" => self.port(End::Remote),
            "dev" => self.device(),
            "cgroup" => Err(self.mistake(
                word.at,
                format!("{CONDITION} (--unit, --container and --pod are for cgroups)"),
            )),
            "fwmark" | "autobound" => Err(self.mistake(
                word.at,
                format!("{CONDITION} ('{}' is not read from the kernel)", word.text),
            )),
            other if is_about_states(other) => {
                Err(self.mistake(word.at, format!("{CONDITION}; states come first")))
            }
            _ => Err(self.mistake(word.at, CONDITION)),
        }
    }

    /// The comparison, `=` if there is none, and its place.
    fn comparison(&mut self) -> (Comparison, Range<usize>) {
        let comparison = match self.peek() {
            Some("=" | "==" | "eq") => Comparison::Is,
            Some("!=" | "ne" | "neq") => Comparison::IsNot,
            Some("<" | "lt") => Comparison::Less,
            Some("<=" | "le" | "leq") => Comparison::AtMost,
            Some(">" | "gt") => Comparison::More,
            Some(">=" | "ge" | "geq") => Comparison::AtLeast,
            _ => return (Comparison::Is, 0..0),
        };
        let at = self.words.next().map_or(0..0, |word| word.at);
        (comparison, at)
    }

    /// For what has no order.
    fn equality(&mut self, of: &str) -> Result<Comparison, Mistake> {
        match self.comparison() {
            (found @ (Comparison::Is | Comparison::IsNot), _) => Ok(found),
            (_, at) => Err(self.mistake(at, format!("= or !=: {of} has no order"))),
        }
    }

    fn host(&mut self, end: End) -> Result<Condition, Mistake> {
        let comparison = self.equality("an address")?;
        let word = self.word("an address")?;
        let host = end::host(&word, self.services);
        let host = host.map_err(|expected| self.in_word(&word, expected))?;
        self.family(host.family, &word)?;
        let address = host.prefix.map(|prefix| Condition::Address(end, prefix));
        let port = host.ports.map(|ports| Condition::Port(end, ports));
        let both = address.into_iter().chain(port).collect();
        Ok(negated(comparison == Comparison::IsNot, one_or_all(both)))
    }

    fn port(&mut self, end: End) -> Result<Condition, Mistake> {
        let (comparison, at) = self.comparison();
        let word = self.word("a port")?;
        let port = end::port(&word, self.services);
        let (family, ports) = port.map_err(|expected| self.in_word(&word, expected))?;
        self.family(family, &word)?;
        let Some(ports) = compared(comparison, ports) else {
            return Err(self.mistake(at, "= or !=: what follows is not one port"));
        };
        Ok(match ports {
            Some(ports) => {
                let port = Condition::Port(end, ports);
                negated(comparison == Comparison::IsNot, port)
            }
            None if comparison == Comparison::Is => Condition::All(Vec::new()),
            None => Condition::Any(Vec::new()),
        })
    }

    fn device(&mut self) -> Result<Condition, Mistake> {
        let comparison = self.equality("a device")?;
        let word = self.word("the index of a device")?;
        let digits = word.text.bytes().all(|byte| byte.is_ascii_digit());
        match word.text.parse() {
            Ok(index) if digits => {
                let device = Condition::Device(index);
                Ok(negated(comparison == Comparison::IsNot, device))
            }
            _ => Err(self.mistake(
                word.at,
                "the index of a device, which ip link shows: names differ between namespaces",
            )),
        }
    }

    /// Notes the family that a word has named.
    fn family(&mut self, family: Option<Family>, word: &Word) -> Result<(), Mistake> {
        let Some(family) = family else {
            return Ok(());
        };
        match self.named_family {
            Some(other) if other != family => Err(self.mistake(
                word.at.clone(),
                "the family that was named before: a family is that of all rows",
            )),
            _ => {
                self.named_family = Some(family);
                Ok(())
            }
        }
    }
}

fn begins_condition(word: &str) -> bool {
    const WORDS: [&str; 11] = [
        "not",
        "!",
        "(",
        "src",
        "dst",
        "sport",
        "dport",
        "dev",
        "cgroup",
        "fwmark",
        "autobound",
    ];
    WORDS.contains(&word)
}

/// A word that only stands before all conditions.
fn is_about_states(word: &str) -> bool {
    matches!(word, "state" | "exclude" | "excl")
}

/// A state or a group of states, as ss names them.
fn states_called(name: &str) -> Option<States> {
    use TcpState::{Close, Listen, SynRecv, SynSent, TimeWait};
    let all_but = |states: &[TcpState]| States::ALL.without(states.iter().copied().collect());
    Some(match name.to_ascii_lowercase().as_str() {
        "all" => States::ALL,
        "connected" => all_but(&[Close, Listen]),
        "synchronized" => all_but(&[Close, Listen, SynSent]),
        "bucket" => [SynRecv, TimeWait].into_iter().collect(),
        "big" => all_but(&[SynRecv, TimeWait]),
        "unconnected" => [Close].into_iter().collect(),
        name => [name.parse().ok()?].into_iter().collect(),
    })
}

/// The ports that a comparison takes, `IsNot` aside; `None` in it for all or none of them. `None` if it
/// cannot be compared so.
fn compared(comparison: Comparison, ports: Ports) -> Option<Ports> {
    let one = ports.as_ref().filter(|ports| ports.start() == ports.end());
    let one = one.map(|ports| *ports.start());
    Some(match comparison {
        Comparison::Is | Comparison::IsNot => ports,
        Comparison::AtMost => Some(0..=one?),
        Comparison::AtLeast => Some(one?..=u16::MAX),
        Comparison::Less => one?.checked_sub(1).map(|last| 0..=last),
        Comparison::More => one?.checked_add(1).map(|first| first..=u16::MAX),
    })
}

fn negated(is_negated: bool, condition: Condition) -> Condition {
    match is_negated {
        true => Condition::Not(Box::new(condition)),
        false => condition,
    }
}

fn one_or_all(mut conditions: Vec<Condition>) -> Condition {
    match conditions.len() {
        1 => conditions.remove(0),
        _ => Condition::All(conditions),
    }
}

/// `left` and `right` as one; what is joined in the same way stays one list.
fn join(left: Condition, junction: Junction, right: Condition) -> Condition {
    match (left, junction) {
        (Condition::All(mut all), Junction::And) if !all.is_empty() => {
            all.push(right);
            Condition::All(all)
        }
        (Condition::Any(mut any), Junction::Or) if !any.is_empty() => {
            any.push(right);
            Condition::Any(any)
        }
        (left, Junction::And) => Condition::All(vec![left, right]),
        (left, Junction::Or) => Condition::Any(vec![left, right]),
    }
}
