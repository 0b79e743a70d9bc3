//! The page that the results are shown on.

use std::fmt::Write;

/// A page of Markdown in the making.
pub(crate) struct Page(String);

const BEGINNING: &str = "\
# What it costs

Written by `cargo bench --bench side_by_side -- --write`, as root. Not to be edited by hand.
";

const END: &str = "
## How to read this

Everything in a table was measured in one run and in turns: first each once, then each again, and so
on. Only the ratios mean something; the milliseconds are those of a machine that was doing other
things too. \"Fastest\" is the round that they disturbed the least. \"On a processor\" leaves them out:
the time that all threads together used, of commands in steps of 10 ms.

The processes of the population are started for the run, in a network namespace of their own, and
the commands run in it; `/proc` shows them all other processes of the machine as well.

What the parsers, the join, recordings and the rendering cost by themselves: `cargo bench --bench
stages`, which needs no rights and touches nothing.

## What is not measured

- Memory, and the number of system calls.
- Other populations: more than one namespace with sockets, many small processes, a table in which
  much is suspect, sockets that come and go while they are read.
- The second look: `--settle` is 0, since waiting costs nothing but time.
- Processes close to their descriptor limit, whose descriptors are read a second time.
- Other machines: another kernel or more processors.
";

impl Page {
    /// Names the machine and the day.
    pub(crate) fn begin() -> Page {
        let mut page = Page(BEGINNING.into());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        let day = jiff::Timestamp::now().strftime("%Y-%m-%d");
        page.text(&format!(
            "Machine: {processors} processors, {}, Linux {kernel}. Date: {day}.",
            std::env::consts::ARCH
        ));
        page
    }

    /// The page's text.
    pub(crate) fn end(mut self) -> String {
        self.0.push_str(END);
        self.0
    }

    pub(crate) fn heading(&mut self, heading: &str) {
        self.add(format_args!("\n## {heading}\n"));
    }

    /// A paragraph, in lines of at most a hundred columns.
    pub(crate) fn text(&mut self, text: &str) {
        let mut column = 0;
        self.0.push('\n');
        for word in text.split(' ') {
            if column > 0 && column + 1 + word.len() > 100 {
                self.0.push('\n');
                column = 0;
            } else if column > 0 {
                self.0.push(' ');
                column += 1;
            }
            self.0.push_str(word);
            column += word.len();
        }
        self.0.push('\n');
    }

    /// A table: the first column is text, the others are numbers.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
        self.add(format_args!("\n{}", line(head)));
        let rule = |index| if index == 0 { "---" } else { "---:" };
        self.0 += &line(&(0..head.len()).map(rule).collect::<Vec<_>>());
        for row in rows {
            self.0 += &line(&row.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    /// Goals, each with what was measured and the most that it may be.
    pub(crate) fn goals(&mut self, goals: &[(&str, f64, f64)]) {
        self.0.push('\n');
        for (goal, measured, at_most) in goals {
            let reached = if measured <= at_most {
                "reached"
            } else {
                "not reached"
            };
            self.add(format_args!(
                "- {goal}: at most {at_most}; here {measured:.2}: {reached}\n"
            ));
        }
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("text grows");
    }
}

/// With a comma in front of each three digits.
pub(crate) fn number(number: usize) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{},{:03}", self::number(number / 1000), number % 1000)
}
