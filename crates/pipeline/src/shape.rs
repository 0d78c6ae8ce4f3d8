//! How a document is built: one description that the reader checks against and the JSON Schema is made from, so that the
//! two cannot come apart.

use crate::diagnostic::{Problems, codes};
use crate::nearest::nearest;
use crate::syntax::{Entry, Kind, Node, shown};

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Text that may hold `${{ … }}`; numbers and booleans are taken as they are written.
    Text,
    /// Text of a certain form.
    Form(&'static Form),
    /// The same, where a number is taken as it is written: `version: 1.0`.
    Written(&'static Form),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// A whole number between two bounds.
    Integer(i64, i64),
    /// A number that is not below zero.
    Amount,
    /// A tier: 0 to 4, or `T0` to `T4`.
    Tier,
    /// Text, a number or a boolean.
    Scalar,
    /// A list of at least so many.
    List(&'static Shape, usize),
    /// Values under names of a certain form.
    Map(&'static Form, &'static Shape),
    /// Named fields.
    Object(&'static Object),
    /// Named fields, which depend on one of them.
    Variants(&'static Variants),
}

/// A form of text.
#[derive(Debug)]
pub(crate) struct Form {
    /// What such a text is, for messages: `a duration such as 30m`.
    pub(crate) what: &'static str,
    /// The form as JSON Schema writes it.
    pub(crate) pattern: &'static str,
    /// The same as a function.
    pub(crate) fits: fn(&str) -> bool,
}

/// Named fields.
#[derive(Debug)]
pub(crate) struct Object {
    /// What it is, for messages and for the schema's definitions: `agent config`.
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
}

/// Fields that depend on the word under `tag`.
#[derive(Debug)]
pub(crate) struct Variants {
    pub(crate) name: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) about: &'static str,
    pub(crate) variants: &'static [(&'static str, &'static Object)],
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    /// What it is for; shown by editors.
    pub(crate) about: &'static str,
}

impl Shape {
    /// What such a value is called in messages.
    fn what(&self) -> String {
        match self {
            Shape::Text | Shape::Scalar => "text".into(),
            Shape::Form(form) | Shape::Written(form) => form.what.into(),
            Shape::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Shape::Boolean => "true or false".into(),
            Shape::Integer(..) => "a whole number".into(),
            Shape::Amount => "a number".into(),
            Shape::Tier => "a tier from 0 to 4".into(),
            Shape::List(..) => "a list".into(),
            Shape::Map(..) => "a map of names to values".into(),
            Shape::Object(object) => format!("a map, the fields of {}", object.name),
            Shape::Variants(variants) => format!("a map, the fields of {}", variants.name),
        }
    }
}

/// Checks a node against a shape; `label` says whose value it is, as in "`timeout`".
pub(crate) fn check(node: &Node, shape: &Shape, label: &str, problems: &mut Problems) {
    if problems.is_crowded() {
        return;
    }
    match shape {
        Shape::List(of, least) => match &node.kind {
            Kind::List(items) => list(node, items, of, *least, label, problems),
            _ => mistyped(node, shape, label, problems),
        },
        Shape::Map(form, of) => match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    if !(form.fits)(&entry.key) {
                        let message = format!(
                            "`{}` cannot be a name in {label}: expected {}",
                            shown(&entry.key),
                            form.what
                        );
                        problems.error(codes::BAD_FORMAT, entry.key_range.clone(), message);
                    }
                    check(&entry.value, of, &format!("`{}`", shown(&entry.key)), problems);
                }
            }
            _ => mistyped(node, shape, label, problems),
        },
        Shape::Object(known) => match &node.kind {
            Kind::Map(entries) => object(node, entries, known, &[], problems),
            _ => mistyped(node, shape, label, problems),
        },
        Shape::Variants(known) => match &node.kind {
            Kind::Map(entries) => variants(node, entries, known, problems),
            _ => mistyped(node, shape, label, problems),
        },
        _ => scalar(node, shape, label, problems),
    }
}

fn list(node: &Node, items: &[Node], of: &Shape, least: usize, label: &str, problems: &mut Problems) {
    if items.len() < least {
        let message = if least == 1 {
            format!("{label} cannot be empty")
        } else {
            format!("{label} needs {least} items")
        };
        problems.error(codes::ITEM_COUNT, node.range.clone(), message);
    }
    for item in items {
        check(item, of, &format!("an item of {label}"), problems);
    }
}

fn object(node: &Node, entries: &[Entry], known: &Object, also: &[&str], problems: &mut Problems) {
    for entry in entries {
        if problems.is_crowded() {
            return;
        }
        match known.fields.iter().find(|field| field.name == entry.key) {
            Some(field) => check(&entry.value, &field.shape, &format!("`{}`", field.name), problems),
            None if also.contains(&entry.key.as_str()) => {}
            None => unknown(entry, known, also, problems),
        }
    }
    for field in known.fields.iter().filter(|field| field.required) {
        if node.get(field.name).is_none() {
            missing(node, field.name, known.name, problems);
        }
    }
}

fn missing(node: &Node, field: &str, of: &str, problems: &mut Problems) {
    // The whole map is the place; a reader is helped more by where it begins.
    let place = node.entries().first().map_or(node.range.clone(), |entry| entry.key_range.clone());
    problems.error(codes::MISSING_FIELD, place, format!("{of} needs `{field}`"));
}

fn unknown(entry: &Entry, known: &Object, also: &[&str], problems: &mut Problems) {
    let message = format!("`{}` is not a field of {}", shown(&entry.key), known.name);
    let problem = problems.error(codes::UNKNOWN_FIELD, entry.key_range.clone(), message);
    let names = || known.fields.iter().map(|field| field.name).chain(also.iter().copied());
    let inner = known.fields.iter().find_map(|field| match field.shape {
        Shape::Object(object) => {
            object.fields.iter().any(|inner| inner.name == entry.key).then_some(field.name)
        }
        _ => None,
    });
    if let Some(near) = nearest(&entry.key, names()) {
        problem.hint(format!("did you mean `{near}`?"));
    } else if let Some(inner) = inner {
        problem.hint(format!("`{}` belongs into `{inner}`", entry.key));
    } else {
        problem.hint(format!("there are {}", names().collect::<Vec<_>>().join(", ")));
    }
}

fn variants(node: &Node, entries: &[Entry], known: &Variants, problems: &mut Problems) {
    let Some(tag) = node.get(known.tag) else {
        missing(node, known.tag, known.name, problems);
        return;
    };
    let words: Vec<&'static str> = known.variants.iter().map(|(word, _)| *word).collect();
    match tag.scalar().and_then(|scalar| scalar.value().as_str()) {
        Some(word) => match known.variants.iter().find(|(known, _)| *known == word) {
            Some((_, variant)) => object(node, entries, variant, &[known.tag], problems),
            None => not_a_choice(tag, word, &words, &format!("`{}`", known.tag), problems),
        },
        None => {
            let message =
                format!("`{}` must be one of {}, not {}", known.tag, words.join(", "), tag.kind_name());
            problems.error(codes::WRONG_TYPE, tag.range.clone(), message);
        }
    }
}

fn scalar(node: &Node, shape: &Shape, label: &str, problems: &mut Problems) {
    let Some(found) = node.scalar().filter(|scalar| !scalar.is_null()) else {
        return mistyped(node, shape, label, problems);
    };
    let value = found.value();
    match shape {
        Shape::Text | Shape::Scalar => {}
        Shape::Boolean if value.is_boolean() => {}
        Shape::Written(_) if value.is_number() => {}
        Shape::Form(form) | Shape::Written(form) => match value.as_str() {
            Some(text) if (form.fits)(text) => {}
            Some(text) => {
                let message = format!("{label} must be {}, not `{}`", form.what, shown(text));
                let problem = problems.error(codes::BAD_FORMAT, node.range.clone(), message);
                if text.contains("${{") {
                    problem.hint("no expression is evaluated here");
                }
            }
            None => mistyped(node, shape, label, problems),
        },
        Shape::Word(words) => match value.as_str() {
            Some(word) if words.contains(&word) => {}
            Some(word) => not_a_choice(node, word, words, label, problems),
            None => mistyped(node, shape, label, problems),
        },
        Shape::Integer(least, most) => match found.as_integer() {
            Some(number) if (*least..=*most).contains(&number) => {}
            Some(_) => {
                let message = format!("{label} must be between {least} and {most}");
                problems.error(codes::OUT_OF_RANGE, node.range.clone(), message);
            }
            None => mistyped(node, shape, label, problems),
        },
        Shape::Amount => match value.as_f64() {
            Some(number) if number >= 0.0 => {}
            Some(_) => {
                problems.error(
                    codes::OUT_OF_RANGE,
                    node.range.clone(),
                    format!("{label} cannot be below zero"),
                );
            }
            None => mistyped(node, shape, label, problems),
        },
        Shape::Tier => {
            let number = found.as_integer().is_some_and(|number| (0..=4).contains(&number));
            let name = value.as_str().is_some_and(|name| ["T0", "T1", "T2", "T3", "T4"].contains(&name));
            if !number && !name {
                problems.error(
                    codes::OUT_OF_RANGE,
                    node.range.clone(),
                    format!("{label} must be a tier from 0 to 4"),
                );
            }
        }
        _ => mistyped(node, shape, label, problems),
    }
}

fn not_a_choice(node: &Node, word: &str, words: &[&'static str], label: &str, problems: &mut Problems) {
    let message = format!("{label} cannot be `{}`; there are {}", shown(word), words.join(", "));
    problems
        .error(codes::NOT_A_CHOICE, node.range.clone(), message)
        .did_you_mean(word, words.iter().copied());
}

fn mistyped(node: &Node, shape: &Shape, label: &str, problems: &mut Problems) {
    let message = format!("{label} must be {}, not {}", shape.what(), node.kind_name());
    let problem = problems.error(codes::WRONG_TYPE, node.range.clone(), message);
    let Some(scalar) = node.scalar() else { return };
    if scalar.is_null() {
        problem.hint("give it a value or leave the field out");
    } else if matches!(shape, Shape::Form(_) | Shape::Word(_)) {
        problem.hint("put it in quotes to make it text");
    } else if let (Shape::List(..), Some(text)) = (shape, scalar.as_text()) {
        problem.hint(format!("write [{}]", shown(text)));
    }
}
