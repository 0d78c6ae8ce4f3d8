//! Values out of nodes whose shape was checked. A node of the wrong shape yields nothing: it was told already.

use std::str::FromStr;

use eparch_domain::span::BadSpan;
use eparch_domain::{Span, Tier};

use crate::diagnostic::{Problems, codes};
use crate::model::Budget;
use crate::syntax::Node;
use crate::template::Template;

/// A duration; one that is too long is told here, where the form is right.
pub(super) fn span(node: Option<&Node>, problems: &mut Problems) -> Option<Span> {
    let node = node?;
    match node.text()?.parse() {
        Ok(span) => Some(span),
        Err(error @ BadSpan::TooLong) => {
            problems.error(codes::TOO_LONG, node.range.clone(), error.to_string());
            None
        }
        Err(BadSpan::Shape) => None,
    }
}

/// A word of an enum.
pub(super) fn word<T: FromStr>(node: Option<&Node>) -> Option<T> {
    node?.text()?.parse().ok()
}

/// A whole number.
pub(crate) fn integer<T: TryFrom<i64>>(node: Option<&Node>) -> Option<T> {
    T::try_from(node?.scalar()?.as_integer()?).ok()
}

/// A tier.
pub(crate) fn tier(node: Option<&Node>) -> Option<Tier> {
    let node = node?;
    integer(Some(node)).and_then(Tier::from_number).or_else(|| node.text()?.parse().ok())
}

/// A budget.
pub(super) fn budget(node: &Node) -> Budget {
    Budget {
        tokens: integer(node.get("tokens")),
        dollars: node.get("dollars").and_then(|dollars| dollars.scalar()?.value().as_f64()),
    }
}

/// The texts of a list.
pub(crate) fn words(node: Option<&Node>) -> Vec<String> {
    node.map_or(&[][..], Node::items).iter().filter_map(|item| item.text().map(str::to_owned)).collect()
}

/// An agent's config: the stage's own keys, then its template's.
#[derive(Clone, Copy)]
pub(super) struct Config<'n> {
    pub(super) own: Option<&'n Node>,
    pub(super) template: Option<&'n Template>,
}

/// A node and whether it stands in the pipeline file itself.
#[derive(Clone, Copy)]
pub(super) struct Set<'n> {
    pub(super) node: &'n Node,
    pub(super) own: bool,
}

impl<'n> Config<'n> {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Set<'n>> {
        let own = self.own.and_then(|own| own.get(key)).map(|node| Set { node, own: true });
        own.or_else(|| self.template?.config()?.get(key).map(|node| Set { node, own: false }))
    }

    /// The value of a key inside a key; each is looked for on its own.
    pub(super) fn inner(&self, key: &str, inner: &str) -> Option<Set<'n>> {
        let own = self.own.and_then(|own| own.get(key)?.get(inner)).map(|node| Set { node, own: true });
        own.or_else(|| self.template?.config()?.get(key)?.get(inner).map(|node| Set { node, own: false }))
    }

    /// The value of a key in the stage itself.
    pub(super) fn own(&self, key: &str) -> Option<&'n Node> {
        self.own.and_then(|own| own.get(key))
    }
}
