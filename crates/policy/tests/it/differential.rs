//! F9: what the index leaves out could have said nothing. Every verdict is what plain Cedar, asked with every policy of the
//! set and every fact there is, comes to.

use std::collections::BTreeMap;

use eparch_policy::{PolicySet, PolicyText, Request, Verdict};

use crate::dice::Dice;
use crate::generated::{Generated, policy, request};
use crate::plain::{Plain, schema};

/// Requests that all sets are asked.
const REQUESTS: usize = 2_500;
/// Sets of policies that each half of the test generates; both halves make a million decisions and some.
const SETS: usize = 202;

/// How many sets each half is to generate. Fewer can be asked for where the tests are run a thousand times over.
fn sets() -> usize {
    let given = std::env::var("EPARCH_POLICY_SETS").ok();
    given.map_or(SETS, |text| text.parse().expect("EPARCH_POLICY_SETS is a number"))
}

/// The seed of a run; another can be given to look further.
fn seed() -> u64 {
    let given = std::env::var("EPARCH_POLICY_SEED").ok();
    given.map_or(20_261_121, |text| text.parse().expect("EPARCH_POLICY_SEED is a number"))
}

/// Two halves, for two cores.
#[test]
fn f9_the_first_half_million_decisions_are_those_of_plain_cedar() {
    compare(seed());
}

#[test]
fn f9_the_second_half_million_decisions_are_those_of_plain_cedar() {
    compare(seed().wrapping_add(1));
}

fn compare(seed: u64) {
    let mut dice = Dice::new(seed);
    let schema = schema();
    let requests: Vec<Request> = (0..REQUESTS).map(|_| request(&mut dice)).collect();
    let plain: Vec<Plain> = requests.iter().map(|request| Plain::new(request, &schema)).collect();
    let mut seen = Seen::default();
    let sets = sets();
    for set in 0..sets {
        let many = 1 + dice.below([4, 12, 30][set % 3]);
        let generated: Vec<Generated> = (0..many).map(|number| policy(&mut dice, number)).collect();
        let text: String = generated.iter().map(|policy| policy.text.as_str()).collect();
        let ours = PolicySet::load(&[PolicyText { name: "generated.cedar", text: &text }]).unwrap_or_else(
            |problems| panic!("seed {seed}, set {set}: {:?}\n{text}", problems[0].to_string()),
        );
        let theirs = Theirs::new(&generated);
        for (request, plain) in requests.iter().zip(&plain) {
            let verdict = ours.decide(request);
            let found = as_found(&verdict);
            let expected = theirs.answer(plain);
            assert_eq!(found, expected, "seed {seed}, set {set}\n{request:?}\n{text}");
            assert!(verdict.candidates <= many);
            seen.note(&verdict, many);
        }
    }
    // Fewer sets are asked for by whoever wants it quick, and may well be of few kinds.
    if sets < SETS {
        return;
    }
    // What was compared was worth comparing.
    assert!(seen.all >= 500_000, "{seen:?}");
    let some = 1_000;
    for decision in ["allow", "modify", "ask", "deny"] {
        assert!(seen.decisions[decision] > some, "{decision}: {seen:?}");
    }
    assert!(seen.errors > some && seen.watched > some && seen.left_out > seen.all, "{seen:?}");
}

/// How often what was seen.
#[derive(Debug, Default)]
struct Seen {
    all: usize,
    decisions: BTreeMap<&'static str, usize>,
    errors: usize,
    watched: usize,
    left_out: usize,
}

impl Seen {
    fn note(&mut self, verdict: &Verdict, policies: usize) {
        self.all += 1;
        *self.decisions.entry(verdict.decision.as_str()).or_default() += 1;
        self.errors += usize::from(&*verdict.reason == "evaluation_error");
        self.watched += usize::from(!verdict.shadowed.is_empty());
        self.left_out += policies - verdict.candidates;
    }
}

/// Decision, policies that decided, and what watched policies would have said.
type Answer = (&'static str, Vec<String>, Vec<(String, &'static str)>);

fn as_found(verdict: &Verdict) -> Answer {
    let shadowed =
        verdict.shadowed.iter().map(|shadow| (shadow.policy.to_string(), shadow.decision.as_str())).collect();
    (verdict.decision.as_str(), verdict.policies.iter().map(ToString::to_string).collect(), shadowed)
}

/// The same policies, as Cedar's own sets.
struct Theirs<'g> {
    enforced: cedar_policy::PolicySet,
    watched: BTreeMap<&'g str, (&'static str, cedar_policy::PolicySet)>,
    says: BTreeMap<&'g str, &'static str>,
}

impl<'g> Theirs<'g> {
    fn new(generated: &'g [Generated]) -> Theirs<'g> {
        let mut theirs = Theirs {
            enforced: cedar_policy::PolicySet::new(),
            watched: BTreeMap::new(),
            says: BTreeMap::new(),
        };
        for policy in generated {
            let id = cedar_policy::PolicyId::new(&policy.id);
            let parsed = cedar_policy::Policy::parse(Some(id), &policy.text).expect("it was read once");
            if policy.shadow {
                let mut alone = cedar_policy::PolicySet::new();
                alone.add(parsed).expect("one");
                theirs.watched.insert(&policy.id, (policy.says, alone));
            } else {
                theirs.enforced.add(parsed).expect("ids differ");
                theirs.says.insert(&policy.id, policy.says);
            }
        }
        theirs
    }

    fn answer(&self, plain: &Plain) -> Answer {
        let (errors, applied) = asked(plain, &self.enforced);
        let (decision, mut policies) = if !errors.is_empty() {
            ("deny", errors)
        } else {
            let says = |wanted: &str| -> Vec<String> {
                applied.iter().filter(|id| self.says[id.as_str()] == wanted).cloned().collect()
            };
            let heaviest =
                ["deny", "ask", "modify", "allow"].into_iter().find(|says_| !says(says_).is_empty());
            heaviest.map_or(("deny", Vec::new()), |heaviest| (heaviest, says(heaviest)))
        };
        policies.sort();
        let watched = self.watched.iter().filter_map(|(id, (says, alone))| match asked(plain, alone) {
            (errors, _) if !errors.is_empty() => Some(((*id).to_owned(), "deny")),
            (_, applied) if !applied.is_empty() => Some(((*id).to_owned(), *says)),
            _ => None,
        });
        (decision, policies, watched.collect())
    }
}

/// The policies that cannot be evaluated, and those that Cedar says decided.
fn asked(plain: &Plain, policies: &cedar_policy::PolicySet) -> (Vec<String>, Vec<String>) {
    let response = plain.ask(policies);
    let errors = response.diagnostics().errors().map(|error| {
        let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
        error.policy_id().to_string()
    });
    let applied = response.diagnostics().reason().map(ToString::to_string);
    (errors.collect(), applied.collect())
}
