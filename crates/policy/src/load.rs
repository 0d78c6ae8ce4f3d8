//! Texts in; a set of policies that fit the schema, or everything that is wrong with them, out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use cedar_policy::{Policy, PolicyId, Schema, ValidationMode, Validator};
use eparch_domain::{Action, Digest, limits};
use miette::Diagnostic;

use crate::defaults::{DEFAULTS, SCHEMA};
use crate::document::{self, NotASet};
use crate::entities::Vocabulary;
use crate::index::Index;
use crate::literal;
use crate::names::{Printed, names_of_subject};
use crate::place::line_and_column;
use crate::problem::{MOST_PROBLEMS, Problem, codes};
use crate::remembered::Remembered;
use crate::resource::ResourceKind;
use crate::rule::{self, Rule};
use crate::split;
use crate::subject::Subject;

/// A file of policies.
#[derive(Debug, Clone, Copy)]
pub struct PolicyText<'t> {
    /// What it is called in messages.
    pub name: &'t str,
    /// What it says.
    pub text: &'t str,
}

/// Policies that were read, fit the schema and are ready to be asked.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) index: Index,
    pub(crate) remembered: Remembered,
    rules: BTreeMap<Arc<str>, Rule>,
    document: Vec<u8>,
    digest: Digest,
}

impl PolicySet {
    /// Reads policies.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, at most 200 problems, in the order of files and places. A set with one fault is
    /// refused whole: half a set is another policy than anybody wrote (G4).
    pub fn load(files: &[PolicyText<'_>]) -> Result<PolicySet, Vec<Problem>> {
        let mut reading = Reading::new(files);
        reading.read_all();
        reading.validate();
        let pieces = reading.finish()?;
        let mut rules = BTreeMap::new();
        let mut policies = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let rule = Arc::new(piece.rule);
            policies.push((Arc::clone(&rule), piece.policy.new_id(PolicyId::new(&*rule.id))));
            rules.insert(Arc::clone(&rule.id), Rule::clone(&rule));
        }
        let index = Index::new(policies, &ground().vocabulary);
        let document = document::write(files);
        let digest = Digest::of(&document);
        Ok(PolicySet { index, remembered: Remembered::default(), rules, document, digest })
    }

    /// The policies that ship.
    pub fn defaults() -> PolicySet {
        PolicySet::load(&DEFAULTS).expect("the policies that ship are tested to be without fault")
    }

    /// What these policies are: the digest of [`PolicySet::to_bytes`]. Two sets with one digest decide alike.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The set as it is kept: every file with its name, and the digest of the schema it was read with.
    pub fn to_bytes(&self) -> &[u8] {
        &self.document
    }

    /// Reads a set that was kept.
    ///
    /// # Errors
    ///
    /// When it is none, or was read with another schema: what its policies would say today is another thing than what they
    /// said.
    pub fn from_bytes(bytes: &[u8]) -> Result<PolicySet, NotASet> {
        let kept = document::read(bytes)?;
        let files: Vec<_> = kept.iter().map(|(name, text)| PolicyText { name, text }).collect();
        PolicySet::load(&files).map_err(|problems| NotASet::Faulty(problems.len()))
    }

    /// The files it was made of: name and text of each, in order.
    pub fn files(&self) -> Vec<(String, String)> {
        document::read(&self.document).expect("what was written here is read")
    }

    /// Every policy, in the order of their ids.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.values()
    }

    /// Things of a kind that policies name, and groups of them (`docs`, `staging-*`), in order.
    pub fn names_of(&self, kind: ResourceKind) -> Vec<&str> {
        self.index.names_of(kind.into())
    }

    /// Where what this subject does with this action is judged by the text of a path's name (`resource.name`): within these
    /// places, `None` being any. What lies in a folder there is not asked about by asking about the folder.
    pub fn judged_by_name(&self, subject: &Subject, action: Action) -> Vec<Option<&str>> {
        let printed = Printed::of_subject(subject);
        self.index.judged_by_name(action, &names_of_subject(subject, &printed))
    }

    /// The policy with this id.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.get(id)
    }
}

/// What every set stands on: made once, since it never differs and takes longer than most sets.
pub(crate) struct Ground {
    validator: Validator,
    pub(crate) vocabulary: Vocabulary,
}

pub(crate) fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let read = Schema::from_cedarschema_str(SCHEMA);
        let (schema, _) = read.expect("the schema that ships is tested to be one");
        Ground { vocabulary: Vocabulary::new(&schema), validator: Validator::new(schema) }
    })
}

/// A policy on its way into a set.
struct Piece {
    file: usize,
    range: Range<usize>,
    policy: Policy,
    rule: Rule,
}

/// What has been read so far.
struct Reading<'f, 't> {
    files: &'f [PolicyText<'t>],
    pieces: Vec<Piece>,
    /// With the number of the file, so that they are told in the order they were handed in.
    problems: Vec<(usize, Problem)>,
}

impl<'f, 't> Reading<'f, 't> {
    fn new(files: &'f [PolicyText<'t>]) -> Self {
        Reading { files, pieces: Vec::new(), problems: Vec::new() }
    }

    fn problem(&mut self, file: usize, at: usize, code: &'static str, message: String, hint: Option<String>) {
        // To find a place costs as much as reading the file up to it, so that too many are not looked for.
        if self.problems.len() >= MOST_PROBLEMS {
            return;
        }
        let PolicyText { name, text } = self.files[file];
        let (line, column) = line_and_column(text, at);
        self.problems.push((file, Problem { file: name.to_owned(), line, column, code, message, hint }));
    }

    fn read_all(&mut self) {
        let mut ids: BTreeMap<Arc<str>, (usize, usize)> = BTreeMap::new();
        if self.files.len() > limits::POLICY_FILES {
            let message = format!(
                "there are {} files of policies; at most {} are read",
                self.files.len(),
                limits::POLICY_FILES
            );
            return self.problem(limits::POLICY_FILES, 0, codes::TOO_LARGE, message, None);
        }
        let mut count = 0;
        for file in 0..self.files.len() {
            let text = self.files[file].text;
            if text.len() > limits::POLICY_FILE_BYTES {
                let (most, is) = (limits::POLICY_FILE_BYTES, text.len());
                let message = format!("the file has {is} bytes; at most {most} are read");
                self.problem(file, 0, codes::TOO_LARGE, message, Some("split it into several".to_owned()));
                continue;
            }
            for range in split::policies(text) {
                count += 1;
                if count > limits::POLICIES {
                    let message = format!("a set has at most {} policies", limits::POLICIES);
                    return self.problem(file, range.start, codes::TOO_LARGE, message, None);
                }
                self.read(file, range, &mut ids);
            }
        }
        if count == 0 && self.problems.is_empty() {
            self.nothing();
        }
    }

    fn nothing(&mut self) {
        let hint =
            "`eparch policy show` lists the policies that ship; a folder of your own replaces them whole";
        self.problems.push((
            0,
            Problem {
                file: self.files.first().map_or("policies", |file| file.name).to_owned(),
                line: 1,
                column: 1,
                code: codes::NO_POLICIES,
                message: "there is no policy at all, so nothing could ever be allowed".to_owned(),
                hint: Some(hint.to_owned()),
            },
        ));
    }

    fn read(&mut self, file: usize, range: Range<usize>, ids: &mut BTreeMap<Arc<str>, (usize, usize)>) {
        let PolicyText { name, text } = self.files[file];
        let source = &text[range.clone()];
        if source.len() > limits::POLICY_BYTES {
            let (most, is) = (limits::POLICY_BYTES, source.len());
            let message = format!("the policy has {is} bytes; at most {most} are read");
            let hint = "a policy ends with a semicolon; is one missing?".to_owned();
            return self.problem(file, range.start, codes::TOO_LARGE, message, Some(hint));
        }
        if let Some(at) = split::nests_too_deeply(source, limits::POLICY_NESTING) {
            let message = format!("brackets nest more than {} deep", limits::POLICY_NESTING);
            let hint = "divide it into several policies".to_owned();
            return self.problem(file, range.start + at, codes::TOO_LARGE, message, Some(hint));
        }
        let number = PolicyId::new(format!("{}", self.pieces.len()));
        let policy = match Policy::parse(Some(number), source) {
            Ok(policy) => policy,
            Err(errors) => {
                for error in errors.iter() {
                    let at = range.start + offset_of(error);
                    let hint = error.help().map(|help| help.to_string());
                    self.problem(file, at, codes::NOT_A_POLICY, one_line(&error.to_string()), hint);
                }
                return;
            }
        };
        let mut faults = Vec::new();
        let line = line_and_column(text, range.start).0;
        let rule = rule::read(&policy, name, line, source, &mut faults);
        for fault in faults {
            let about = fault.about.and_then(|about| source.find(&format!("@{about}"))).unwrap_or(0);
            self.problem(file, range.start + about, fault.code, fault.message, fault.hint);
        }
        if !rule.id.is_empty() {
            match ids.get(&rule.id) {
                None => {
                    ids.insert(Arc::clone(&rule.id), (file, line));
                }
                Some((first, line)) => {
                    let message = format!("the id {:?} is used twice", rule.id);
                    let hint = format!("its first use is {}:{line}", self.files[*first].name);
                    let at = range.start + source.find("@id").unwrap_or(0);
                    self.problem(file, at, codes::ID_TWICE, message, Some(hint));
                }
            }
        }
        self.pieces.push(Piece { file, range, policy, rule });
    }

    /// Whether the policies fit the schema. One that can never apply does not: it says something else than its author
    /// means, and a forbid like that is a door left open.
    fn validate(&mut self) {
        let mut set = cedar_policy::PolicySet::new();
        for piece in &self.pieces {
            set.add(piece.policy.clone()).expect("pieces are numbered, and each is a policy");
        }
        let result = ground().validator.validate(&set, ValidationMode::Strict);
        let errors = result.validation_errors();
        let mut found: Vec<Found> =
            errors.map(|error| Found::new(error.policy_id(), error, codes::DOES_NOT_FIT)).collect();
        // What does not fit can never apply either, which is no second problem.
        let faulty: BTreeSet<usize> = found.iter().map(|found| found.piece).collect();
        let warnings = result.validation_warnings();
        let warnings = warnings.map(|warning| Found::new(warning.policy_id(), warning, codes::NEVER_APPLIES));
        found.extend(warnings.filter(|warning| !faulty.contains(&warning.piece)));
        // What nothing is called the validator does not know: to it, a name is any text.
        let names = self.pieces.iter().enumerate().filter(|(piece, _)| !faulty.contains(piece));
        found.extend(names.flat_map(|(piece, read)| {
            literal::unreachable(&read.policy, &read.rule.text).into_iter().map(
                move |literal::Unreachable { at, message, hint }| Found {
                    piece,
                    at,
                    message,
                    hint: Some(hint),
                    code: codes::NEVER_APPLIES,
                },
            )
        }));
        // The library tells them in no particular order, and one mistake again for every action it can be asked with.
        found.sort_unstable();
        found.dedup_by(|one, first| (one.piece, one.at) == (first.piece, first.at));
        for Found { piece, at, message, hint, code } in found {
            let (file, start) = (self.pieces[piece].file, self.pieces[piece].range.start);
            self.problem(file, start + at, code, message, hint);
        }
    }

    fn finish(mut self) -> Result<Vec<Piece>, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.pieces);
        }
        self.problems.sort_unstable();
        Err(self.problems.into_iter().map(|(_, problem)| problem).collect())
    }
}

/// Something the validator found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    piece: usize,
    at: usize,
    message: String,
    hint: Option<String>,
    code: &'static str,
}

impl Found {
    fn new(id: &PolicyId, what: &dyn Diagnostic, code: &'static str) -> Found {
        // The library's own messages name the policy by the number it has here.
        let message = one_line(&what.to_string());
        let own = format!("for policy `{id}`, ");
        Found {
            piece: AsRef::<str>::as_ref(id).parse().expect("pieces are numbered"),
            at: offset_of(what),
            message: message.strip_prefix(&own).map_or(message.clone(), str::to_owned),
            hint: what.help().map(|help| one_line(&help.to_string())),
            code,
        }
    }
}

/// Where the library says it is, in bytes.
fn offset_of(error: &dyn Diagnostic) -> usize {
    error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
}

fn one_line(text: &str) -> String {
    eparch_domain::harmless(text).into_owned()
}
