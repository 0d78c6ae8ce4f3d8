//! Malformed files: whatever is in one, the answer is a diagnostic with a place, never a panic.

use std::fmt::Write;

use eparch_domain::limits;
use eparch_pipeline::{Expr, Scope, Text};

use crate::common::checked;
use crate::dice::Dice;

const SOUND: [&str; 3] = [
    include_str!("../fixtures/everything.yaml"),
    include_str!("../fixtures/seed-example.yaml"),
    include_str!("../fixtures/twelve-faults.yaml"),
];

/// Every place must lie in the text, and say where that is. True when the text is refused.
fn examine(text: &str) -> bool {
    let checked = checked(text);
    for one in &checked.diagnostics {
        let span = one.span;
        assert!(span.start <= span.end && span.end <= text.len(), "{one:?} in {} bytes", text.len());
        assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{one:?}");
        let bytes = text.as_bytes();
        let ends =
            |at: &usize| bytes[*at] == b'\n' || (bytes[*at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
        let breaks: Vec<usize> = (0..span.start).filter(ends).collect();
        assert_eq!(span.line, breaks.len() + 1, "{one:?}");
        let line = &text[breaks.last().map_or(0, |last| last + 1)..span.start];
        assert_eq!(span.column, line.chars().filter(|c| *c != '\u{feff}').count() + 1, "{one:?}");
        assert!(!one.message.is_empty() && one.message.len() < 2_000, "{one:?}");
    }
    assert_eq!(checked.pipeline.is_none(), checked.errors() > 0, "{}", checked.to_text());
    checked.to_json();
    checked.errors() > 0
}

#[test]
fn r041_mutations_of_sound_files_never_panic() {
    let pieces = [
        "${{",
        "}}",
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "'",
        "\"",
        "\\",
        "&a ",
        "*a",
        "!!str ",
        "<<: ",
        "|",
        ">",
        "#",
        " #",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "\u{0}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "é",
        "\u{1F600}",
        "\\ud800",
        "0x",
        "1e999",
        ".nan",
        "~",
        "stages",
        "name",
        "requires",
        "inputs.x",
        "((((((((",
        "stages[",
        "- - - - ",
        "? ",
        "@",
        "`",
        ",",
        "..",
        "\r",
        "\r\n",
    ];
    let mut refused = 0;
    for seed in 1..=10_500 {
        let mut dice = Dice::new(seed);
        let mut text: Vec<char> = dice.pick(&SOUND).chars().collect();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(text.len() + 1);
            match dice.roll(6) {
                0 => text.truncate(at.max(text.len() / 2)),
                1 => {
                    let end = (at + dice.roll(30)).min(text.len());
                    text.drain(at..end);
                }
                2 => {
                    let end = (at + dice.roll(200)).min(text.len());
                    let copy: Vec<char> = text[at..end].to_vec();
                    let to = dice.roll(text.len() + 1);
                    text.splice(to..to, copy);
                }
                _ => {
                    let piece: Vec<char> = dice.pick(&pieces).chars().collect();
                    text.splice(at..at, piece);
                }
            }
        }
        refused += usize::from(examine(&text.into_iter().collect::<String>()));
    }
    assert!(refused > 5_000, "{refused}");
}

fn laughs() -> String {
    let mut text = String::from("a0: &a0 [x, x]\n");
    for level in 1..40 {
        writeln!(text, "a{level}: &a{level} [*a{0}, *a{0}]", level - 1).unwrap();
    }
    text
}

fn nested_stages() -> String {
    let mut text = String::from("name: a\nstages:\n");
    for level in 0..200 {
        let pad = " ".repeat(level * 2);
        writeln!(text, "{pad}- name: s{level}\n{pad}  type: condition\n{pad}  if: true\n{pad}  then:")
            .unwrap();
    }
    text
}

fn circle() -> String {
    let mut text = String::from("name: a\nstages:\n");
    for at in 0..limits::PIPELINE_STAGES {
        let next = (at + 1) % limits::PIPELINE_STAGES;
        writeln!(text, "- {{name: s{at}, type: agent, requires: [s{next}], config: {{command: [c]}}}}")
            .unwrap();
    }
    text
}

#[test]
fn r041_nasty_files_are_refused() {
    let stage = "- {name: b, type: agent, config: {command: [c]}}\n";
    let head = format!("name: a\nstages:\n{stage}");
    let condition =
        |source: &str| format!("name: a\nstages:\n- {{name: r, type: condition, if: '{source}', then: []}}");
    let keys: String = (0..20_000).fold(String::new(), |text, at| format!("{text}k{at}: 1\n"));
    let files = [
        laughs(),
        nested_stages(),
        circle(),
        format!("name: a\nstages:\n{}", stage.repeat(limits::PIPELINE_STAGES + 1)),
        format!("{head}{}", "x: [${{ 1 }}]\n".repeat(20_000)),
        format!(
            "name: a\nstages:\n- {{name: b, type: agent, requires: [{}], config: {{command: [c]}}}}",
            "zz, ".repeat(100_000)
        ),
        format!(
            "name: a\nstages:\n- {{name: b, type: gate, config: {{approvers: [{}]}}}}",
            "q, ".repeat(100_000)
        ),
        format!(
            "name: a\nstages:\n- {{name: b, type: agent, config: {{command: [c], artifacts: [{}]}}}}",
            "q, ".repeat(100_000)
        ),
        format!("a: {}", "[".repeat(100_000)),
        "- ".repeat(50_000),
        "{a: ".repeat(50_000),
        "? ".repeat(50_000),
        format!("{head}description: {}", "x".repeat(limits::PIPELINE_BYTES)),
        format!("{head}description: \"{}", "\\u00e4".repeat(10_000)),
        format!("{head}x: \"\\ud800\""),
        format!("{head}x: '{}", "y\n".repeat(10_000)),
        format!("name: \"{}\"\nstages: []", "z".repeat(500_000)),
        format!("{head}{keys}"),
        condition(&"(".repeat(3_000)),
        condition(&vec!["1"; 1_500].join("+")),
        "\u{0}".to_owned(),
        "&a *a".to_owned(),
        "!!binary abc".to_owned(),
        "%TAG ! tag:x,2000:\n---\n!y z".to_owned(),
        "[[[]]]: 1".to_owned(),
        "\t".to_owned(),
        "\r\r\r".to_owned(),
        "--- \n--- \n".to_owned(),
        "# only a remark\n".to_owned(),
        "a: b: c".to_owned(),
        "\u{feff}\u{feff}name: a".to_owned(),
    ];
    for text in files {
        assert!(examine(&text), "{}", text.chars().take(80).collect::<String>());
    }
}

#[test]
fn r041_expressions_made_of_rubble_never_panic() {
    let pieces = [
        "inputs",
        "stages",
        "env",
        "run",
        ".",
        "x",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "'a'",
        "\"",
        "'",
        "\\",
        "1",
        "2u",
        "1.5",
        "==",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "?",
        ":",
        ",",
        " ",
        "in",
        "has",
        "all",
        "map",
        "size",
        "true",
        "null",
        "é",
        "\u{1F600}",
        "//",
        "\n",
        "r'",
        "b'",
        "'''",
        "@",
        "`",
        "<",
        ">=",
        "%",
    ];
    for seed in 1..=6_000 {
        let mut dice = Dice::new(seed);
        let count = 1 + dice.roll(24);
        let source: String = (0..count).map(|_| dice.pick(&pieces)).collect();
        match Expr::parse(&source) {
            Ok(expr) => drop(expr.eval(&Scope::default())),
            Err(error) => {
                assert!(
                    error.offset <= source.len() && source.is_char_boundary(error.offset),
                    "{source}: {error:?}"
                );
            }
        }
        let text = format!("a ${{{{ {source} }}}} b");
        if let Err(error) = Text::parse(&text) {
            assert!(error.offset <= text.len() && text.is_char_boundary(error.offset), "{text}: {error:?}");
        }
    }
}
