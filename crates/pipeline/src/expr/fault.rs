//! What can be wrong with an expression, in words that name the place and the thing.

use cel::{ExecutionError, ParseErrors};

use super::check::Reference;

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes from the start of the expression.
    pub offset: usize,
}

/// Why an expression yields nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It names something that is not there.
    #[error("there is no `{0}`")]
    Missing(String),
    /// The evaluator refused: types that do not fit, a division by zero, an overflow.
    #[error("{0}")]
    Failed(String),
    /// A boolean was needed.
    #[error("expected true or false, found {0}")]
    NotBoolean(&'static str),
    /// It yields something that is not a value of JSON.
    #[error("an expression cannot yield {0}")]
    NoJson(String),
    /// Its value is larger than `limits::VALUE_BYTES`.
    #[error("the value is larger than {} bytes", eparch_domain::limits::VALUE_BYTES)]
    TooLarge,
    /// It took more than `limits::EXPRESSION_WORK`.
    #[error("the expression takes too much work")]
    TooMuchWork,
    /// Text with a NUL character cannot be a word of a command or a path.
    #[error("the text contains a NUL character")]
    Nul,
}

/// The byte offset of the character at `index`.
fn byte_offset(source: &str, index: usize) -> usize {
    source.char_indices().nth(index).map_or(source.len(), |(offset, _)| offset)
}

/// The first error of the parser, in our words.
pub(super) fn syntax(source: &str, errors: &ParseErrors) -> ExprError {
    let Some(first) = errors.errors.first() else {
        return ExprError { message: "the expression cannot be read".into(), offset: 0 };
    };
    let line = usize::try_from(first.pos.0 - 1).unwrap_or(0);
    let column = usize::try_from(first.pos.1 - 1).unwrap_or(0);
    let line_start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let offset = line_start + byte_offset(source[line_start..].split('\n').next().unwrap_or(""), column);
    ExprError { message: syntax_message(&first.msg, &source[offset..]), offset }
}

fn syntax_message(foreign: &str, rest: &str) -> String {
    let unexpected = foreign.strip_prefix("Syntax error: ");
    match unexpected {
        None => foreign.to_owned(),
        Some(text) if text.contains("ursion limit") => "the expression nests too deeply".into(),
        Some(_) if rest.trim().is_empty() => "the expression ends too early".into(),
        Some(_) => {
            let found = rest.trim_start();
            if found.starts_with('=') {
                return "unexpected `=`; write `==` to compare".into();
            }
            let word = found.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(found.len());
            let found = if word > 0 {
                &found[..word]
            } else {
                &found[..found.chars().next().map_or(0, char::len_utf8)]
            };
            match found {
                "and" => "unexpected `and`; write `&&`".into(),
                "or" => "unexpected `or`; write `||`".into(),
                "not" => "unexpected `not`; write `!`".into(),
                other => format!("unexpected `{other}`"),
            }
        }
    }
}

/// An error of the evaluator, in our words.
pub(super) fn evaluation(error: ExecutionError, references: &[Reference]) -> EvalError {
    match error {
        ExecutionError::NoSuchKey(key) => EvalError::Missing(full_name(&key, references)),
        ExecutionError::UndeclaredReference(name) => EvalError::Missing(name.to_string()),
        ExecutionError::NoSuchOverload(_) | ExecutionError::FunctionError { .. } => {
            EvalError::Failed(error.to_string())
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            EvalError::Failed("division by zero".into())
        }
        ExecutionError::Overflow(..) => EvalError::Failed("a number is too large".into()),
        ExecutionError::IndexOutOfBounds(_) => EvalError::Failed("a list has no such place".into()),
        ExecutionError::DuplicateKey(_) => EvalError::Failed("a map names a key twice".into()),
        ExecutionError::UnexpectedType { got, want } => {
            EvalError::Failed(format!("expected {want}, found {got}"))
        }
        // The others print whole values, which may be long and may be somebody's data.
        _ => EvalError::Failed("values of these types cannot be used like this".into()),
    }
}

/// The longest name in the expression that ends in, or passes through, `key`.
fn full_name(key: &str, references: &[Reference]) -> String {
    let found = references.iter().find_map(|reference| {
        let at = reference.path.iter().skip(1).position(|part| part == key)?;
        Some(reference.path[..=at + 1].join("."))
    });
    found.unwrap_or_else(|| key.chars().take(64).collect())
}
