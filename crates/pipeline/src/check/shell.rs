//! Text from outside that becomes part of a program: `sh -c "… ${{ inputs.x }}"` runs whatever the input says.

use std::collections::BTreeMap;

use crate::expr::Expr;
use crate::model::{InputSpec, InputType};
use crate::text::Text;

/// Programs that read program text from an argument; the letters of the options before it, and of options whose last letter
/// takes an argument of its own.
const INTERPRETERS: [(&[&str], &str, &str); 3] = [
    (&["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish"], "c", "oO"),
    (&["python", "python3", "lua"], "ce", "WX"),
    (&["perl", "ruby", "node", "php", "deno", "bun"], "eErp", ""),
];
/// Long options before program text.
const LONG_READS: [&str; 4] = ["--command", "--eval", "--execute", "--print"];
/// Long options that take an argument of their own.
const LONG_TAKES: [&str; 4] = ["--rcfile", "--init-file", "--require", "--import"];

/// The word of a command that is program text, wherever an interpreter stands in it: `timeout 10 sh -euo pipefail -c …`.
pub(super) fn script(command: &[Text]) -> Option<usize> {
    (0..command.len()).find_map(|at| {
        let program = base(command[at].source());
        let (_, reads, takes) = INTERPRETERS.iter().find(|(programs, ..)| programs.contains(&program))?;
        text_of(command, at + 1, reads, takes).filter(|text| *text < command.len())
    })
}

/// The program text of an interpreter whose options begin at `at`. The first word that is none of them is a file to run.
fn text_of(command: &[Text], mut at: usize, reads: &str, takes: &str) -> Option<usize> {
    let mut is_next = false;
    loop {
        let word = command.get(at)?.source();
        let Some(letters) = word.strip_prefix(['-', '+']).filter(|letters| !letters.is_empty()) else {
            // Behind `-c` options may still follow: `sh -c -e TEXT`.
            return is_next.then_some(at);
        };
        let is_long = letters.starts_with('-');
        is_next |= if is_long { LONG_READS.contains(&word) } else { letters.contains(|c| reads.contains(c)) };
        let takes_one =
            if is_long { LONG_TAKES.contains(&word) } else { letters.ends_with(|c| takes.contains(c)) };
        at += 1 + usize::from(takes_one);
    }
}

fn base(program: &str) -> &str {
    let name = program.rsplit('/').next().unwrap_or(program);
    // `python3.12` is `python3`.
    name.split_once('.').map_or(name, |(name, _)| name)
}

/// The name in an expression whose value somebody else chose and may be any text.
pub(super) fn untrusted(expr: &Expr, inputs: &BTreeMap<String, InputSpec>) -> Option<String> {
    let chosen_outside = |path: &[String]| match path[0].as_str() {
        "inputs" => path.get(1).is_none_or(|name| {
            inputs.get(name).is_none_or(|spec| spec.kind == InputType::String && spec.choices.is_empty())
        }),
        "stages" => path.get(2).is_none_or(|field| field != "status"),
        "env" => true,
        _ => false,
    };
    expr.references()
        .iter()
        .find(|reference| chosen_outside(&reference.path))
        .map(|reference| reference.path.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The word that is program text.
    fn found(command: &str) -> Option<String> {
        let words: Vec<Text> =
            command.split(' ').map(|word| Text::parse(word).expect("a word without an expression")).collect();
        script(&words).map(|at| words[at].source().to_owned())
    }

    #[test]
    fn program_text_is_found_wherever_its_interpreter_stands() {
        for command in [
            "sh -c TEXT",
            "/bin/bash -ec TEXT arg",
            "sh -ce TEXT",
            "bash -euo pipefail -c TEXT",
            "bash -o pipefail -ec TEXT",
            "bash -co pipefail TEXT",
            "bash +e -c TEXT",
            "bash -c -e TEXT",
            "bash --norc -c TEXT",
            "bash --noprofile --norc -euc TEXT a b",
            "bash --rcfile my.rc -c TEXT",
            "env A=b sh -c TEXT",
            "env -i PATH=/bin sh -c TEXT",
            "timeout 10 sh -c TEXT",
            "sudo -u ann sh -c TEXT",
            "xargs -n 1 sh -c TEXT _",
            "nice -n 5 timeout 10 bash -euo pipefail -c TEXT",
            "python3 -c TEXT",
            "python3.12 -I -c TEXT",
            "perl -we TEXT",
            "perl -MList::Util -e TEXT",
            "node --eval TEXT",
            "ruby -e TEXT",
        ] {
            assert_eq!(found(command).as_deref(), Some("TEXT"), "{command}");
        }
    }

    #[test]
    fn files_and_arguments_are_no_program_text() {
        for command in [
            "sh script.sh -c x",
            "bash -eu script.sh",
            "sh -c",
            "bash",
            "python3 plan.py -c x",
            "make -c x",
            "echo sh",
            "git commit -c x",
        ] {
            assert_eq!(found(command), None, "{command}");
        }
    }
}
