//! Texts with expressions in them: `Plan the change for ${{ inputs.environment }}`.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::expr::{EvalError, Expr, ExprError, Fuel, Scope};

/// A text whose `${{ … }}` are filled in when a run gets there. `$${{` stands for `${{` itself.
///
/// ```
/// use eparch_pipeline::{Scope, Text};
///
/// let text = Text::parse("deploy to ${{ inputs.where }}")?;
/// let mut scope = Scope::default();
/// scope.inputs.insert("where".into(), "staging".into());
/// assert_eq!(text.render(&scope).unwrap(), "deploy to staging");
/// # Ok::<(), eparch_pipeline::expr::ExprError>(())
/// ```
#[derive(Clone)]
pub struct Text {
    source: Arc<str>,
    parts: Arc<[Part]>,
}

#[derive(Clone)]
enum Part {
    Literal(Box<str>),
    /// With the byte at which it starts in the text.
    Hole(Expr, usize),
}

impl Text {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// The first problem of an expression in it, or a `${{` that is not closed; the offset is into the text.
    pub fn parse(source: &str) -> Result<Text, ExprError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = source[at..].find("${{") {
            let open = at + found;
            if source[..open].ends_with('$') && open > at {
                // Escaped: the first `$` goes, the rest stays.
                literal.push_str(&source[at..open - 1]);
                literal.push_str("${{");
                at = open + 3;
                continue;
            }
            literal.push_str(&source[at..open]);
            let start = open + 3;
            let Some(length) = closing(&source[start..]) else {
                return Err(ExprError { message: "`${{` is not closed by `}}`".into(), offset: open });
            };
            let inner = &source[start..start + length];
            let skipped = inner.len() - inner.trim_start().len();
            let expr = Expr::parse(inner.trim())
                .map_err(|error| ExprError { offset: start + skipped + error.offset, ..error })?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Hole(expr, start + skipped));
            at = start + length + 2;
        }
        literal.push_str(&source[at..]);
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Text { source: source.into(), parts: parts.into() })
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The expressions in it, in order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.placed().map(|(expr, _)| expr)
    }

    /// The expressions in it with the byte of the text at which each starts.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&Expr, usize)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(expr, at) => Some((expr, *at)),
            Part::Literal(_) => None,
        })
    }

    /// True when there is no expression in it.
    pub fn is_literal(&self) -> bool {
        self.as_literal().is_some()
    }

    /// The text itself, escapes resolved, when there is no expression in it.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.parts {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// What it yields: the value itself where one expression stands alone, text otherwise.
    ///
    /// # Errors
    ///
    /// As [`Expr::eval`].
    pub fn value(&self, scope: &Scope) -> Result<Value, EvalError> {
        match &*self.parts {
            [Part::Hole(expr, _)] => expr.eval(scope),
            _ => self.render(scope).map(Value::String),
        }
    }

    /// Its text with the expressions filled in: texts as they are, numbers and booleans as the language prints them,
    /// everything else as compact JSON. All its expressions together may do the work of one.
    ///
    /// # Errors
    ///
    /// As [`Expr::eval`]; and when the result has a NUL character, or is larger than `limits::VALUE_BYTES`.
    pub fn render(&self, scope: &Scope) -> Result<String, EvalError> {
        self.render_with(scope, &mut Fuel::default())
    }

    /// As [`Text::render`], with fuel that other evaluations take from too.
    ///
    /// # Errors
    ///
    /// As [`Text::render`]; and when there is an expression in it and the fuel is spent.
    pub fn render_with(&self, scope: &Scope, fuel: &mut Fuel) -> Result<String, EvalError> {
        let mut text = String::new();
        for part in &*self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Hole(expr, _) => text.push_str(&printed(&expr.eval_with(scope, fuel)?)),
            }
            if text.len() > eparch_domain::limits::VALUE_BYTES {
                return Err(EvalError::TooLarge);
            }
        }
        if text.contains('\0') { Err(EvalError::Nul) } else { Ok(text) }
    }
}

/// The length of an expression up to the `}}` that closes it; quoted texts and maps in it are stepped over.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut braces, mut quote) = (0, 0usize, None);
    while let Some(byte) = bytes.get(at) {
        match (byte, quote) {
            (b'\\', Some(_)) => at += 1,
            (byte, Some(open)) if *byte == open => quote = None,
            (_, Some(_)) => {}
            (b'\'' | b'"', None) => quote = Some(*byte),
            (b'{', None) => braces += 1,
            (b'}', None) if braces > 0 => braces -= 1,
            (b'}', None) if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    // An odd quote must not swallow the closing braces: the expression itself then says what is wrong.
    text.find("}}")
}

fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => float.to_string(),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.source).finish()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.source)
    }
}

impl<'de> serde::Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let source = std::borrow::Cow::<'de, str>::deserialize(input)?;
        Text::parse(&source).map_err(serde::de::Error::custom)
    }
}
