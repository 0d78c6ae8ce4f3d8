//! What has two names is asked about by both at once, and answered as if it had been asked about by each.

use eparch_policy::{PolicySet, PolicyText, Request, Resource, ResourceKind};

use crate::common::{TENANT, name};
use crate::dice::Dice;
use crate::generated::{names_of, policy, request};

const SETS: usize = 24;
const REQUESTS: usize = 400;

/// What no scope says: the text of a name.
const BY_NAME: &str = r#"
    @id("by-name") @reason("by_name")
    forbid (principal, action, resource is Path) when { resource.name like "docs*" };
"#;

#[test]
fn f9_whoever_asks_by_both_names_hears_what_is_said_of_each() {
    let mut dice = Dice::new(20_261_123);
    let (mut same, mut others) = (0, 0);
    for set in 0..SETS {
        let many = 1 + dice.below(12);
        let mut text: String = (0..many).map(|number| policy(&mut dice, number).text).collect();
        if dice.once_in(3) {
            text += BY_NAME;
        }
        let set_of = || PolicySet::load(&[PolicyText { name: "generated.cedar", text: &text }]).unwrap();
        // Neither hears of the other what it remembers.
        let (ours, apart) = (set_of(), set_of());
        for _ in 0..REQUESTS {
            // Half of it about paths: nothing else has two names, and whoever asks all the same is answered.
            let kind = if dice.once_in(2) { Some(ResourceKind::Path) } else { None };
            let is_it = |asked: &Request| kind.is_none_or(|kind| asked.resource.kind() == kind);
            let asked = std::iter::repeat_with(|| request(&mut dice)).find(is_it).unwrap();
            let kind = asked.resource.kind();
            let other = dice.of(names_of(kind));
            let (own, second) = ours.decide_by_both_names(asked.clone(), other);
            let renamed = Request { resource: under(&asked.resource, other), ..asked.clone() };
            let expected = (apart.decide(&asked), apart.decide(&renamed));
            match second {
                Some(_) => others += 1,
                None => same += 1,
            }
            let found = (own.clone(), second.unwrap_or(own));
            assert_eq!(found, expected, "set {set}: {asked:?} or {other}\n{text}");
        }
    }
    assert!(same > REQUESTS && others > REQUESTS, "{same} were the same, {others} were looked at");
}

#[test]
fn what_nothing_can_be_called_is_no_second_name() {
    let permits = r#"@id("all") @reason("all") permit (principal, action, resource);"#;
    let ours = PolicySet::load(&[PolicyText { name: "all.cedar", text: permits }]).unwrap();
    let mut dice = Dice::new(1);
    let of_path = |asked: &Request| asked.resource.kind() == ResourceKind::Path;
    let asked = std::iter::repeat_with(|| request(&mut dice)).find(of_path).unwrap();
    for other in ["", "a/../b", "a//b"] {
        assert_eq!(ours.decide_by_both_names(asked.clone(), other), (ours.decide(&asked), None));
    }
}

fn under(resource: &Resource, other: &str) -> Resource {
    let (tenant, owner) = (name(TENANT), resource.owner().clone());
    match resource.tier() {
        Some(tier) => Resource::agent(other, tier, tenant, owner),
        None => Resource::new(resource.kind(), other, tenant, owner),
    }
    .expect("what there can be")
}
