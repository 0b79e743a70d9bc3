//! ss's filter language, as trailing words: from text to [`crate::model::Expression`].
//!
//! Read as ss of iproute2 reads it (`misc/ssfilter.y` and `misc/ss.c` there), with a mistake pointed
//! at in the text. `word` splits the text, `parse` has the grammar, `end` reads addresses and ports.
//! What a name of a port means, whoever calls this knows; names of hosts are not looked up, since
//! that may take the network.
//!
//! Where ss is at odds with itself or with its manual page, this is what is done here:
//!
//! - `a or b and c` is `(a or b) and c`: operators have no precedence in ss, though `man 8 ss` says
//!   so. It is taken as ss takes it, and that is said (`Typed::regrouped`).
//! - A family (`inet:`, `inet6:`) is that of all rows, wherever it stands; of two, ss takes the last.
//!   Here two are a mistake.
//! - `not dst ::/0` and `not src 0.0.0.0` lose rows in ss: the kernel and ss compare an address with
//!   one of another family in two ways, and a row has to pass both. Here the kernel's way counts.
//! - `2001:db8::1:80` is an address with a port to ss. Without brackets it is a mistake here: it is
//!   an address, too.
//! - Numbers that are no ports (`:70000`, `:-1`), octal ones (`:010`), addresses cut short without a
//!   prefix length (`127.0`), and a set of states without a state are mistakes here.
//! - More than ss takes: parentheses and operators without spaces around them, ranges of ports
//!   (`sport = :8000-8099`), `!=` behind `src` and `dst`, short names of states, `[::1]/128`.

mod end;
mod mistake;
mod parse;
#[cfg(test)]
mod test_parse;
mod word;

pub use mistake::{Mistake, Regrouped};
pub use parse::{Typed, parse};
