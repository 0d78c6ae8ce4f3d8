//! Text from outside that becomes part of a program: `sh -c "… ${{ inputs.x }}"` runs whatever the input says.

use std::collections::BTreeMap;

use crate::expr::Expr;
use crate::model::{InputSpec, InputType};
use crate::text::Text;

/// Programs that read program text from an argument, and the options before it.
const INTERPRETERS: [(&[&str], &[&str]); 3] = [
    (&["sh", "bash", "dash", "zsh", "ksh", "ash", "fish"], &["c"]),
    (&["python", "python3", "lua"], &["c", "e"]),
    (&["perl", "ruby", "node", "php", "deno", "bun"], &["e", "E", "r", "p"]),
];

/// The word of a command that is program text, when the command is an interpreter's.
pub(super) fn script(command: &[Text]) -> Option<usize> {
    let mut words = command.iter().map(Text::source).enumerate().peekable();
    let (_, mut program) = words.next()?;
    // `env NAME=value sh -c …`
    if base(program) == "env" {
        (_, program) = words.by_ref().find(|(_, word)| !word.contains('=') && !word.starts_with('-'))?;
    }
    let (_, options) = INTERPRETERS.iter().find(|(programs, _)| programs.contains(&base(program)))?;
    for (at, word) in words {
        let letters = word.strip_prefix('-').filter(|letters| !letters.starts_with('-'))?;
        if options.iter().any(|option| letters.ends_with(option)) {
            return (at + 1 < command.len()).then_some(at + 1);
        }
    }
    None
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
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
