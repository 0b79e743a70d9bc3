//! The man page and the command line, held together.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory, Parser};
use tcpleak::cli::Cli;

const PAGE: &str = include_str!("../docs/tcpleak.1");

/// The program as clap knows it, with what clap adds by itself.
fn program() -> Command {
    let mut program = Cli::command();
    program.build();
    program
}

/// The commands that `--help` shows, `help` aside.
fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    let all = program.get_subcommands();
    all.filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// The long options of all commands, hidden ones aside.
fn known() -> BTreeSet<String> {
    let program = program();
    let all = commands(&program).chain([&program]);
    let arguments = all.flat_map(Command::get_arguments);
    arguments
        .filter(|argument| !argument.is_hide_set())
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect()
}

/// The long options on a line: `-NAME` behind the macro `Fl`, which writes the other `-`.
fn options(line: &str) -> impl Iterator<Item = String> {
    let mut words = line.split_whitespace();
    std::iter::from_fn(move || {
        words.find(|word| word.trim_start_matches('.') == "Fl")?;
        words.next()
    })
    .filter_map(|name| name.strip_prefix('-').map(str::to_owned))
}

#[test]
fn every_option_is_described_and_no_other() {
    let items = PAGE.lines().filter(|line| line.starts_with(".It "));
    let described: BTreeSet<String> = items.flat_map(options).collect();
    assert_eq!(described, known());
}

#[test]
fn no_option_is_mentioned_that_does_not_exist() {
    let mentioned: BTreeSet<String> = PAGE.lines().flat_map(options).collect();
    let known = known();
    let unknown: Vec<&String> = mentioned.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_command_is_in_the_synopsis_and_described() {
    let program = program();
    let named = |line: &str, item: &str| line.strip_prefix(item).map(first_word);
    let described: BTreeSet<String> = PAGE
        .lines()
        .skip_while(|line| *line != ".Sh COMMANDS")
        .take_while(|line| *line != ".Sh OPTIONS")
        .filter_map(|line| named(line, ".It Cm "))
        .collect();
    let synopsis: BTreeSet<String> = PAGE
        .lines()
        .skip_while(|line| *line != ".Sh SYNOPSIS")
        .take_while(|line| *line != ".Sh DESCRIPTION")
        .filter_map(|line| named(line, ".Cm "))
        .collect();
    let known: BTreeSet<String> = commands(&program)
        .map(|command| command.get_name().to_owned())
        .collect();
    assert_eq!(described, known);
    assert_eq!(synopsis, known);
}

fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn the_examples_can_be_typed() {
    let mut seen = 0;
    for line in PAGE.lines().filter(|line| line.starts_with(".Dl ")) {
        let (_, call) = line.split_once("tcpleak ").unwrap();
        let call = call.split(" | ").next().unwrap();
        let words = ["tcpleak"].into_iter().chain(call.split(' '));
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}\n{error}");
        }
        seen += 1;
    }
    assert!(seen > 5, "only {seen} examples were found");
}
