//! What came of the mixes: the confusion matrix, and everything that was not as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

/// Nothing, or nothing that accuses anybody.
pub(crate) const NOTHING: &str = "nothing";

/// Sums over mixes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) mixes: u64,
    /// Reports held against the truth.
    pub(crate) reports: u64,
    /// (what is true, what was reported first), and how often.
    pub(crate) matrix: BTreeMap<(String, String), u64>,
    /// Accept queues and sockets in CLOSE_WAIT whose holders were compared.
    pub(crate) held: u64,
    /// Times that were held against the test's own clock.
    pub(crate) ages: u64,
    pub(crate) misses: u64,
    pub(crate) false_accusations: u64,
    /// Wrong holders and times.
    pub(crate) wrong_details: u64,
    /// Cases that the machine was too slow to set up.
    pub(crate) not_set_up: u64,
    /// In words, each with the seed of its mix.
    pub(crate) disagreements: Vec<String>,
}

impl Tally {
    pub(crate) fn reported(&mut self, truth: &str, verdict: &str) {
        let cell = (truth.to_owned(), verdict.to_owned());
        *self.matrix.entry(cell).or_default() += 1;
    }

    pub(crate) fn is_right(&self) -> bool {
        self.disagreements.is_empty()
    }

    pub(crate) fn add(&mut self, other: Tally) {
        self.mixes += other.mixes;
        self.reports += other.reports;
        self.held += other.held;
        self.ages += other.ages;
        self.misses += other.misses;
        self.false_accusations += other.false_accusations;
        self.wrong_details += other.wrong_details;
        self.not_set_up += other.not_set_up;
        self.disagreements.extend(other.disagreements);
        for (cell, count) in other.matrix {
            *self.matrix.entry(cell).or_default() += count;
        }
    }

    /// For the process that started the one in which a mix ran.
    pub(crate) fn to_json(&self) -> Value {
        let matrix = self.matrix.iter();
        let matrix: Vec<_> = matrix.map(|((a, b), count)| json!([a, b, count])).collect();
        json!({
            "numbers": self.numbers(),
            "matrix": matrix,
            "disagreements": self.disagreements,
        })
    }

    fn numbers(&self) -> [u64; 8] {
        [
            self.mixes,
            self.reports,
            self.held,
            self.ages,
            self.misses,
            self.false_accusations,
            self.wrong_details,
            self.not_set_up,
        ]
    }

    pub(crate) fn from_json(text: &str) -> Option<Tally> {
        let value: Value = serde_json::from_str(text).ok()?;
        let numbers = value["numbers"].as_array()?;
        let numbers: Vec<u64> = numbers.iter().filter_map(Value::as_u64).collect();
        let [
            mixes,
            reports,
            held,
            ages,
            misses,
            false_accusations,
            wrong_details,
            not_set_up,
        ] = numbers[..]
        else {
            return None;
        };
        let word = |value: &Value| Some(value.as_str()?.to_owned());
        let cells = value["matrix"].as_array()?.iter();
        let cells = cells.map(|cell| Some(((word(&cell[0])?, word(&cell[1])?), cell[2].as_u64()?)));
        let said = value["disagreements"].as_array()?.iter().map(word);
        Some(Tally {
            mixes,
            reports,
            held,
            ages,
            misses,
            false_accusations,
            wrong_details,
            not_set_up,
            matrix: cells.collect::<Option<_>>()?,
            disagreements: said.collect::<Option<_>>()?,
        })
    }
}

/// The matrix as a table of Markdown, its columns named below it, and the sums.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: BTreeSet<&str> = self.matrix.keys().map(|(_, said)| &said[..]).collect();
        let columns: Vec<&str> = columns.into_iter().collect();
        let rows: BTreeSet<&str> = self.matrix.keys().map(|(truth, _)| &truth[..]).collect();
        write!(f, "| true state \\ reported first |")?;
        for number in 1..=columns.len() {
            write!(f, " {number} |")?;
        }
        write!(f, "\n|---|{}", "--:|".repeat(columns.len()))?;
        for row in rows {
            write!(f, "\n| `{row}` |")?;
            for column in &columns {
                let cell = (row.to_owned(), (*column).to_owned());
                match self.matrix.get(&cell) {
                    Some(count) => write!(f, " {count} |")?,
                    None => write!(f, " |")?,
                }
            }
        }
        writeln!(f, "\n")?;
        for (index, column) in columns.iter().enumerate() {
            writeln!(f, "{}. `{column}`", index + 1)?;
        }
        write!(
            f,
            "\n{} mixes, {} reports, {} verdicts; holders of {} queues and sockets and {} times \
             compared\n{} misses, {} false accusations, {} wrong holders or times; {} cases not \
             set up in time",
            self.mixes,
            self.reports,
            self.matrix.values().sum::<u64>(),
            self.held,
            self.ages,
            self.misses,
            self.false_accusations,
            self.wrong_details,
            self.not_set_up,
        )
    }
}
