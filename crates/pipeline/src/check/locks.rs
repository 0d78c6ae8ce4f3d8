//! The locks of a stage: names of things that only one attempt may work on at a time.

use eparch_domain::{Name, limits};

use super::config::Config;
use super::names::Surroundings;
use super::stages::Draft;
use crate::diagnostic::{Problems, codes};
use crate::syntax::{Node, shown};
use crate::text::Text;

/// The entries of `locks`. What is written out is a name, once; what an expression yields is looked at when an attempt is
/// about to begin.
pub(super) fn locks(
    draft: &Draft<'_>,
    around: &Surroundings<'_, '_>,
    config: Config<'_>,
    problems: &mut Problems,
) -> Vec<Text> {
    let Some(set) = config.get("locks") else { return Vec::new() };
    let outside = draft.node.get("template").map_or(draft.name_range.clone(), |node| node.range.clone());
    let place = |node: &Node| if set.own { node.range.clone() } else { outside.clone() };
    let mut seen: Vec<&str> = Vec::new();
    for item in set.node.items().iter().take(limits::STAGE_LOCKS) {
        let Some(name) = item.text() else { continue };
        if seen.contains(&name) {
            let message = format!("`{}` is listed twice; it is held once", shown(name));
            problems.warning(codes::LOCK_TWICE, place(item), message);
        }
        seen.push(name);
        // With an expression in it, it is not known yet.
        if name.contains("${{") {
            continue;
        }
        if let Err(why) = Name::new(name) {
            problems
                .error(
                    codes::BAD_LOCK,
                    place(item),
                    format!("no lock can be called `{}`: {why}", shown(name)),
                )
                .hint("name what is worked on, as in `production` or `db-${{ inputs.environment }}`");
        }
    }
    if let Some(item) = set.node.items().get(limits::STAGE_LOCKS) {
        let message = format!("a stage holds at most {} locks", limits::STAGE_LOCKS);
        problems.error(codes::TOO_MANY, place(item), message);
    }
    around.texts(draft, Some(set), problems)
}
