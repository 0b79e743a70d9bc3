//! What the screen shows, as text, at the sizes of real terminals, of machines made by hand. A
//! change shows as a difference in `snapshots`; `INSTA_UPDATE=always cargo test --lib screen` takes
//! it over.

use super::test_machine::{Machine, Watched, asleep, server};
use super::{Action, Key};

const PORT: &str = "127.0.0.1:8080";

fn calm(_look: u64) -> Machine {
    Machine::new()
        .listens("0.0.0.0:22")
        .listens("[::]:80")
        .listens("10.0.0.5:8443")
}

/// A queue of three that does not move.
fn stuck(look: u64) -> Machine {
    calm(look)
        .queue(PORT, 511, &[(1, 62 + look), (2, 61 + look), (3, 60 + look)])
        .held_by(PORT, &asleep())
}

/// The same; after 21 looks one more comes, and the oldest is let out.
fn missed_wakeup(look: u64) -> Machine {
    let (waits, accepted): (_, &[u16]) = match look {
        0..22 => ([(1, 62 + look), (2, 61 + look), (3, 60 + look)], &[]),
        _ => ([(2, 61 + look), (3, 60 + look), (4, look - 22)], &[1]),
    };
    calm(look)
        .queue(PORT, 511, &waits)
        .accepted(PORT, accepted)
        .held_by(PORT, &asleep())
}

/// A stuck queue; a full queue of a program that cannot be seen; a leak of eight a second.
fn several(look: u64) -> Machine {
    let pool = server("billing-worker", 20_279, 300 + 8 * look);
    stuck(look)
        .queue(
            "[2001:db8:85a3::8a2e:370:7334]:65535",
            2,
            &[(7, 9 + look), (8, 9 + look), (9, 9 + look)],
        )
        .leaks(&pool, 10 + 8 * look)
        .seen_by_a_plain_user()
}

#[test]
fn nothing_is_wrong() {
    insta::assert_snapshot!("calm_80x24", Watched::new(80, 24).looks(5, calm).shown());
    insta::assert_snapshot!("calm_200x50", Watched::new(200, 50).looks(5, calm).shown());
}

#[test]
fn one_missed_wakeup() {
    insta::assert_snapshot!(
        "missed_wakeup_80x24",
        Watched::new(80, 24).looks(24, missed_wakeup).shown()
    );
    insta::assert_snapshot!(
        "missed_wakeup_200x50",
        Watched::new(200, 50).looks(24, missed_wakeup).shown()
    );
}

#[test]
fn several_findings() {
    insta::assert_snapshot!(
        "several_80x24",
        Watched::new(80, 24).looks(9, several).shown()
    );
    insta::assert_snapshot!(
        "several_200x50",
        Watched::new(200, 50).looks(9, several).shown()
    );
}

#[test]
fn a_listener_in_another_namespace() {
    let machine = |look| {
        stuck(look)
            .queue("127.0.0.1:8081", 511, &[(5, 9 + look)])
            .elsewhere(8081, "web")
    };
    let mut watched = Watched::new(80, 24).looks(4, machine);
    insta::assert_snapshot!("another_namespace_80x24", watched.shown());
    watched.state.resize(200, 50);
    assert!(
        watched
            .shown()
            .contains("127.0.0.1:8081 in netns web  certain  no-holder")
    );
}

#[test]
fn many_listeners_are_scrolled() {
    let crowd = |_look| {
        (1..=300).fold(Machine::new(), |machine, port: u16| match port % 50 {
            0 => machine.queue(&format!("10.0.0.5:{port}"), 16, &[(port, 0)]),
            _ => machine.listens(&format!("10.0.0.5:{port}")),
        })
    };
    let mut watched = Watched::new(80, 24).looks(3, crowd);
    watched.press(&[Key::Tab, Key::PageDown, Key::PageDown, Key::Down]);
    insta::assert_snapshot!("many_listeners_80x24", watched.shown());
    watched.press(&[Key::End]);
    let shown = watched.shown();
    assert!(shown.contains("\n> 10.0.0.5:299"), "{shown}");
    watched.press(&[Key::Home, Key::Char('s')]);
    let shown = watched.shown();
    assert!(shown.contains(">Listeners: 300, by address"), "{shown}");
    assert!(shown.contains("\n> 10.0.0.5:1 "), "{shown}");
}

#[test]
fn the_chosen_row_stays_chosen_wherever_it_goes() {
    let machine = |long: bool| {
        let waits: &[(u16, u64)] = if long { &[(1, 0), (2, 0)] } else { &[] };
        let other: &[(u16, u64)] = if long { &[] } else { &[(3, 0)] };
        Machine::new()
            .queue("10.0.0.5:1", 16, waits)
            .queue("10.0.0.5:2", 16, other)
    };
    let mut watched = Watched::new(80, 24).looks(1, |_look| machine(false));
    watched.press(&[Key::Tab, Key::Down]);
    assert!(watched.shown().contains("\n> 10.0.0.5:1 "));
    watched.look(machine(true));
    let shown = watched.shown();
    assert!(
        shown.contains("OLDEST") && shown.contains("\n> 10.0.0.5:1 "),
        "{shown}"
    );
    // What is first by choice of nobody is not held on to.
    watched.press(&[Key::Home]);
    watched.look(machine(false));
    assert!(watched.shown().contains("\n> 10.0.0.5:2 "));
}

#[test]
fn a_pause_holds_what_is_shown_and_counts_on() {
    let mut watched = Watched::new(80, 24).looks(3, stuck);
    watched.press(&[Key::Char('p')]);
    let paused = watched.shown();
    let watched_on = watched.looks(12, several);
    let shown = watched_on.shown();
    insta::assert_snapshot!("paused_80x24", shown);
    let but_for_the_header = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(but_for_the_header(&shown), but_for_the_header(&paused));
    let mut watched = watched_on;
    watched.press(&[Key::Char(' ')]);
    let shown = watched.shown();
    assert!(
        !shown.contains("PAUSED") && shown.contains("15 looks"),
        "{shown}"
    );
    assert!(shown.contains(":8443 inbound"), "{shown}");
}

#[test]
fn a_filter_is_for_all_panes() {
    let mut watched = Watched::new(80, 24).looks(9, several);
    watched.press(&[Key::Char('/')]);
    watched.type_text("BILLINX");
    watched.press(&[Key::Backspace]);
    watched.type_text("G");
    // While it is typed already.
    assert!(watched.shown().contains("Verdicts: 1 of 4"));
    watched.press(&[Key::Enter]);
    insta::assert_snapshot!("filtered_80x24", watched.shown());
    watched.press(&[Key::Char('/')]);
    watched.type_text("nothing");
    let shown = watched.shown();
    assert!(shown.contains("none of 4 matches the filter"), "{shown}");
    assert!(!shown.contains("OK"), "{shown}");
    watched.press(&[Key::Esc]);
    assert!(watched.shown().contains("filter 'BILLING'"));
    assert_eq!(watched.press(&[Key::Esc]), None);
    assert!(watched.shown().contains("Verdicts: 4, "));
    assert_eq!(watched.press(&[Key::Esc]), Some(Action::Quit));
}

#[test]
fn the_evidence_of_a_finding_is_a_page() {
    let mut watched = Watched::new(80, 24).looks(24, missed_wakeup);
    watched.press(&[Key::Enter]);
    insta::assert_snapshot!("evidence_80x24", watched.shown());
    // It does not move while it is read.
    let before = watched.shown();
    watched.look(missed_wakeup(24));
    let but_for_the_header = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(
        but_for_the_header(&watched.shown()),
        but_for_the_header(&before)
    );
    watched.press(&[Key::End]);
    let shown = watched.shown();
    assert!(shown.contains("grep -w ino:"), "{shown}");
    assert!(
        shown.contains("tcpleak explain edge-triggered-missed-wakeup"),
        "{shown}"
    );
    assert_eq!(watched.press(&[Key::Esc]), None);
    assert!(watched.shown().contains("Listeners: 4"));

    watched.state.resize(200, 50);
    // From a listener, and from an event.
    watched.press(&[Key::Tab, Key::Enter]);
    assert!(
        watched
            .shown()
            .contains("accept-queue-leak as seen at 14:02:35Z")
    );
    watched.press(&[Key::Esc, Key::Down, Key::Enter]);
    assert!(watched.shown().contains("nothing is open about 0.0.0.0:22"));
    watched.press(&[Key::Tab, Key::Tab, Key::Enter]);
    insta::assert_snapshot!("evidence_of_an_event_200x50", watched.shown());
}

#[test]
fn the_keys_are_on_a_page() {
    let mut watched = Watched::new(80, 24).looks(1, calm);
    watched.press(&[Key::Char('?')]);
    insta::assert_snapshot!("help_80x24", watched.shown());
    assert_eq!(watched.press(&[Key::Char('q')]), None, "closes the page");
    assert_eq!(watched.press(&[Key::Char('q')]), Some(Action::Quit));
}

#[test]
fn a_look_is_saved_under_a_name_that_is_said() {
    let mut watched = Watched::new(80, 24).looks(3, stuck);
    let taken = watched.state.shown().unwrap().snapshot.clone();
    watched.press(&[Key::Char('p')]);
    let mut watched = watched.looks(2, stuck);
    // Of the host's name only what no shell and no folder minds.
    let name = "tcpleak-db1rm-20261122T140213Z.tcpleak";
    assert_eq!(watched.press(&[Key::Char('S')]), None);
    assert!(watched.shown().contains(&format!("save as {name}?")));
    let action = watched.press(&[Key::Enter]);
    assert_eq!(
        action,
        Some(Action::Save(name.into(), taken)),
        "the one that is shown"
    );
    watched.press(&[Key::Char('S')]);
    assert_eq!(watched.press(&[Key::Char('n')]), None);
    assert!(watched.shown().contains("not saved"));
    watched.state.say("cannot save it");
    assert!(watched.shown().contains("cannot save it"));
    watched.press(&[Key::Down]);
    assert!(watched.shown().contains("q quit"), "until the next key");
}

#[test]
fn keys_that_are_not_the_screens() {
    let mut watched = Watched::new(80, 24);
    let check = |watched: &mut Watched, key, expect| assert_eq!(watched.press(&[key]), expect);
    // Before the first look, and while something is typed or read.
    for before in [&[][..], &[Key::Char('/')], &[Key::Char('?')]] {
        watched.press(before);
        check(&mut watched, Key::Ctrl('c'), Some(Action::Quit));
        check(&mut watched, Key::Ctrl('z'), Some(Action::Suspend));
        check(&mut watched, Key::Ctrl('l'), Some(Action::Redraw));
        watched.press(&[Key::Esc][..before.len()]);
    }
    for key in [
        Key::Enter,
        Key::Char('S'),
        Key::Char('p'),
        Key::Down,
        Key::Char('s'),
    ] {
        check(&mut watched, key, None);
    }
    assert!(watched.shown().contains("the first look is being taken"));
}

#[test]
fn a_terminal_that_is_too_small_says_so() {
    let mut watched = Watched::new(30, 4).looks(9, several);
    assert_eq!(watched.shown(), "terminal too small: 30x4, need\n\n\n");
    watched.state.resize(39, 24);
    assert!(
        watched
            .shown()
            .starts_with("terminal too small: 39x24, needs 40x5\n")
    );
    // One pane at a time.
    watched.state.resize(60, 10);
    insta::assert_snapshot!("small_60x10", watched.shown());
    watched.press(&[Key::Tab]);
    let shown = watched.shown();
    assert!(
        shown.contains(">Listeners") && !shown.contains("Verdicts"),
        "{shown}"
    );
}

/// Whatever the size, nothing panics, and no address is cut.
#[test]
fn every_size_is_drawn() {
    const ADDRESSES: [&str; 6] = [
        PORT,
        "[2001:db8:85a3::8a2e:370:7334]:65535",
        "0.0.0.0:22",
        "[::]:80",
        "10.0.0.5:8443",
        ":8443",
    ];
    let mut watched = Watched::new(0, 0).looks(9, several);
    let keys = [
        Key::Tab,
        Key::Down,
        Key::PageDown,
        Key::End,
        Key::Enter,
        Key::Char('?'),
    ];
    for (columns, rows) in
        (0..=130).flat_map(|columns| [0, 1, 5, 13, 14, 24].map(|rows| (columns, rows)))
    {
        watched.state.resize(columns, rows);
        for key in keys {
            watched.press(&[key]);
            let shown = watched.shown();
            if columns < 40 || rows < 5 {
                continue;
            }
            let words = shown.split([' ', ',', ';', '\n', '(', ')', '\'', '─']);
            for word in
                words.filter(|word| word.contains([':', '[']) && word.contains(char::is_numeric))
            {
                let is_time = word.ends_with('Z');
                let is_whole =
                    ADDRESSES.contains(&word) || ADDRESSES.contains(&word.trim_end_matches(':'));
                assert!(is_time || is_whole, "{columns}x{rows}: {word}\n{shown}");
            }
        }
        while watched.state.overlay.is_some() {
            watched.press(&[Key::Char('q')]);
        }
    }
}

#[test]
fn no_name_drives_the_terminal() {
    let evil = server("\x1b[2J\n\u{9b}\u{202e}evil", 666, 10);
    let machine = |look| stuck(look).leaks(&evil, 3 + look);
    for (columns, rows) in [(80, 24), (200, 50)] {
        let mut watched = Watched::new(columns, rows).looks(5, machine);
        for keys in [&[][..], &[Key::Down, Key::Enter]] {
            watched.press(keys);
            let shown = watched.shown();
            let acts = |character: &char| character.is_control() && *character != '\n';
            assert_eq!(shown.chars().find(acts), None, "{shown}");
            assert!(shown.contains(r"\x1b[2J"), "{shown}");
            assert!(!shown.contains('\u{202e}'), "{shown}");
        }
    }
}

#[test]
fn a_terminal_without_colour_and_unicode() {
    let mut watched = Watched::new(80, 24).looks(9, several);
    watched.state.theme.color = false;
    watched.state.theme.unicode = false;
    let shown = watched.shown();
    insta::assert_snapshot!("ascii_80x24", shown);
    assert!(shown.is_ascii(), "{shown}");
}
