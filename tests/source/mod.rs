//! Reads Rust source as far as the architecture test needs it: which paths a file names, and where,
//! comments, literals and test code aside. It expects source that compiles and that rustfmt has
//! formatted.

use std::collections::HashMap;
use std::path::Path;

/// A file of source.
pub(crate) struct Source {
    /// Its path from the root of the project: `src/join/mod.rs`.
    pub(crate) path: String,
    /// As it stands on disk.
    pub(crate) text: String,
    /// The same without comments, literals and test code, line for line.
    pub(crate) code: String,
    /// The files of modules that it declares for tests only.
    pub(crate) test_modules: Vec<String>,
}

/// A path that a file names: `std::fs::read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Line, counted from 1.
    pub(crate) line: usize,
    /// Its steps; `*` for a glob.
    pub(crate) steps: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let (code, modules) = without_tests(&without_words(text));
        let test_modules = modules
            .iter()
            .flat_map(|name| {
                let folder = module_folder(path);
                [
                    format!("{folder}/{name}.rs"),
                    format!("{folder}/{name}/mod.rs"),
                ]
            })
            .collect();
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            test_modules,
        }
    }

    /// Every Rust file below `folder`, sorted by path.
    pub(crate) fn below(root: &Path, folder: &str) -> Vec<Source> {
        let mut sources = Vec::new();
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).expect("source is text");
                    let name = path.strip_prefix(root).expect("it is below the root");
                    sources.push(Source::new(name.to_str().expect("a plain name"), &text));
                }
            }
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        sources
    }

    /// The steps of its module: `["join", "queue"]`; none for the root of the crate.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').filter(|step| *step != "lib").collect()
    }

    /// Every path that the code names: each of a `use`, and each with at least two steps
    /// elsewhere. One that begins with a name that a `use` has brought in is spelled out.
    pub(crate) fn paths(&self) -> Vec<Named> {
        let mut reader = Reader::new(&self.code);
        let mut brought_in: HashMap<String, Vec<String>> = HashMap::new();
        let mut paths = Vec::new();
        while let Some(word) = reader.word() {
            if word == "use" {
                let mut leaves = Vec::new();
                reader.tree(&[], &mut leaves);
                for (name, path) in leaves {
                    brought_in.insert(name, path.steps.clone());
                    paths.push(path);
                }
                continue;
            }
            let line = reader.line;
            let steps = reader.rest_of_path(word);
            if steps.len() > 1 {
                paths.push(Named { line, steps });
            }
        }
        for path in &mut paths {
            if let Some(full) = brought_in.get(&path.steps[0]) {
                path.steps.splice(..1, full.iter().cloned());
            }
        }
        paths
    }
}

/// The folder in which the modules lie that a file declares.
fn module_folder(path: &str) -> &str {
    for root in ["/mod.rs", "/lib.rs", "/main.rs"] {
        if let Some(folder) = path.strip_suffix(root) {
            return folder;
        }
    }
    path.strip_suffix(".rs").unwrap_or(path)
}

/// Blanks comments and literals.
fn without_words(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let after_name = code.ends_with(|char: char| char.is_alphanumeric() || char == '_');
        let length = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest, 1),
            'r' | 'b' | 'c' if !after_name => literal_with_prefix(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            let (blank, tail) = rest.split_at(length);
            code.extend(
                blank
                    .chars()
                    .map(|char| if char == '\n' { char } else { ' ' }),
            );
            rest = tail;
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        at += match rest.get(..2) {
            Some("/*") => {
                depth += 1;
                2
            }
            Some("*/") => {
                depth -= 1;
                2
            }
            _ => rest.chars().next().map_or(0, char::len_utf8),
        };
        if depth == 0 || at == text.len() {
            return at;
        }
    }
}

/// Length of a string whose content begins at `start`.
fn string(text: &str, start: usize) -> usize {
    let mut escaped = false;
    for (at, char) in text[start..].char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return start + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `b"…"`, `r"…"`, `br#"…"#`, `c"…"`, `b'…'`; 0 if it is none.
fn literal_with_prefix(text: &str) -> usize {
    let prefix = text
        .find(|char| !"rbc".contains(char))
        .unwrap_or(text.len());
    let after = &text[prefix..];
    if text[..prefix].contains('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix + hashes + 1;
            return text[start..]
                .find(&end)
                .map_or(text.len(), |at| start + at + end.len());
        }
        return 0;
    }
    match after.chars().next() {
        Some('"') => string(text, prefix + 1),
        Some('\'') if prefix == 1 => prefix + character(after),
        _ => 0,
    }
}

/// A character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let after = at + escaped.len_utf8();
            text[after..].find('\'').map_or(0, |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Blanks items under `#[cfg(test)]`; names the modules among them that are files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut modules = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let item = &rest[at + MARK.len()..];
        let length = match item.find(['{', ';']) {
            Some(end) if item[end..].starts_with('{') => end + braces(&item[end..]),
            Some(end) => {
                let declared = item[..end].rsplit_once("mod ").map(|(_, name)| name);
                modules.extend(declared.map(str::to_owned));
                end + 1
            }
            None => item.len(),
        };
        kept.push_str(&rest[..at]);
        let (test, tail) = rest[at..].split_at(MARK.len() + length);
        kept.extend(test.chars().filter(|char| *char == '\n'));
        rest = tail;
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Length of a block, its braces included.
fn braces(text: &str) -> usize {
    let mut depth = 0;
    for (at, char) in text.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Goes through code word by word.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn new(code: &'a str) -> Reader<'a> {
        Reader {
            rest: code,
            line: 1,
        }
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    fn skip_space(&mut self) {
        self.skip(self.rest.len() - self.rest.trim_start().len());
    }

    fn takes(&mut self, token: &str) -> bool {
        self.skip_space();
        let there = self.rest.starts_with(token);
        if there {
            self.skip(token.len());
        }
        there
    }

    /// The next word, wherever it is.
    fn word(&mut self) -> Option<&'a str> {
        let start = self.rest.find(is_name)?;
        self.skip(start);
        Some(self.word_here())
    }

    fn word_here(&mut self) -> &'a str {
        let end = self.rest.find(|char| !is_name(char));
        let word = &self.rest[..end.unwrap_or(self.rest.len())];
        self.skip(word.len());
        word
    }

    /// The steps of a path whose first has just been read.
    fn rest_of_path(&mut self, first: &str) -> Vec<String> {
        let mut steps = vec![first.to_owned()];
        while self.rest.starts_with("::") && self.rest[2..].starts_with(is_name) {
            self.skip(2);
            steps.push(self.word_here().to_owned());
        }
        steps
    }

    /// A tree behind `use`: each leaf with the name that it brings in.
    fn tree(&mut self, before: &[String], leaves: &mut Vec<(String, Named)>) {
        let _ = self.takes("::");
        let mut steps = before.to_vec();
        loop {
            self.skip_space();
            let line = self.line;
            if self.takes("{") {
                while !self.takes("}") {
                    self.tree(&steps, leaves);
                    let _ = self.takes(",");
                }
                return;
            }
            let step = if self.takes("*") {
                "*"
            } else {
                self.word_here()
            };
            if step != "self" || steps.is_empty() {
                steps.push(step.to_owned());
            }
            if self.takes("::") {
                continue;
            }
            let mut name = steps.last().cloned().unwrap_or_default();
            if self.takes("as ") {
                name = self.word_here().to_owned();
            }
            leaves.push((name, Named { line, steps }));
            return;
        }
    }
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}
