//! Scalars: YAML 1.2's core schema, and where a byte of a value stands in the file.

use saphyr_parser::ScalarStyle;
use serde_json::{Number, Value};

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Single,
    Double,
    Literal,
    Folded,
}

impl From<ScalarStyle> for Style {
    fn from(style: ScalarStyle) -> Style {
        match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        }
    }
}

/// A scalar: its text, how it is written, and the value that is meant.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    written: String,
    style: Style,
    value: Value,
}

impl Scalar {
    pub(crate) fn new(written: String, style: Style) -> Scalar {
        let value = if style == Style::Plain { resolve(&written) } else { Value::String(written.clone()) };
        Scalar { written, style, value }
    }

    pub(crate) fn null() -> Scalar {
        Scalar { written: String::new(), style: Style::Plain, value: Value::Null }
    }

    /// The value that is meant.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// Its text as written, `1.0` and `yes` included; nothing for null.
    pub(crate) fn as_text(&self) -> Option<&str> {
        (!self.is_null()).then_some(self.written.as_str())
    }

    pub(crate) fn into_written(self) -> String {
        self.written
    }

    /// A whole number; `3.0` is one, as it is in JSON Schema.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        match &self.value {
            Value::Number(number) => whole(number),
            _ => None,
        }
    }

    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            _ => "text",
        }
    }

    /// Where byte `offset` of the value stands in `raw`, the scalar as it is in the file, `indent` bytes into its line.
    /// `None` where folding makes that uncertain.
    pub(crate) fn place_in(&self, raw: &str, indent: usize, offset: usize) -> Option<usize> {
        // A lone carriage return breaks a line for YAML, and for nobody who counts lines here.
        if raw.contains('\r') && raw.replace("\r\n", "").contains('\r') {
            return None;
        }
        match self.style {
            Style::Plain => (!raw.contains('\n') && offset <= raw.len()).then_some(offset),
            Style::Single => unquoted(raw, offset, '\'', |rest| rest.starts_with("''").then_some((2, 1))),
            Style::Double => unquoted(raw, offset, '\\', escape),
            Style::Literal => literal(raw, &self.written, offset, indent),
            Style::Folded => None,
        }
    }
}

/// A whole number, however it is written: JSON has one kind of number, and `3.0` is a whole one.
pub(crate) fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        // Between -2^53 and 2^53 every whole number is exact.
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0)
            .then(|| format!("{float:.0}").parse().ok())?
    })
}

/// Walks over a quoted scalar on one line, from one `mark` to the next; behind each, `escape` says how many bytes stand for
/// how many of the value.
fn unquoted(
    raw: &str,
    offset: usize,
    mark: char,
    escape: impl Fn(&str) -> Option<(usize, usize)>,
) -> Option<usize> {
    if raw.contains('\n') {
        return None;
    }
    let (mut at, mut value) = (1, 0);
    while value < offset {
        let rest = raw.get(at..)?;
        let plain = rest.find(mark).unwrap_or(rest.len()).min(offset - value);
        at += plain;
        value += plain;
        if value < offset {
            let (taken, made) = escape(raw.get(at..)?)?;
            at += taken;
            value += made;
        }
    }
    (at < raw.len()).then_some(at)
}

/// An escape of a double-quoted scalar: its length, and that of what it stands for.
fn escape(rest: &str) -> Option<(usize, usize)> {
    let letter = rest.strip_prefix('\\')?.chars().next()?;
    let digits = match letter {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        // Next line, no-break space, line and paragraph separator.
        'N' | '_' => return Some((2, 2)),
        'L' | 'P' => return Some((2, 3)),
        other => return Some((1 + other.len_utf8(), 1)),
    };
    let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
    Some((2 + digits, char::from_u32(code)?.len_utf8()))
}

/// In a literal block each line stands as it is, behind the block's indentation. `raw` begins behind the indentation of
/// the first line that is not blank.
fn literal(raw: &str, value: &str, offset: usize, indent: usize) -> Option<usize> {
    let blank = value.len() - value.trim_start_matches('\n').len();
    let before = value.get(blank..offset)?;
    let line = before.matches('\n').count();
    if line == 0 {
        return Some(before.len());
    }
    let column = before.len() - before.rfind('\n')? - 1;
    let start: usize = raw.split_inclusive('\n').take(line).map(str::len).sum();
    Some(start + indent + column).filter(|at| *at < raw.len())
}

/// The length of a quoted scalar at the start of `raw`, both quotes included.
pub(crate) fn quoted_length(raw: &str, style: Style) -> usize {
    let mut letters = raw.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        match (letter, style) {
            ('\\', Style::Double) => {
                letters.next();
            }
            ('\'', Style::Single) if letters.peek().is_some_and(|(_, next)| *next == '\'') => {
                letters.next();
            }
            ('\'', Style::Single) | ('"', Style::Double) => return at + 1,
            _ => {}
        }
    }
    raw.trim_end().len()
}

/// What a plain scalar means (YAML 1.2.2, 10.3.2).
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o").filter(|rest| digits(rest, 8)) {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    if let Some(hex) = text.strip_prefix("0x").filter(|rest| digits(rest, 16)) {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits(unsigned, 10) {
        let plain = text.strip_prefix('+').unwrap_or(text);
        let whole =
            plain.parse::<i64>().map(Number::from).or_else(|_| plain.parse::<u64>().map(Number::from));
        return whole.ok().or_else(|| plain.parse().ok().and_then(Number::from_f64));
    }
    let (mantissa, exponent) =
        unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let exponent_fits =
        exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent), 10));
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", after)) => digits(after, 10),
        Some((before, after)) => digits(before, 10) && (after.is_empty() || digits(after, 10)),
        None => digits(mantissa, 10),
    };
    // `.inf` and `.nan` stay text: no field of the language can use them.
    (exponent_fits && mantissa_fits).then(|| text.parse().ok().and_then(Number::from_f64)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r041_plain_scalars_follow_the_core_schema() {
        for (text, value) in [
            ("null", Value::Null),
            ("~", Value::Null),
            ("true", true.into()),
            ("yes", "yes".into()),
            ("12", 12.into()),
            ("-3", (-3).into()),
            ("+3", 3.into()),
            ("0x1F", 31.into()),
            ("0o17", 15.into()),
            ("017", 17.into()),
            ("1.5", 1.5.into()),
            (".5", 0.5.into()),
            ("1.", 1.0.into()),
            ("1e3", 1000.0.into()),
            ("1e", "1e".into()),
            ("18446744073709551615", u64::MAX.into()),
            ("0xfg", "0xfg".into()),
            ("1_000", "1_000".into()),
            (".", ".".into()),
            ("-", "-".into()),
            (".inf", ".inf".into()),
            ("1e999", "1e999".into()),
            ("30m", "30m".into()),
        ] {
            assert_eq!(Scalar::new(text.to_owned(), Style::Plain).value(), &value, "{text}");
        }
        assert_eq!(Scalar::new("3.0".into(), Style::Plain).as_integer(), Some(3));
        assert_eq!(Scalar::new("3.5".into(), Style::Plain).as_integer(), None);
        assert_eq!(Scalar::new("3".into(), Style::Single).as_integer(), None);
    }
}
