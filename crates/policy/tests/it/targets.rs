//! What an action is done to is called what people see: two targets that look the same are the same, or one of them is none.

use eparch_domain::{Action, is_unseen};
use eparch_policy::{BadResource, one_form};
use proptest::prelude::*;

/// Letters, and what stands between them without being seen.
const LETTERS: &str = "[ab/. \u{200b}-\u{200f}\u{202a}-\u{202e}\u{2060}-\u{2069}\u{feff}\u{ad}\u{a0}\u{3000}\u{e0041}\\x00-\\x1f]{0,16}";

/// Actions whose targets are places, hosts, tools, secrets and models.
const ACTIONS: [Action; 6] = [
    Action::ReadFile,
    Action::WriteFile,
    Action::AnsibleRun,
    Action::CallTool,
    Action::ReadSecret,
    Action::LlmChat,
];

fn is_told_by_number(bad: &BadResource, letter: char) -> bool {
    bad.to_string().contains(&format!("U+{:04X}", u32::from(letter)))
}

#[test]
fn what_nobody_sees_is_refused_by_its_number() {
    for (letter, number) in [('\u{200b}', "U+200B"), ('\u{202e}', "U+202E"), ('\u{e0041}', "U+E0041")] {
        for action in ACTIONS {
            let bad = one_form(action, &format!("a{letter}b")).unwrap_err();
            assert!(bad.to_string().contains(number), "{action} {bad}");
        }
    }
    assert_eq!(one_form(Action::ReadFile, "docs/größe/日本"), Ok("docs/größe/日本".to_owned()));
}

proptest! {
    #[test]
    fn a_target_that_there_can_be_is_seen_as_it_is(target in LETTERS, any in any::<String>(), at in 0..ACTIONS.len()) {
        for target in [target, any] {
            match one_form(ACTIONS[at], &target) {
                Ok(name) => {
                    prop_assert!(!target.contains(is_unseen), "{target:?}");
                    // It is called so once and for all.
                    prop_assert_eq!(one_form(ACTIONS[at], &name), Ok(name));
                }
                Err(bad) => {
                    if let BadResource::Character { found, .. } = &bad {
                        prop_assert!(!is_unseen(*found) || is_told_by_number(&bad, *found), "{bad}");
                    }
                }
            }
        }
    }

    #[test]
    fn two_targets_that_look_the_same_are_not_two(target in "[ab/]{1,8}", unseen in LETTERS, at in 0usize..8) {
        let hidden: String = unseen.chars().filter(|letter| is_unseen(*letter)).collect();
        prop_assume!(!hidden.is_empty());
        let at = at.min(target.len());
        let other = format!("{}{hidden}{}", &target[..at], &target[at..]);
        for action in ACTIONS {
            prop_assert!(one_form(action, &other).is_err(), "{other:?}");
        }
    }
}
