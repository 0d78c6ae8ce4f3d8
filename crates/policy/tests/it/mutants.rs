//! Every default policy is missed when it is gone, and noticed when it says the opposite: each change of one policy makes
//! some cell of the table differ from the model.

use eparch_policy::{DEFAULTS, PolicySet, PolicyText};

use crate::matrix::{cells, difference, request};
use crate::model::{self, Cell, SUBJECTS, Where, Who};

/// A change of one policy: what it is, and the file with it.
struct Mutant {
    what: String,
    file: usize,
    text: String,
}

/// The policies of a file, as texts, with where they begin.
fn policies(text: &str) -> Vec<(usize, &str)> {
    let begins = text.match_indices("@id(").map(|(at, _)| at);
    begins.map(|at| (at, &text[at..at + text[at..].find(";\n").expect("a policy ends") + 2])).collect()
}

fn mutants() -> Vec<Mutant> {
    let mut all = Vec::new();
    for (file, PolicyText { text, .. }) in DEFAULTS.iter().enumerate() {
        for (at, policy) in policies(text) {
            let id = policy.split('"').nth(1).expect("an id").to_owned();
            let mut add = |what: &str, changed: String| {
                let text = format!("{}{changed}{}", &text[..at], &text[at + policy.len()..]);
                all.push(Mutant { what: format!("{id}: {what}"), file, text });
            };
            add("removed", String::new());
            add("inverted", inverted(policy));
            if policy.contains("@verdict") {
                add("allows instead", without_annotations(policy));
            }
            // A clause is one line in these files.
            for clause in
                policy.lines().filter(|line| line.starts_with("when {") || line.starts_with("unless {"))
            {
                let (body, end) = match clause.strip_suffix(';') {
                    Some(body) => (body, ";"),
                    None => (clause, ""),
                };
                add(&format!("without `{body}`"), policy.replacen(&format!("\n{clause}"), end, 1));
                let swapped = match clause.strip_prefix("when") {
                    Some(rest) => format!("unless{rest}"),
                    None => format!("when{}", clause.strip_prefix("unless").expect("one of both")),
                };
                add(&format!("`{swapped}`"), policy.replacen(clause, &swapped, 1));
                let inner = body.split_once('{').map_or("", |(_, rest)| rest).trim_end_matches('}').trim();
                for (sign, other) in [(" && ", " || "), (" || ", " && ")] {
                    for (place, _) in inner.match_indices(sign) {
                        let changed = format!("{}{other}{}", &inner[..place], &inner[place + 4..]);
                        add(&format!("`{changed}`"), policy.replacen(inner, &changed, 1));
                    }
                }
                for (number, others) in
                    [(">= 1", [">= 0", ">= 2"]), (">= 2", [">= 1", ">= 3"]), ("<= 2", ["<= 1", "<= 3"])]
                {
                    for other in others.into_iter().filter(|_| inner.contains(number)) {
                        add(&format!("{other} for {number}"), policy.replacen(number, other, 1));
                    }
                }
            }
        }
    }
    all
}

fn without_annotations(policy: &str) -> String {
    let kept = policy.lines().filter(|line| {
        !["@verdict", "@change", "@retryable", "@violation"]
            .iter()
            .any(|annotation| line.starts_with(annotation))
    });
    kept.collect::<Vec<_>>().join("\n") + "\n"
}

fn inverted(policy: &str) -> String {
    let policy = without_annotations(policy);
    match policy.contains("\nforbid (") {
        true => policy.replacen("\nforbid (", "\npermit (", 1),
        false => policy.replacen("\npermit (", "\nforbid (", 1),
    }
}

/// The defaults without the permits that ask: what such a permit asks for stays denied when nobody asks. That an approved
/// action is allowed only once it is approved, can be seen there alone: with both, asking outweighs allowing.
fn without_asking(files: &[PolicyText<'_>]) -> Vec<(&'static str, String)> {
    let names = DEFAULTS.iter().map(|file| file.name);
    let texts = files.iter().map(|file| {
        let asking =
            policies(file.text).into_iter().filter(|(_, policy)| policy.contains("@verdict(\"ask\")"));
        let asking: Vec<&str> = asking.map(|(_, policy)| policy).collect();
        asking.iter().fold(file.text.to_owned(), |text, policy| text.replace(policy, ""))
    });
    names.zip(texts).collect()
}

fn load(files: &[(&'static str, String)]) -> PolicySet {
    let texts: Vec<PolicyText<'_>> = files.iter().map(|(name, text)| PolicyText { name, text }).collect();
    PolicySet::load(&texts).expect("what could be loaded with more can be with less")
}

/// Whether a cell is noticed to differ where nobody asks.
fn differs_unasked(unasked: &PolicySet, cell: &Cell) -> bool {
    let verdict = unasked.decide(&request(cell));
    let expected = match model::answer(cell) {
        ("ask", _) => ("deny", "no_policy_allows"),
        other => other,
    };
    (verdict.decision.as_str(), &*verdict.reason) != expected
}

#[test]
fn every_change_of_a_default_policy_is_noticed() {
    let subjects = &SUBJECTS;
    let all = model::arounds().into_iter().flat_map(|around| cells(subjects, around));
    // Who never comes as far as a policy cannot notice one.
    let reaches =
        |cell: &Cell| matches!(cell.who, Who::Tier(_) | Who::Person(_)) && cell.place != Where::OtherTenant;
    let all: Vec<Cell> = all.filter(reaches).collect();
    // Cells that are alike lie side by side; far steps find one that differs sooner.
    let step = 7_919;
    assert!(!all.len().is_multiple_of(step), "every cell is visited");
    let order: Vec<usize> = (0..all.len()).map(|number| number * step % all.len()).collect();
    let mutants = mutants();
    assert!(mutants.len() > 150, "{}", mutants.len());
    let (mut survivors, mut refused, mut last) = (Vec::new(), 0, 0);
    for mutant in &mutants {
        let mut files = DEFAULTS;
        files[mutant.file].text = &mutant.text;
        let Ok(policies) = PolicySet::load(&files) else {
            // What cannot be loaded is noticed by everybody.
            refused += 1;
            continue;
        };
        let unasked = mutant.what.contains("-approved:").then(|| load(&without_asking(&files)));
        let noticed = |cell: &Cell| {
            difference(&policies, cell).is_some()
                || unasked.as_ref().is_some_and(|unasked| differs_unasked(unasked, cell))
        };
        // Changes of one policy are noticed by the same cells, so the search goes on where it ended.
        let found = order[last..].iter().chain(&order[..last]).position(|cell| noticed(&all[*cell]));
        match found {
            Some(place) => last = (last + place) % order.len(),
            None => survivors.push(&mutant.what),
        }
    }
    assert!(survivors.is_empty(), "{} of {} survive:\n{survivors:#?}", survivors.len(), mutants.len());
    assert!(refused * 10 < mutants.len(), "{refused} of {} could not be tried", mutants.len());
}

#[test]
fn what_needs_approval_is_denied_where_nobody_asks_for_it() {
    let unasked = load(&without_asking(&DEFAULTS));
    for around in model::arounds() {
        for cell in cells(&SUBJECTS[5..], around).filter(|cell| cell.phase == "EXECUTE") {
            assert!(!differs_unasked(&unasked, &cell), "{cell:?}");
        }
    }
}
